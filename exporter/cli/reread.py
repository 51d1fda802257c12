"""`exporter reread`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter.cli.flags import understand, with_reading_options
from exporter.cli.options import Existing, Text, option
from exporter.cli.report import describe_reread, reread_figures
from exporter.cli.runner import Result, perform, tell_summary
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.reread import RereadResult


@with_reading_options
def reread(
    destination: Existing,
    until: Annotated[Text, option("End of what is read again, excluded; as --since.", "TIME")] = None,
    withheld: Annotated[
        bool, typer.Option("--withheld", help="Only where rows came without sensitive fields.")
    ] = False,
    **options: Any,
) -> None:
    """Read DEST again, or an interval of it, and put what comes in place of what is there.

    Until it is all there, nothing of that has changed.
    """
    target = parse_location(destination)
    wanted = understand(options, until)

    from exporter.jobs.reread import reread as run_reread

    async def job(observer: Observer) -> "RereadResult":
        return await run_reread(
            target, wanted.asked, RunContext(wanted.settings, wanted.credentials, observer), withheld=withheld
        )

    perform(job, _tell, options["as_json"], options["verbose"], options["log_format"])


def _tell(done: "RereadResult") -> Result:
    whole = tell_summary(done.summary)
    lines = [*describe_reread(done), *whole.lines[1:]]
    return Result(lines, whole.figures | reread_figures(done), done.exit_status)
