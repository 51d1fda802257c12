"""`exporter plan`."""

import os
from typing import TYPE_CHECKING

from exporter.cli.flags import Destination
from exporter.cli.option_flags import Display, with_options
from exporter.cli.plan_report import describe_plan, plan_figures
from exporter.cli.runner import Result, perform
from exporter.options.spec import ExportSpec
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.plan_result import PlanResult


@with_options()
def plan(destination: Destination, spec: ExportSpec, display: Display) -> None:
    """Say what a run at DEST would read and write, and how long it would take. Writes nothing.

    Give it the options of the export, and --recordings if it is to keep them. If DEST has all that is asked for, this
    is what a sync would do. It asks the API at most 20 questions.
    """
    target = parse_location(destination)
    wanted = spec.resolve(os.environ, heeds_signals=True)

    from exporter.jobs.plan import plan as run_plan

    def tell(found: "PlanResult") -> Result:
        return Result(list(describe_plan(found)), plan_figures(found), found.exit_status)

    perform(
        lambda observer: run_plan(target, wanted.asked, wanted.context(observer)),
        tell,
        display,
        target,
        command="plan",
        again="to start over",
    )
