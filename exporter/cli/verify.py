"""`exporter verify`."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from exporter.cli.flags import Existing, OneObject, flag, switch
from exporter.cli.runner import run_until_signal, show
from exporter.cli.upkeep_report import describe_drops, describe_verified, verified_figures
from exporter.options.option import Group
from exporter.options.parse import parse_share
from exporter.store.location import parse_location


def verify(
    destination: Existing,
    sample: Annotated[
        str, flag("Read the content of about this share of the files; each day draws others.", "PERCENT", Group.DONE)
    ] = "100%",
    repair: Annotated[
        bool, switch("--repair", "Take out what is wrong, so that the next export reads it again.", Group.DONE)
    ] = False,
    as_json: OneObject = False,
) -> None:
    """Check every file at DEST against the log and the manifest. Needs no token and no network.

    Without --repair it changes nothing, and may run while an export does.
    """
    target, share = parse_location(destination), parse_share(sample)

    def announce(drops: Sequence[str], directory: str) -> None:
        if not as_json:
            typer.echo("\n".join(describe_drops(drops, directory)))

    now = time.time_ns() // 1000

    from exporter.jobs.verify import verify as run_verify

    work = partial(run_verify, target, now=now, share=share, repair=repair, announce=announce)
    found = run_until_signal(work, "interrupted; run the same command again to start over")
    show(describe_verified(found, target), verified_figures(found), as_json=as_json)
    raise typer.Exit(found.exit_status)
