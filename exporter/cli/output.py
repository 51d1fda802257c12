"""Prints what a command says: its report to stdout, and all else that is for people to stderr."""

import itertools
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, Final, TextIO

import typer

from exporter.cli.log import dated

#: What stands for a sign that an encoding lacks; each takes as many columns.
_PLAIN: Final = str.maketrans({"━": "#", "─": "-", "·": "|", "…": "~"})

#: A label, such as that of `  request   organization …`, below whose text the line goes on.
_LABEL: Final = re.compile(r"  \S+(?: \S+)? {2,}(?=\S)")
#: Columns of a table, and what is copied: a line break would spoil both.
_WHOLE: Final = re.compile(r" {4,}(?:exporter (?!.*\.$)|SELECT )|.*\S {2,}\S.* {2,}\S")
#: What is copied out of a sentence: a command with its options, what installs a package, and what is quoted.
_UNBROKEN: Final = re.compile(
    r"`[^`]+`|(?<!\w)'[^']+'(?!\w)|\S*python\S* -m pip .*|uv pip .*"
    r"|(?<!\S)exporter [a-z]+(?: (?:'[^']+'|[^\s-]\S*))?(?: --[a-z-]+(?: [^\s=]+=\S+)?)*"
    r"|(?<!\S)(?:--filter [^\s=]+=\S+|chmod \S+|chown -R)"
)
_STANDS_FOR_SPACE: Final = "\0"
_MOST_INDENT_SHARE: Final = 0.5


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


def columns_of(stream: TextIO) -> int:
    """Returns the width of the terminal."""
    with suppress(OSError, ValueError):
        if columns := os.get_terminal_size(stream.fileno()).columns:
            return columns
    return shutil.get_terminal_size().columns


def report(text: str) -> None:
    """Writes a part of the report to stdout; on a terminal, no line breaks within a word."""
    if is_terminal(sys.stdout):
        text = "\n".join(wrapped(line, columns_of(sys.stdout)) for line in text.split("\n"))
    typer.echo(in_encoding(text, sys.stdout))


def wrapped(line: str, columns: int) -> str:
    """Returns a line with breaks between words that make it fit, unless it is a row of a table or a command to copy.

    What may be copied out of a sentence is not broken, however long it is.
    """
    if len(line) <= columns or _WHOLE.match(line):
        return line
    indent = len(line) - len(line.lstrip()) + 2
    if (label := _LABEL.match(line)) and label.end() <= columns * _MOST_INDENT_SHARE:
        indent = label.end()
    held = _UNBROKEN.sub(lambda found: found[0].replace(" ", _STANDS_FOR_SPACE), line)
    text = textwrap.fill(held, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    return text.replace(_STANDS_FOR_SPACE, " ")


def asks_for_objects(arguments: Sequence[str]) -> bool:
    """Returns whether a command line asks for JSON on stdout, also one that is wrong otherwise."""
    options = list(itertools.takewhile(lambda each: each != "--", arguments))
    return not {"--json", "--json-lines"}.isdisjoint(options)


def fail_in_json(reason: str, exit_status: int) -> None:
    """Prints the object that stands for the result of a command that failed."""
    typer.echo(json.dumps({"event": "failed", "reason": reason, "exit_status": exit_status}))


def say(text: str, *, is_dated: bool = True) -> None:
    """Writes `text` to stderr, which is not the report: with the time before each line, unless at a terminal.

    On a terminal, no line breaks within a word.
    """
    if is_terminal(sys.stderr):
        text = "\n".join(wrapped(line, columns_of(sys.stderr)) for line in text.split("\n"))
    shown = dated(text) if is_dated and not is_terminal(sys.stderr) else in_encoding(text, sys.stderr)
    print(shown, file=sys.stderr, flush=True)


def open_stdout() -> BinaryIO:
    """Returns stdout for rows, which fails once its reader has left; the stream of reports would take all of them."""
    return open(1, "wb", closefd=False)
