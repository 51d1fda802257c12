"""`exporter vacuum`."""

import os
from functools import partial
from typing import Annotated

from exporter.cli.flags import Existing, OneObject, flag, switch
from exporter.cli.option_flags import with_options
from exporter.cli.runner import run_until_signal, show
from exporter.cli.upkeep_report import describe_vacuumed
from exporter.clock import wall_clock
from exporter.errors import UsageError
from exporter.options.option import Group
from exporter.options.privacy import KeyOptions
from exporter.options.times import duration_of, to_instant
from exporter.store.location import parse_location


@with_options("privacy_key_file")
def vacuum(
    destination: Existing,
    where: KeyOptions,
    older_than: Annotated[
        str, flag("Delete files that were replaced longer ago than this: 36h, 7d; 0s for all.", "AGE", Group.DONE)
    ] = "7d",
    dry_run: Annotated[bool, switch("--dry-run", "Only say what would be deleted.", Group.DONE)] = False,
    as_json: OneObject = False,
) -> None:
    """Delete replaced files at DEST, and the versions of its tables that need them. Needs no token and no network."""
    target, now = parse_location(destination), wall_clock()
    if duration_of(older_than) is None:
        raise UsageError(f"--older-than {older_than!r}: must be an age, such as 36h or 7d, or 0s for all")
    # So that 0s also deletes what was replaced in this very microsecond.
    before = to_instant(older_than, now + 1, "--older-than")

    import msgspec

    from exporter.jobs.vacuum import vacuum as run_vacuum

    work = partial(run_vacuum, target, before=before, now=now, dry_run=dry_run, keys=where.keys(os.environ))
    done = run_until_signal(work, "interrupted; run the same command again to continue")
    show(describe_vacuumed(done, target, dry_run), msgspec.to_builtins(done), as_json=as_json)
