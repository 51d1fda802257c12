"""`exporter compact`."""

import json
import sys
from functools import partial
from typing import Annotated

import typer

from exporter.cli.display import open_observer
from exporter.cli.flags import Display, Existing, flag, shared, with_options
from exporter.cli.runner import run_until_signal
from exporter.cli.upkeep_report import describe_compacted
from exporter.options.parse import to_bytes
from exporter.options.spec import ExportSpec
from exporter.settings import RunSettings
from exporter.store.location import parse_location


@with_options("log_format")
def compact(
    destination: Existing,
    display: Display,
    part_size: Annotated[str, flag("Merge files until they have about this size.", "SIZE")] = str(ExportSpec.part_size),
    memory: Annotated[str, shared("memory")] = str(ExportSpec.memory),
) -> None:
    """Merge small files at DEST, and change nothing else. Needs no token and no network."""
    target = parse_location(destination)
    settings = RunSettings(
        target_part_bytes=to_bytes(part_size, "--part-size"), memory_bytes=to_bytes(memory, "--memory")
    )

    import msgspec

    from exporter.cli.heap import keep_heap_compact
    from exporter.jobs.compact import compact as run_compact

    keep_heap_compact()
    observer = open_observer(sys.stderr, "text", verbose=display.verbose)
    work = partial(
        run_compact,
        target,
        target_bytes=settings.target_part_bytes,
        memory_bytes=settings.memory_bytes,
        observer=observer,
    )
    try:
        done = run_until_signal(work, "interrupted; run the same command again to continue")
    finally:
        observer.close()
    typer.echo(json.dumps(msgspec.to_builtins(done)) if display.as_json else "\n".join(describe_compacted(done)))
