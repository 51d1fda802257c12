"""`exporter sync`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

from exporter.cli.erase_report import describe_kept_out
from exporter.cli.flags import Destination, MetricsFile, flag, switch
from exporter.cli.option_flags import Display, with_options
from exporter.cli.report import describe_synced, synced_figures
from exporter.cli.runner import Result, perform, tell_summary
from exporter.cli.watch import Watch
from exporter.engines.chosen import engine_of
from exporter.options.option import Group
from exporter.options.spec import ExportSpec
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.sync_result import SyncResult


@with_options(
    "until",
    "created_before",
    helps={
        "lag": "Leave out conversations newer than this, because the API may not list them yet, and read again what "
        "changed this long before the last run."
    },
)
def sync(
    destination: Destination,
    spec: ExportSpec,
    display: Display,
    refilter: Annotated[
        bool, switch("--refilter", "Drop rows that have changed so that the filters no longer match them.", Group.DONE)
    ] = False,
    keep_generations: Annotated[
        int | None,
        flag(
            "From now on, keep the files that the last N runs replaced. Default: as before; at first 0.",
            "N",
            Group.DONE,
            min=0,
            max=1000,
        ),
    ] = None,
    metrics_file: MetricsFile = None,
) -> None:
    """Bring DEST up to the present: read what is new, and what has changed since it was read.

    If DEST holds no export yet, this makes the first one. Without options, the request stored at DEST is followed.
    """
    target = parse_location(destination)
    watch = Watch.of("sync", target, metrics_file)
    wanted = spec.resolve(os.environ, heeds_signals=True)

    from exporter.jobs.sync import sync as run_sync

    run = partial(run_sync, target, wanted.asked, refilter=refilter, keep_generations=keep_generations)
    with engine_of(spec.processes) as engine:
        perform(
            lambda observer: run(wanted.context(observer, engine)), _tell, display, target, command="sync", watch=watch
        )


def _tell(synced: "SyncResult") -> Result:
    whole = tell_summary(synced.summary)
    lines = [*describe_synced(synced), *describe_kept_out(synced.summary.erased)]
    return whole._replace(lines=lines, figures=whole.figures | synced_figures(synced))
