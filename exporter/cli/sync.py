"""`exporter sync`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter.cli.flags import understand, with_request_options
from exporter.cli.options import Destination
from exporter.cli.report import describe_synced, synced_figures
from exporter.cli.runner import Result, perform, tell_summary
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.sync import SyncResult


@with_request_options
def sync(
    destination: Destination,
    refilter: Annotated[
        bool, typer.Option("--refilter", help="Drop rows that filters on what changes no longer match.")
    ] = False,
    keep_generations: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Keep files that so many last runs replaced; at first, 0.")
    ] = None,
    **options: Any,
) -> None:
    """Bring DEST up to the present: what is new, and what has changed since it was read.

    Where there is no export, this makes the first one. Without options, DEST's own request is followed.
    """
    target = parse_location(destination)
    wanted = understand(options)

    from exporter.jobs.sync import sync as run_sync

    async def job(observer: Observer) -> "SyncResult":
        return await run_sync(
            target,
            wanted.asked,
            RunContext(wanted.settings, wanted.credentials, observer),
            refilter=refilter,
            keep_generations=keep_generations,
        )

    perform(job, _tell, options["as_json"], options["verbose"], options["log_format"])


def _tell(synced: "SyncResult") -> Result:
    whole = tell_summary(synced.summary)
    return Result([*describe_synced(synced), *whole.lines[1:]], whole.figures | synced_figures(synced), whole.status)
