"""`exporter status`."""

from functools import partial
from typing import Annotated

import typer

from exporter.cli.erase_report import describe_erasures
from exporter.cli.flags import Existing, OneObject, flag, switch
from exporter.cli.output import say
from exporter.cli.runner import show
from exporter.cli.status_report import describe_status, status_figures
from exporter.clock import wall_clock
from exporter.contract import to_datetime
from exporter.options.option import Group
from exporter.options.recordings import to_retention
from exporter.options.times import to_age
from exporter.store.location import parse_location


def status(
    destination: Existing,
    check: Annotated[
        bool,
        switch(
            "--check",
            "End with the exit status that a run would have: 1 incomplete, 3 in doubt, 6 damaged.",
            Group.DONE,
        ),
    ] = False,
    max_age: Annotated[
        str | None,
        flag("Check, and end with 1 also if changes of longer ago may be missing: 26h, 2d.", "AGE", Group.DONE),
    ] = None,
    recording_retention: Annotated[
        str | None,
        flag(
            "Say when the source deletes the oldest recording that is left, if it keeps recordings for this long: 14d.",
            "DURATION",
            Group.DONE,
        ),
    ] = None,
    as_json: OneObject = False,
) -> None:
    """Say what DEST holds, what is missing, and which run is at work there. Changes nothing, and needs no token."""
    target, now = parse_location(destination), wall_clock()
    updated_after = None if max_age is None else to_datetime(to_age(max_age, now, "--max-age"))
    check = check or max_age is not None
    retention_seconds = None if recording_retention is None else to_retention(recording_retention)

    import anyio

    from exporter.jobs.status import status as read_status

    read = partial(read_status, target, check=check, updated_after=updated_after, retention_seconds=retention_seconds)
    found = anyio.run(read)
    figures = status_figures(found)
    if found.erasures is None:
        del figures["erasures"]
    show([*describe_status(found, target), *describe_erasures(found.erasures, target)], figures, as_json=as_json)
    if check:
        if found.reason:
            say(f"exporter: {target}: {found.reason}")
        raise typer.Exit(found.exit_status)
