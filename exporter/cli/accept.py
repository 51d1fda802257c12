"""`exporter accept`."""

from functools import partial
from typing import Annotated

from exporter.cli.accept_report import accepted_figures, describe_accepted
from exporter.cli.flags import Existing, OneObject, flag, switch
from exporter.cli.runner import run_until_signal, show
from exporter.clock import wall_clock
from exporter.options.option import Group
from exporter.store.location import parse_location


def accept(
    destination: Existing,
    note: Annotated[
        str | None, flag("Say why, in one line, for the manifest and every summary.", "TEXT", Group.DONE)
    ] = None,
    dry_run: Annotated[bool, switch("--dry-run", "Only say what would be accepted.", Group.DONE)] = False,
    as_json: OneObject = False,
) -> None:
    """Accept what DEST has in doubt, so that only a new doubt ends with status 3. Needs no token and no network."""
    target = parse_location(destination)

    from exporter.jobs.accept import accept as run_accept

    work = partial(run_accept, target, now=wall_clock(), note=note, dry_run=dry_run)
    done = run_until_signal(work, "interrupted; run the same command again to continue")
    show(describe_accepted(done, target, dry_run), accepted_figures(done), as_json=as_json)
