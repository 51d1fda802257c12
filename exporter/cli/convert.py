"""`exporter convert`."""

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exporter.cli.flags import Existing, flag, switch
from exporter.cli.option_flags import Display, with_options
from exporter.cli.output import is_terminal, open_stdout, report, say
from exporter.cli.runner import Result, perform
from exporter.errors import UsageError
from exporter.model import ALL_TABLES
from exporter.options.option import Group
from exporter.options.privacy import KeyOptions
from exporter.settings import Compression, TextFormat
from exporter.store.location import parse_location
from exporter.words import count_of, format_size

if TYPE_CHECKING:
    from exporter.jobs.convert import ConvertResult

_STDOUT: Final = "-"


@with_options("privacy_key_file")
def convert(
    destination: Existing,
    where: KeyOptions,
    display: Display,
    output: Annotated[str, flag("Write to this new file, or to stdout if it is -.", "PATH", Group.DONE)],
    as_: Annotated[
        TextFormat | None,
        flag(
            "Write csv, or jsonl: a JSON object a line. Default: what the name ends with, otherwise csv.",
            "FORMAT",
            Group.DONE,
            "--format",
        ),
    ] = None,
    table: Annotated[
        str,
        typer.Option(
            help="Write this table.", metavar="NAME", rich_help_panel=Group.DONE, autocompletion=lambda: [*ALL_TABLES]
        ),
    ] = "conversations",
    by_partition: Annotated[
        bool, switch("--by-partition", "Make a new directory, and write a file for each partition to it.", Group.DONE)
    ] = False,
    compression: Annotated[
        Compression | None,
        flag(
            "Compress with gzip or zstd, or not: none. Default: what the name ends with (.gz or .zst), otherwise none.",
            "NAME",
            Group.DONE,
        ),
    ] = None,
) -> None:
    """Write a table of DEST as CSV or JSON Lines, for readers that know no Parquet. Needs no token and no network."""
    target, to_stdout = parse_location(destination), output == _STDOUT
    if to_stdout and (display.as_json or display.json_lines):
        raise UsageError("--output -: stdout has the rows, so it goes with neither --json nor --json-lines")
    if to_stdout and by_partition:
        raise UsageError("--output -: holds one file; for --by-partition, name a directory")

    from exporter.jobs.convert import choose_text
    from exporter.jobs.convert import convert as run_convert
    from exporter.jobs.table_output import parse_output

    to = open_stdout() if to_stdout else parse_output(output, target)
    form, chosen = choose_text(output, as_, compression, by_partition)
    if to_stdout and chosen != "none" and is_terminal(sys.stdout):
        raise UsageError(f"--compression {chosen}: says nothing on a terminal. Send it to a file, with > calls.csv.gz")
    run = partial(run_convert, target, to, table=table, as_=form, compression=chosen, by_partition=by_partition)
    run = partial(run, keys=where.keys(os.environ))

    def tell(done: "ConvertResult") -> Result:
        import msgspec

        files = f" in {count_of(done.files, 'file')}" if by_partition else ""
        line = f"{count_of(done.rows, done.table[:-1])} written{files} ({format_size(done.bytes)})"
        if not to_stdout:
            line += f", to {output}"
        doubts = () if done.state == "complete" else (f"the export is {done.state}: see exporter status",)
        figures = msgspec.to_builtins(done) | {"output": output}
        return Result([line, *(f"  {doubt}" for doubt in doubts)], figures, done.exit_status, surprises=doubts)

    perform(
        lambda observer: run(observer=observer),
        tell,
        display,
        target,
        command="convert",
        again="to start over",
        doing="converting",
        says=partial(say, is_dated=False) if to_stdout else report,
    )
