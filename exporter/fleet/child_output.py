"""Reads what a child process prints: objects on stdout, and lines on stderr. Pure, and bounded whatever it prints."""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

#: A longer line is cut off.
_MOST_LINE_BYTES: Final = 1024 * 1024
#: What a summary has, of all that it has.
_COUNTS: Final = ("generation", "rows", "new_rows", "files", "bytes", "requests")
_TEXTS: Final = ("state", "manifest")
_MOST_TEXT_LINES: Final = 10
_MOST_TEXT_CHARACTERS: Final = 300


class Lines:
    """Takes lines out of bytes, wherever these are cut. A line that is too long loses its end."""

    def __init__(self, most_bytes: int = _MOST_LINE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._rest = b""

    def take(self, received: bytes) -> Iterator[bytes]:
        """Yields the lines that are now whole."""
        first, *others = received.split(b"\n")
        for following in others:
            yield (self._rest + first)[: self._most_bytes]
            self._rest, first = b"", following
        self._rest = (self._rest + first)[: self._most_bytes]

    def close(self) -> Iterator[bytes]:
        """Yields the last line, if it has no end."""
        if self._rest:
            yield self._rest
        self._rest = b""


def object_in(line: bytes) -> dict[str, Any] | None:
    """Returns the JSON object that a line is; None if it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def is_summary(found: Mapping[str, Any]) -> bool:
    """Returns whether an object is the summary of a run, and not another one of that name."""
    are_counted = all(isinstance(found.get(key), int) and not isinstance(found[key], bool) for key in _COUNTS)
    return are_counted and all(isinstance(found.get(key), str) for key in _TEXTS)


class Remarks:
    """Keeps the last lines that are no objects: printable, not many, and none long."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_MOST_TEXT_LINES)
        self._count = 0

    def add(self, line: bytes) -> None:
        """Takes a line of a child."""
        text = line[: 4 * _MOST_TEXT_CHARACTERS].decode(errors="replace").strip()
        text = "".join(each if each.isprintable() else " " for each in text)
        if text:
            self._count += 1
            self._lines.append(text[:_MOST_TEXT_CHARACTERS])

    def beside(self, reason: str | None, ending: str) -> list[str]:
        """Returns the lines that neither the ending nor a reason says anyway, after how many others were left out."""
        said = reason or ""
        left = [line for line in self._lines if line != ending and (not said or not _is_said(line, said))]
        omitted = self._count - len(self._lines)
        return [f"({omitted} lines before)", *left] if omitted and left else left


def _is_said(line: str, reason: str) -> bool:
    # A command that fails says why to stderr as well, after the time and its own name.
    return any(part.strip() and part.strip()[: _MOST_TEXT_CHARACTERS // 2] in line for part in reason.splitlines())
