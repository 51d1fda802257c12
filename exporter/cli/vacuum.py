"""`exporter vacuum`."""

import json
import re
import time
from functools import partial
from typing import Annotated

import typer

from exporter.cli.options import Existing, option
from exporter.cli.report import describe_vacuumed
from exporter.cli.runner import run_until_signal
from exporter.errors import UsageError
from exporter.options.parse import parse_time
from exporter.store.location import parse_location


def vacuum(
    destination: Existing,
    older_than: Annotated[str, option("Delete what was replaced so long ago: 36h, 7d; 0s for all.", "AGE")] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Delete replaced files at DEST, and the versions of its tables that need them. Needs no token and no network."""
    target, now = parse_location(destination), time.time_ns() // 1000
    if re.fullmatch(r"\s*\d+[smhdw]\s*", older_than, re.ASCII) is None:
        raise UsageError(f"--older-than {older_than!r}: has to be an age as 36h, 7d, or 0s for all")
    # What was replaced in this very microsecond, too.
    before = parse_time(older_than, now + 1, "--older-than")

    import msgspec

    from exporter.jobs.vacuum import vacuum as run_vacuum

    work = partial(run_vacuum, target, before=before, now=now, dry_run=dry_run)
    done = run_until_signal(work, "interrupted; run the same command again to go on")
    lines = describe_vacuumed(done, target, dry_run)
    typer.echo(json.dumps(msgspec.to_builtins(done)) if as_json else "\n".join(lines))
