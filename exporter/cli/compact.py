"""`exporter compact`."""

import json
import sys
from functools import partial
from typing import Annotated

import typer

from exporter.cli.display import open_observer
from exporter.cli.options import Existing, Verbose, option
from exporter.cli.report import describe_compacted
from exporter.cli.runner import run_until_signal
from exporter.options.parse import parse_size
from exporter.settings import RunSettings
from exporter.store.location import parse_location


def compact(
    destination: Existing,
    part_size: Annotated[str, option("Size to merge files to.", "SIZE")] = "256MiB",
    memory: Annotated[str, option("What the process may take at its peak.", "SIZE")] = "384MiB",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    verbose: Verbose = False,
) -> None:
    """Merge small files at DEST, and change nothing else. Needs no token and no network."""
    target = parse_location(destination)
    settings = RunSettings(
        target_part_bytes=parse_size(part_size, "--part-size"), memory_bytes=parse_size(memory, "--memory")
    )

    import msgspec

    from exporter.cli.heap import keep_heap_compact
    from exporter.jobs.compact import compact as run_compact

    keep_heap_compact()
    observer = open_observer(sys.stderr, "text", verbose=verbose)
    work = partial(
        run_compact,
        target,
        target_bytes=settings.target_part_bytes,
        memory_bytes=settings.memory_bytes,
        observer=observer,
    )
    try:
        done = run_until_signal(work, "interrupted; run the same command again to go on")
    finally:
        observer.close()
    typer.echo(json.dumps(msgspec.to_builtins(done)) if as_json else "\n".join(describe_compacted(done)))
