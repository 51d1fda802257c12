"""`exporter report`."""

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

from exporter.cli.flags import Existing, flag
from exporter.cli.option_flags import Display, with_options
from exporter.cli.output import is_terminal, open_stdout, report, say
from exporter.cli.runner import Result, perform
from exporter.clock import wall_clock
from exporter.errors import UsageError
from exporter.options.option import Group
from exporter.options.privacy import KeyOptions
from exporter.store.location import parse_location
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.report.model import Report

_STDOUT: Final = "-"


@with_options("privacy_key_file")
def html_report(
    destination: Existing,
    where: KeyOptions,
    display: Display,
    output: Annotated[
        str,
        flag(
            "Write the page to this file, which may be there only as an older report; or to stdout if it is -.",
            "FILE",
            Group.DONE,
            "--output",
            "-o",
        ),
    ] = "report.html",
    since: Annotated[
        str | None,
        flag("Count conversations created at or after this time. Default: all.", "TIME", Group.DONE),
    ] = None,
    until: Annotated[
        str | None,
        flag("Count conversations created before this time. Default: all.", "TIME", Group.DONE),
    ] = None,
    by: Annotated[
        str | None,
        flag(
            "Tell conversations apart by this field: agent_id, agent_version_id, channel, direction, status or "
            "web_widget_id. Default: channel.",
            "FIELD",
            Group.DONE,
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        flag("Show days and times in this time zone. Default: that of DEST's partitions.", "NAME", Group.DONE),
    ] = None,
) -> None:
    """Draw DEST as one page for a browser: whether it is complete, and what its conversations show.

    It has counts and ids of agents, and no personal data. It needs no token and no network.
    """
    target, to_stdout = parse_location(destination), output == _STDOUT
    if to_stdout and (display.as_json or display.json_lines):
        raise UsageError("--output -: stdout has the page, so it goes with neither --json nor --json-lines")
    if to_stdout and is_terminal(sys.stdout):
        raise UsageError("--output -: a page says nothing on a terminal. Send it to a file, with > report.html")

    from exporter.report.place import check_place
    from exporter.report.write import write_report
    from exporter.run.encryption import reader_keys

    keys = reader_keys(where.data_key_file, os.environ, "--data-key-file")
    to = open_stdout() if to_stdout else check_place(output, target)
    write = partial(write_report, target, to, now=wall_clock(), keys=keys)
    write = partial(write, since=since, until=until, by=by, timezone=timezone)

    def tell(made: "Report") -> Result:
        import msgspec

        from exporter.report.answers import is_it_complete

        missing = is_it_complete(made)
        place = "" if to_stdout else f", to {output}"
        lines = [f"report of {count_of(made.conversations, 'conversation')} written{place}", f"  {missing.answer}"]
        doubts = () if missing.tone == "good" else (missing.answer,)
        return Result(lines, msgspec.to_builtins(made) | {"output": output}, 0, surprises=doubts)

    perform(
        lambda _: write(),
        tell,
        display,
        target,
        command="report",
        again="to start over",
        doing="counting",
        says=partial(say, is_dated=False) if to_stdout else report,
    )
