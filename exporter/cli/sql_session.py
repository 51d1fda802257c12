"""Asks for queries on a terminal, and answers each: the session of `exporter sql`.

It keeps no history on the disk, because queries may name people.
"""

import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import typer

from exporter.cli.output import columns_of, in_encoding, say
from exporter.cli.sql import lines_of
from exporter.errors import ExporterError, StoreError, UsageError
from exporter.words import did_you_mean

if TYPE_CHECKING:
    from exporter.query.connection import Query

_LOOK_EVERY_SECONDS: Final = 0.1
_PROMPT, _GOES_ON = "sql> ", "...> "
_HELP: Final = """\
A query ends with a semicolon, and may have several lines. Ctrl-C stops one, Ctrl-D leaves.
  .tables          the tables
  .schema [TABLE]  the columns of all, or of one
  .reload          ask what the export holds now
  .help, .quit
What can be asked: exporter help sql"""
_COMMANDS: Final = (".help", ".tables", ".schema", ".reload", ".quit")
_WORDS: Final = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "JOIN", "USING", "count(*)", "DESCRIBE",
    "SUMMARIZE", "DISTINCT", "WITH",
)  # fmt: skip


class Session:
    """Answers queries of one generation, until `.reload` takes the latest."""

    def __init__(self, query: "Query", opening: Callable[[], Awaitable["Query"]]) -> None:
        self._query = query
        self._opening = opening

    def run(self) -> None:
        """Asks until `.quit` or Ctrl-D."""
        generation = self._query.manifest.generation
        say(f"generation {generation}: {', '.join(self._query.tables)}. .help helps, .quit leaves", is_dated=False)
        with _completing(self._candidates), _on_ctrl_c(lambda *_: None):
            while (text := _next_text()) is not None:
                if text == ".quit":
                    return
                if text:
                    self._answer(text)

    def _answer(self, text: str) -> None:
        try:
            lines = self._command(text) if text.startswith(".") else self._asked(text)
        except ExporterError as error:
            hint = "\n.reload takes what the export holds now" if isinstance(error, StoreError) else ""
            say(f"{error}{hint}", is_dated=False)
        else:
            typer.echo(in_encoding("\n".join(lines), sys.stdout))

    def _asked(self, text: str) -> list[str]:
        work = partial(lines_of, self._query, text, columns_of(sys.stdout))
        # In another thread: a signal is heeded only between two steps of the main one.
        presses: list[int] = []
        with ThreadPoolExecutor(1) as pool, _on_ctrl_c(lambda number, _: presses.append(number)):
            answer = pool.submit(work)
            while not wait([answer], timeout=_LOOK_EVERY_SECONDS).done:
                if presses:
                    # Again and again, because the query may not have begun yet.
                    self._query.interrupt()
            return answer.result()

    def _command(self, text: str) -> list[str]:
        name, *words = text.split()
        schemas = self._query.schemas
        match name:
            case ".help":
                return [_HELP]
            case ".tables":
                return list(schemas)
            case ".schema":
                tables = words or list(schemas)
                if absent := next((table for table in tables if table not in schemas), None):
                    raise UsageError(f"no table {absent}. The tables are {', '.join(schemas)}")
                return [line for table in tables for line in self._described(table)]
            case ".reload":
                from exporter.cli.runner import run_until_signal

                opened = run_until_signal(self._opening, "stopped; the tables are as before")
                self._query.close()
                self._query = opened
                return [f"generation {opened.manifest.generation}"]
        near = did_you_mean(name, _COMMANDS) or " .help lists those there are"
        raise UsageError(f"no command {name}.{near}")

    def _described(self, table: str) -> list[str]:
        columns = self._query.fetch(f"SELECT column_name, column_type FROM (DESCRIBE {table})").to_pylist()  # noqa: S608
        return [table, *(f"  {column['column_name']:<28} {column['column_type']}" for column in columns)]

    def _candidates(self, begun: str) -> list[str]:
        names = [*self._query.schemas, *(name for schema in self._query.schemas.values() for name in schema.names)]
        known = dict.fromkeys((*names, *_WORDS, *_COMMANDS))
        return [name for name in known if name.lower().startswith(begun.lower())]


def _next_text() -> str | None:
    """Returns the next command or query, which may be nothing; None when the input ends."""
    lines: list[str] = []
    while True:
        try:
            with _on_ctrl_c(signal.default_int_handler):
                lines.append(input(_GOES_ON if lines else _PROMPT))
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            return ""
        text = "\n".join(lines).strip()
        if not text or text.endswith(";") or text.startswith("."):
            return text if text.startswith(".") or text.strip(";") else ""


@contextmanager
def _on_ctrl_c(handler: Callable[[int, Any], object]) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _completing(candidates: Callable[[str], list[str]]) -> Iterator[None]:
    """Lets Tab complete names in the block, where Python has the means for it."""
    readline: Any = None
    with suppress(ImportError):
        import readline
    if readline is None:
        yield
        return
    readline.set_completer(lambda begun, number: ([*candidates(begun), None])[number])
    readline.set_completer_delims(" \t\n,;()=<>+-*/'\"")
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(None)
