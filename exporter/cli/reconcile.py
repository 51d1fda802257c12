"""`exporter reconcile`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

from exporter.cli.flags import Existing, flag, switch
from exporter.cli.option_flags import Display, StoredSpec, with_options
from exporter.cli.reconcile_report import describe_reconciled, reconciled_figures
from exporter.cli.runner import Result, perform
from exporter.clock import wall_clock
from exporter.options.option import Group
from exporter.options.spec import OF_RECORDINGS, OF_THE_DATASET
from exporter.store.location import parse_location
from exporter.zones import check_zone

if TYPE_CHECKING:
    from exporter.jobs.reconcile_result import ReconcileResult


@with_options(
    *OF_THE_DATASET,
    *OF_RECORDINGS,
    "lag",
    "expire",
    "file_mode",
    "processes",
    "part_size",
    "page_size",
    "hydrate",
    "trust_clock",
    "memory",
    "concurrency",
    "max_rps",
    "privacy_key_file",
    helps={
        "since": "Compare from this day on: 2026-01, yesterday, last-month, 7d.",
        "until": "Compare the days before this time.",
    },
    since="the first day of the export",
    until="the last day of the export",
)
def reconcile(
    destination: Existing,
    spec: StoredSpec,
    display: Display,
    days_in: Annotated[
        str | None,
        flag(
            "The time zone of the days of the platform's totals; without it, UTC and that of DEST are tried.",
            "NAME",
            Group.DONE,
        ),
    ] = None,
    all_days: Annotated[bool, switch("--all-days", "Show every day, not only those that differ.", Group.DONE)] = False,
) -> None:
    """Compare DEST with the platform's own totals, which it bills by: conversations and minutes, day by day.

    It changes nothing, takes no lock, and needs a token with the scope billing:manage.
    """
    target = parse_location(destination)
    zone = None if days_in is None else check_zone(days_in, "--days-in")
    wanted = spec.resolve(os.environ, heeds_signals=True)

    from exporter.jobs.reconcile import reconcile as run_reconcile

    run = partial(run_reconcile, target, wanted.asked, now=wall_clock(), days_in=zone)

    def tell(found: "ReconcileResult") -> Result:
        lines = list(describe_reconciled(found, target, all_days=all_days))
        return Result(lines, reconciled_figures(found), found.exit_status)

    perform(
        lambda observer: run(wanted.context(observer)),
        tell,
        display,
        target,
        command="reconcile",
        again="to start over",
    )
