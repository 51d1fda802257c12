"""`exporter export`."""

import os
from typing import TYPE_CHECKING

from exporter.cli.flags import Destination, Display, with_options
from exporter.cli.runner import perform, tell_summary
from exporter.options.spec import ExportSpec
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.summary import Summary


@with_options()
def export(destination: Destination, spec: ExportSpec, display: Display) -> None:
    """Export conversations to DEST. The same command again resumes, or changes nothing.

    Times are ISO 8601, and UTC unless they have an offset. Without options, the request stored at DEST is resumed.
    """
    target = parse_location(destination)
    wanted = spec.resolve(os.environ, heeds_signals=True)

    from exporter.jobs.export import export as run_export

    async def job(observer: Observer) -> "Summary":
        return await run_export(target, wanted.asked, RunContext(wanted.settings, wanted.credentials, observer))

    perform(job, tell_summary, display)
