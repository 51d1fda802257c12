"""`exporter sql`."""

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar, cast, get_args

import typer

from exporter.cli.flags import Existing, flag
from exporter.cli.option_flags import with_options
from exporter.cli.output import columns_of, in_encoding, is_terminal, open_stdout, report, say
from exporter.cli.runner import run_until_signal
from exporter.errors import InterruptedExportError, UsageError
from exporter.options.option import Group
from exporter.options.privacy import KeyOptions
from exporter.settings import AnswerFormat, QueryFormat
from exporter.store.location import parse_location
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.query.connection import Query

T = TypeVar("T")

_STDOUT: Final = Path("stdout")
_MOST_ROWS: Final = 40
_MOST_QUERY_CHARACTERS: Final = 1_000_000
_STOPPED: Final = "stopped; "


@with_options("privacy_key_file")
def sql(
    destination: Existing,
    keys: KeyOptions,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY",
            help="One SELECT, or another query that only reads. Default: stdin; on a terminal, ask for queries.",
            show_default=False,
        ),
    ] = None,
    as_: Annotated[
        AnswerFormat | None,
        flag(
            "Write table, csv, json or parquet. Default: what the name of FILE ends with; otherwise table on a "
            "terminal, and csv elsewhere.",
            "FORMAT",
            Group.OUTPUT,
            "--format",
        ),
    ] = None,
    output: Annotated[
        str | None, flag("Write to this new file, and not to stdout.", "FILE", Group.OUTPUT, "--output", "-o")
    ] = None,
    generation: Annotated[
        int | None,
        flag("Ask what DEST was at this generation, whose files must be kept. Default: the latest.", "N", Group.DONE),
    ] = None,
) -> None:
    """Ask DEST in SQL: its tables are conversations, turns and recordings. Changes nothing, and needs no token."""
    target = parse_location(destination)
    asks_on = query is None and is_terminal(sys.stdin)
    if asks_on and (output is not None or as_ not in (None, "table") or not is_terminal(sys.stdout)):
        raise UsageError("QUERY: is missing, and stdin is a terminal. Give one, or send it to stdin")

    from exporter.jobs.table_output import parse_output
    from exporter.query.connection import open_query
    from exporter.run.encryption import reader_keys

    path = None if output is None else parse_output(output, target)
    form = choose_format(as_, path, to_terminal=is_terminal(sys.stdout))
    text = _read_stdin() if query is None and not asks_on else query
    found = reader_keys(keys.data_key_file, os.environ, "--data-key-file")
    opening = partial(open_query, target, found, generation=generation)
    with run_until_signal(opening, f"{_STOPPED}nothing was asked") as opened:
        if (state := opened.manifest.state) != "complete":
            say(
                f"the export is {state} at generation {opened.manifest.generation}: see exporter status", is_dated=False
            )
        if text is None:
            from exporter.cli.sql_session import Session

            Session(opened, opening).run()
        elif form == "table":
            _draw(opened, text, path)
        else:
            _write(opened, text, path, form)


def choose_format(asked: AnswerFormat | None, output: Path | None, *, to_terminal: bool) -> AnswerFormat:
    """Returns the format that was asked for, that the name of the output ends with, or that fits stdout.

    Raises `UsageError` for a name that says none or another one, and for Parquet to stdout.
    """
    ending = None if output is None else output.suffix.removeprefix(".")
    named = cast(AnswerFormat, ending) if ending in get_args(QueryFormat) else None
    if asked is not None and named not in (None, asked):
        raise UsageError(f"--format {asked}: does not go with a name that ends with .{named}. Leave it out")
    if asked is None and output is not None and named is None:
        raise UsageError(f"--output {output}: ends with none of .csv, .json and .parquet. Give --format")
    if asked == "parquet" and output is None:
        raise UsageError("--format parquet: stdout cannot go back to its start. Name a file with --output")
    return asked or named or ("table" if to_terminal else "csv")


def lines_of(query: "Query", sql: str, width: int | None) -> list[str]:
    """Returns the answer to a query as a table with a line below that says how many rows there are."""
    from exporter.cli.sql_table import draw_table

    schema, batches = query.stream(sql, rows=_MOST_ROWS + 1)
    held = list(batches)
    rows = sum(batch.num_rows for batch in held)
    is_cut = rows > _MOST_ROWS
    if is_cut:
        import pyarrow as pa

        held = pa.Table.from_batches(held, schema).slice(0, _MOST_ROWS).to_batches()
        rows = query.count(sql)
    lines, left_out = draw_table(schema, held, width)
    said = [f"{_MOST_ROWS} of {count_of(rows, 'row')}" if is_cut else count_of(rows, "row")]
    if left_out:
        said.append(f"{len(schema) - left_out} of {count_of(len(schema), 'column')}")
    return [*lines, f"({', '.join(said)})"]


def interruptible(query: "Query", work: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    """Returns work that runs in another thread, and whose query is interrupted if its task is cancelled."""
    import asyncio

    from anyio import to_thread

    async def run() -> T:
        task = asyncio.ensure_future(to_thread.run_sync(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # The query may not have begun yet.
            while not task.done():
                query.interrupt()
                await asyncio.wait([task], timeout=0.05)
            if not task.cancelled() and (error := task.exception()) and not isinstance(error, InterruptedExportError):
                raise error from None
            raise

    return run


def _draw(query: "Query", sql: str, path: Path | None) -> None:
    from exporter.jobs.table_output import new_file

    width = columns_of(sys.stdout) if path is None and is_terminal(sys.stdout) else None
    work = interruptible(query, partial(lines_of, query, sql, width))
    lines = run_until_signal(work, f"{_STOPPED}nothing was written")
    if " of " in lines[-1]:
        lines.append("--format csv gives all")
    if path is None:
        # `report` would wrap lines, and these fit.
        typer.echo(in_encoding("\n".join(lines), sys.stdout))
        return
    with new_file(path) as file:
        file.write("\n".join([*lines, ""]).encode())


def _write(query: "Query", sql: str, path: Path | None, form: QueryFormat) -> None:
    from exporter.jobs.table_output import new_file
    from exporter.query.output import write_answer

    def work() -> int:
        answer = query.stream(sql)
        if path is None:
            return write_answer(answer, open_stdout(), _STDOUT, form)
        with new_file(path) as file:
            return write_answer(answer, file, path, form)

    kept = "what was written is not whole" if path is None else "no file is left"
    rows = run_until_signal(interruptible(query, work), f"{_STOPPED}{kept}")
    if path is not None:
        report(f"{count_of(rows, 'row')} written, to {path}")


def _read_stdin() -> str:
    text = sys.stdin.read(_MOST_QUERY_CHARACTERS + 1)
    if len(text) > _MOST_QUERY_CHARACTERS:
        raise UsageError("stdin: is longer than a query can be. It must hold one query")
    return text
