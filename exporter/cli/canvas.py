"""Draws lines on a terminal, again and again in the same place, while others scroll by above them.

The cursor always rests below the picture, at the start of a line. So whatever else writes to the terminal, such as the
shell when the process is killed, begins on a line of its own.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TextIO
from unicodedata import combining, east_asian_width

from exporter.cli.output import columns_of, in_encoding, wrapped

#: The two parts of a bar, which have colours of their own.
DONE: Final = "━"
LEFT: Final = "─"


class Canvas:
    """Holds a picture on a terminal. `width` returns its columns."""

    def __init__(self, stream: TextIO, width: Callable[[], int] | None = None) -> None:
        self._stream = stream
        self._width = width or (lambda: columns_of(stream))
        self._is_coloured = not os.environ.get("NO_COLOR")
        self._picture: Sequence[str] = ()
        self._drawn: list[str] = []

    @property
    def width(self) -> int:
        """Returns the columns of the terminal."""
        return self._width()

    def draw(self, picture: Sequence[str]) -> None:
        """Draws a picture in place of the last one; one without lines leaves the terminal to others."""
        self._picture = picture
        self._write(self._redraw())

    def write_above(self, line: str) -> None:
        """Writes a line that stays, above the picture."""
        self._write(f"{self._erase()}{wrapped(line, self._width())}\n{self._redraw()}")

    def _redraw(self) -> str:
        erased = self._erase()
        self._drawn = [cut(line, self._width() - 1) for line in self._picture]
        return erased + "".join(f"{self._coloured(line)}\n" for line in self._drawn)

    def _erase(self) -> str:
        """Returns what takes the picture away. A terminal that has become narrower has wrapped its lines."""
        columns = max(1, self._width())
        rows = sum(max(1, -(-cells(line) // columns)) for line in self._drawn)
        self._drawn = []
        return f"\r\x1b[{rows}A\x1b[J" if rows else ""

    def _coloured(self, line: str) -> str:
        if not self._is_coloured:
            return line
        if line.startswith("!"):
            return f"\x1b[33m{line}\x1b[0m"
        done, left = line.count(DONE), line.count(LEFT)
        line = line.replace(DONE * done, f"\x1b[32m{DONE * done}\x1b[0m") if done else line
        return line.replace(LEFT * left, f"\x1b[2m{LEFT * left}\x1b[0m") if left else line

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(in_encoding(text, self._stream))
            self._stream.flush()


def cells(text: str) -> int:
    """Returns how many columns a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def cut(text: str, width: int) -> str:
    """Returns the text, cut at its end if it takes more columns than `width`."""
    if cells(text) <= width:
        return text
    while text and cells(text) >= width:
        text = text[:-1]
    return f"{text}…" if width > 0 else ""
