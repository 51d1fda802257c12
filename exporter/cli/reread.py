"""`exporter reread`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from exporter.cli.erase_report import describe_kept_out
from exporter.cli.flags import Existing, switch
from exporter.cli.option_flags import Display, StoredSpec, with_options
from exporter.cli.report import describe_reread
from exporter.cli.runner import Result, perform, tell_summary
from exporter.cli.times import period_figures
from exporter.options.option import Group
from exporter.options.spec import OF_RECORDINGS, OF_THE_DATASET
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.reread import RereadResult


@with_options(
    *OF_THE_DATASET,
    *OF_RECORDINGS,
    "expire",
    "file_mode",
    "processes",
    helps={
        "since": "Read again conversations created at this time or later: 2026-01, yesterday, last-month, 7d.",
        "until": "Read again conversations created before this time.",
        "lag": "Leave out conversations newer than this if the clock of an earlier run was ahead.",
    },
    since="the beginning of what DEST holds",
    until="the end of what DEST holds",
)
def reread(
    destination: Existing,
    spec: StoredSpec,
    display: Display,
    withheld: Annotated[
        bool, switch("--withheld", "Read again only where rows came without sensitive fields.", Group.DONE)
    ] = False,
) -> None:
    """Read DEST again, or a range of it, and replace what it holds by what comes.

    DEST stays as it is until the whole range has been read.
    """
    target = parse_location(destination)
    wanted = spec.resolve(os.environ, heeds_signals=True)

    from exporter.jobs.reread import reread as run_reread

    run = partial(run_reread, target, wanted.asked, withheld=withheld)
    perform(lambda observer: run(wanted.context(observer)), _tell, display, target, command="reread")


def _tell(done: "RereadResult") -> Result:
    whole = tell_summary(done.summary)
    figures = whole.figures | _figures(done)
    lines = [*describe_reread(done), *describe_kept_out(done.summary.erased)]
    return whole._replace(lines=lines, figures=figures, status=done.exit_status, hint=())


def _figures(done: "RereadResult") -> dict[str, Any]:
    """Returns the changes of a reread, for programs."""
    names = ("inserted", "updated", "removed", "unchanged", "rewritten", "kept")
    return {
        "intervals": [period_figures(period) for period in done.intervals],
        **{name: getattr(done, name) for name in names},
    }
