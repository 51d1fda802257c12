"""Prints what a command says: its report to stdout, and all else that is for people to stderr."""

import sys
from contextlib import suppress
from typing import Final, TextIO

import typer

from exporter.cli.log import dated

#: What stands for a sign that an encoding lacks; each takes as many columns.
_PLAIN: Final = str.maketrans({"━": "#", "─": "-", "·": "|", "…": "~"})


def is_terminal(stream: TextIO) -> bool:
    """Returns whether people look at the stream."""
    with suppress(ValueError):
        return stream.isatty()
    return False


def in_encoding(text: str, stream: TextIO) -> str:
    """Returns the text with signs that the encoding of the stream has; file names stay as they are."""
    try:
        "━─·…✔".encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return text.replace("✔ ", "").translate(_PLAIN)
    return text


def report(text: str) -> None:
    """Writes a part of the report to stdout."""
    typer.echo(in_encoding(text, sys.stdout))


def say(text: str, *, is_dated: bool = True) -> None:
    """Writes `text` to stderr, which is not the report: with the time before each line, unless at a terminal."""
    shown = dated(text) if is_dated and not is_terminal(sys.stderr) else in_encoding(text, sys.stderr)
    print(shown, file=sys.stderr, flush=True)
