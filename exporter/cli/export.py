"""`exporter export`."""

import os

from exporter.cli.flags import Destination, MetricsFile
from exporter.cli.option_flags import Display, with_options
from exporter.cli.runner import perform, tell_summary
from exporter.cli.watch import Watch
from exporter.engines.chosen import engine_of
from exporter.options.spec import ExportSpec
from exporter.store.location import parse_location


@with_options()
def export(destination: Destination, spec: ExportSpec, display: Display, metrics_file: MetricsFile = None) -> None:
    """Export conversations to DEST. The same command again resumes, or changes nothing.

    A time is 2026-02-10, 2026-02-10T05:00:00Z, 2026-02, yesterday, last-month or an age such as 7d; UTC without an
    offset. Without options, the request stored at DEST is resumed.
    """
    target = parse_location(destination)
    watch = Watch.of("export", target, metrics_file)
    wanted = spec.resolve(os.environ, heeds_signals=True)

    from exporter.jobs.export import export as run_export

    with engine_of(spec.processes) as engine:
        perform(
            lambda observer: run_export(target, wanted.asked, wanted.context(observer, engine)),
            tell_summary,
            display,
            target,
            command="export",
            watch=watch,
            counts_stored=True,
        )
