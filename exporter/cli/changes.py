"""`exporter changes`."""

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exporter.cli.flags import Existing, OneObject, flag
from exporter.cli.option_flags import with_options
from exporter.cli.output import is_terminal, open_stdout, say
from exporter.cli.runner import run_until_signal, show
from exporter.errors import ExporterError, UsageError
from exporter.model import TABLES
from exporter.options.option import Group
from exporter.options.privacy import KeyOptions
from exporter.settings import FeedFormat
from exporter.store.location import parse_location
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.change_feed import ChangeFeed

_STDOUT: Final = "-"


@with_options("privacy_key_file")
def changes(
    destination: Existing,
    keys: KeyOptions,
    since: Annotated[
        int,
        flag("Give what has changed since this generation; 0 gives all rows.", "N", Group.DONE, "--from-generation"),
    ],
    to: Annotated[
        int | None,
        flag("Give the changes up to this generation. Default: the latest.", "M", Group.DONE, "--to-generation"),
    ] = None,
    table: Annotated[
        str,
        typer.Option(
            help="Give the changes of this table.",
            metavar="NAME",
            rich_help_panel=Group.DONE,
            autocompletion=lambda: [*TABLES],
        ),
    ] = "conversations",
    output: Annotated[str, flag("Write to this new file, or to stdout if it is -.", "FILE", Group.OUTPUT)] = _STDOUT,
    as_: Annotated[
        FeedFormat | None,
        flag(
            "Write parquet, arrow (its stream) or jsonl: a JSON object a line. Default: what the name of FILE ends "
            "with, and jsonl on stdout.",
            "FORMAT",
            Group.OUTPUT,
            "--format",
        ),
    ] = None,
    as_json: OneObject = False,
) -> None:
    """Give what has changed at DEST since a generation: rows to insert, to update and to delete.

    What it gives ends with the latest generation, which the last line names. The next time, begin there.
    """
    target, to_stdout = parse_location(destination), output == _STDOUT

    from exporter.jobs.changes import changes as find_changes
    from exporter.jobs.feed_output import choose_format, write_feed
    from exporter.jobs.table_output import parse_output

    path = None if to_stdout else parse_output(output, target)
    chosen = choose_format(as_, path)
    if to_stdout and chosen == "arrow" and is_terminal(sys.stdout):
        raise UsageError(
            "--format arrow: says nothing on a terminal: name a file with --output, or give --format jsonl"
        )
    find = partial(find_changes, target, since, to=to, table=table, keys=keys.keys(os.environ))

    feed = run_until_signal(find, "stopped; nothing was written")
    write = partial(write_feed, feed, open_stdout() if path is None else path, chosen)
    try:
        run_until_signal(write, "stopped; " + ("what was written is not whole" if to_stdout else "no file is left"))
    except ExporterError as error:
        if not (to_stdout and as_json):
            raise
        # On stdout, after some rows, the object would be taken for another.
        say(f"exporter: {error}")
        _say_last(json.dumps({"event": "failed", "reason": str(error), "exit_status": error.exit_status}))
        raise typer.Exit(error.exit_status) from error
    line = describe(feed) + ("" if to_stdout else f", to {output}")
    if to_stdout:
        _say_last(json.dumps(feed.counts) if as_json else line)
    else:
        show([line], feed.counts, as_json=as_json)


def describe(feed: "ChangeFeed") -> str:
    """Returns a line on what a feed holds."""
    kinds = ((feed.inserts, "insert"), (feed.updates, "update"), (feed.deletes, "delete"))
    counts = ", ".join(count_of(number, kind) for number, kind in kinds)
    return f"from generation {feed.since} to {feed.to}: {counts}"


def _say_last(line: str) -> None:
    say(line, is_dated=False)
