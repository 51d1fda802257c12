"""`exporter export`."""

from typing import TYPE_CHECKING, Annotated, Any

from exporter.cli.flags import understand, with_request_options
from exporter.cli.options import Destination, Text, option
from exporter.cli.runner import perform, tell_summary
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.summary import Summary


@with_request_options
def export(
    destination: Destination,
    until: Annotated[Text, option("Its end, excluded; by default, the server's clock less the lag.", "TIME")] = None,
    created_before: Annotated[Text, option("As --until, by the API's name; included.", "TIME")] = None,
    **options: Any,
) -> None:
    """Export conversations to DEST. The same command again resumes, or changes nothing.

    Times are ISO 8601, UTC where no offset is given. Without options, DEST's own request is resumed.
    """
    target = parse_location(destination)
    wanted = understand(options, until, created_before)

    from exporter.jobs.export import export as run_export

    async def job(observer: Observer) -> "Summary":
        return await run_export(target, wanted.asked, RunContext(wanted.settings, wanted.credentials, observer))

    perform(job, tell_summary, options["as_json"], options["verbose"], options["log_format"])
