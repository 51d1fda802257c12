"""`exporter audit`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

from exporter.cli.audit_report import audited_figures, describe_audited
from exporter.cli.flags import Existing, flag, switch
from exporter.cli.option_flags import Display, StoredSpec, with_options
from exporter.cli.runner import Result, perform
from exporter.clock import wall_clock
from exporter.errors import UsageError
from exporter.options.option import Group
from exporter.options.parse import parse_share
from exporter.options.spec import OF_RECORDINGS, OF_THE_DATASET
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.audit_result import AuditResult


@with_options(
    *OF_THE_DATASET,
    *OF_RECORDINGS,
    "expire",
    "file_mode",
    "processes",
    helps={
        "since": "Compare conversations created at this time or later: 2026-01, yesterday, last-month, 7d.",
        "until": "Compare conversations created before this time.",
        "lag": "Count a change as later, and not as a difference, if it came less than this before its interval was "
        "read, or after that.",
    },
    since="the beginning of what DEST has read",
    until="the end of what DEST has read",
)
def audit(
    destination: Existing,
    spec: StoredSpec,
    display: Display,
    sample: Annotated[
        str, flag("Compare about this share, drawn at random; each day draws another.", "PERCENT", Group.DONE)
    ] = "100%",
    repair: Annotated[bool, switch("--repair", "Fetch what is missing, has changed or has moved.", Group.DONE)] = False,
    delete: Annotated[
        bool,
        switch("--delete", "Together with --repair, drop the rows whose ids the API answers with 404.", Group.DONE),
    ] = False,
) -> None:
    """Compare DEST with the API: the ids and times of change of every conversation that DEST has read.

    Without --repair it changes nothing, and takes no lock.
    """
    target, share = parse_location(destination), parse_share(sample)
    if delete and not repair:
        raise UsageError("--delete: give it together with --repair")
    wanted = spec.resolve(os.environ, heeds_signals=True)

    from exporter.jobs.audit import audit as run_audit

    run = partial(run_audit, target, wanted.asked, now=wall_clock(), share=share, repair=repair, delete=delete)

    def tell(found: "AuditResult") -> Result:
        return Result(list(describe_audited(found, target)), audited_figures(found), found.exit_status)

    perform(
        lambda observer: run(wanted.context(observer)), tell, display, target, command="audit", again="to start over"
    )
