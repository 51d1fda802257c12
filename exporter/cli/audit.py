"""`exporter audit`."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter.cli.audit_report import audited_figures, describe_audited
from exporter.cli.flags import understand, with_reading_options
from exporter.cli.options import Existing, Text, option
from exporter.cli.runner import Result, perform
from exporter.errors import UsageError
from exporter.options.parse import parse_share
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.audit import AuditResult


@with_reading_options
def audit(
    destination: Existing,
    until: Annotated[Text, option("End of the range, excluded; as --since.", "TIME")] = None,
    sample: Annotated[str, option("Compare about so much, drawn at random, anew every day.", "PERCENT")] = "100%",
    repair: Annotated[bool, typer.Option("--repair", help="Fetch what is missing or has changed.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Drop what the source has no more, by 404; with --repair.")
    ] = False,
    **options: Any,
) -> None:
    """Compare DEST with the API: ids and times of change alone, in all that DEST has read.

    Without --repair it changes nothing, and takes no lock.
    """
    target, share = parse_location(destination), parse_share(sample)
    if delete and not repair:
        raise UsageError("--delete: goes with --repair")
    wanted = understand(options, until)

    from exporter.jobs.audit import audit as run_audit

    async def job(observer: Observer) -> "AuditResult":
        return await run_audit(
            target,
            wanted.asked,
            RunContext(wanted.settings, wanted.credentials, observer),
            now=time.time_ns() // 1000,
            share=share,
            repair=repair,
            delete=delete,
        )

    def tell(found: "AuditResult") -> Result:
        return Result(list(describe_audited(found, target)), audited_figures(found), found.exit_status)

    perform(job, tell, options["as_json"], options["verbose"], options["log_format"])
