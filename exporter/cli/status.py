"""`exporter status`."""

from datetime import datetime
from functools import partial
from typing import Annotated, Final

import typer

from exporter.cli.entries import ConfigFile
from exporter.cli.erase_report import describe_erasures
from exporter.cli.flags import EXISTING, OneObject, flag, switch
from exporter.cli.output import say
from exporter.cli.runner import show
from exporter.cli.status_report import describe_status, status_figures
from exporter.clock import wall_clock
from exporter.contract import to_datetime
from exporter.errors import UsageError
from exporter.options.option import Group
from exporter.options.recordings import to_retention
from exporter.options.times import to_age
from exporter.store.location import parse_location

_NEEDED: Final = f"status needs DEST: {EXISTING[:1].lower()}{EXISTING[1:].rstrip('.')}; or --all"


def status(
    destination: Annotated[str | None, typer.Argument(metavar="DEST", help=EXISTING)] = None,
    every: Annotated[bool, switch("--all", "Show every export of the config file.", Group.DONE)] = False,
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
    config: ConfigFile = None,
    as_json: OneObject = False,
) -> None:
    """Say what DEST holds, what is missing, and which run is at work there. Changes nothing, and needs no token."""
    if every == (destination is not None):
        raise UsageError("status: give either DEST or --all" if every else _NEEDED)
    now = wall_clock()
    updated_after = None if max_age is None else to_datetime(to_age(max_age, now, "--max-age"))
    check = check or max_age is not None
    retention_seconds = None if recording_retention is None else to_retention(recording_retention)
    if destination is None:
        _show_all(config, check, updated_after, recording_retention, as_json)
        return

    import anyio

    from exporter.jobs.status import status as read_status

    target = parse_location(destination)
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


def _show_all(
    config: str | None, check: bool, updated_after: datetime | None, recording_retention: str | None, as_json: bool
) -> None:
    import anyio

    from exporter.cli.status_all import describe_all, figures_of_all, load_all, read_all
    from exporter.fleet.outcome import worst_status

    known = load_all(config)
    read = partial(read_all, known, check=check, updated_after=updated_after, recording_retention=recording_retention)
    found = anyio.run(read)
    show(describe_all(found, known), figures_of_all(found), as_json=as_json)
    raise typer.Exit(worst_status(each.exit_status for each in found if check or each.error is not None))
