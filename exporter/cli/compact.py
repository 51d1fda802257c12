"""`exporter compact`."""

import sys
from functools import partial

from exporter.cli.display import open_observer
from exporter.cli.flags import Display, Existing, with_options
from exporter.cli.runner import run_until_signal, show
from exporter.cli.upkeep_report import describe_compacted
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.store.location import parse_location


@with_options(*OPTIONS.keys() - {"part_size", "memory"}, "log_format")
def compact(destination: Existing, spec: ExportSpec, display: Display) -> None:
    """Merge small files at DEST, and change nothing else. Needs no token and no network."""
    target, settings = parse_location(destination), spec.settings()

    import msgspec

    from exporter.jobs.compact import compact as run_compact

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
    show(describe_compacted(done), msgspec.to_builtins(done), as_json=display.as_json)
