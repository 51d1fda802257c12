"""`exporter verify`."""

import json
import re
import time
from functools import partial
from typing import Annotated

import typer

from exporter.cli.options import Existing, directory, option
from exporter.cli.running import run_until_signal
from exporter.errors import UsageError
from exporter.jobs.report import describe_verified, verified_figures


def verify(
    destination: Existing,
    sample: Annotated[str, option("Look into about so many of the files, others every day.", "PERCENT")] = "100%",
    repair: Annotated[bool, typer.Option("--repair", help="Take out what is wrong, for an export to read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check every file at DEST against the log and the manifest. Needs no token and no network.

    Without --repair it changes nothing, and may run while an export does.
    """
    target, share = directory(destination), _parse_share(sample)
    now = time.time_ns() // 1000

    from exporter.jobs.verify import verify as run_verify

    work = partial(run_verify, target, now=now, share=share, repair=repair)
    found = run_until_signal(work, "interrupted; run the same command again to begin anew")
    typer.echo(json.dumps(verified_figures(found)) if as_json else "\n".join(describe_verified(found, target)))
    raise typer.Exit(found.exit_status)


def _parse_share(text: str) -> float:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*%", text.strip(), re.ASCII)
    if match is None or not 0 < float(match.group(1)) <= 100:
        raise UsageError(f"--sample {text!r}: write a share as 10%, above 0 and up to 100%")
    return float(match.group(1)) / 100
