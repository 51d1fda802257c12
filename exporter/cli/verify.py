"""`exporter verify`."""

import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from exporter.cli.options import Existing, option
from exporter.cli.report import describe_drops, describe_verified, verified_figures
from exporter.cli.runner import run_until_signal
from exporter.options.parse import parse_share
from exporter.store.location import parse_location


def verify(
    destination: Existing,
    sample: Annotated[str, option("Look into about so many of the files, others every day.", "PERCENT")] = "100%",
    repair: Annotated[bool, typer.Option("--repair", help="Take out what is wrong, for an export to read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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
    found = run_until_signal(work, "interrupted; run the same command again to begin anew")
    typer.echo(json.dumps(verified_figures(found)) if as_json else "\n".join(describe_verified(found, target)))
    raise typer.Exit(found.exit_status)
