"""`exporter compact`."""

import os
from functools import partial
from typing import TYPE_CHECKING

from exporter.cli.flags import Existing
from exporter.cli.option_flags import Display, with_options
from exporter.cli.runner import Result, perform
from exporter.cli.upkeep_report import describe_compacted
from exporter.options.privacy import KEYS
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.compact import CompactResult


@with_options(*OPTIONS.keys() - {"part_size", "memory", *KEYS})
def compact(destination: Existing, spec: ExportSpec, display: Display) -> None:
    """Merge small files at DEST, and change nothing else. Needs no token and no network."""
    target, settings = parse_location(destination), spec.settings()

    import msgspec

    from exporter.jobs.compact import compact as run_compact

    run = partial(run_compact, target, target_bytes=settings.target_part_bytes, memory_bytes=settings.memory_bytes)
    run = partial(run, keys=spec.keys(os.environ))

    def tell(done: "CompactResult") -> Result:
        return Result(list(describe_compacted(done)), msgspec.to_builtins(done), done.exit_status)

    perform(lambda observer: run(observer=observer), tell, display, target, command="compact", doing="merging")
