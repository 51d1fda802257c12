"""`exporter export`: the options of the API's filters and of a run."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exporter import contract, route, spec
from exporter.cli.options import AsJson, Destination, Text, Values, Verbose, directory, option
from exporter.cli.running import perform
from exporter.progress import LogFormat, Observer

if TYPE_CHECKING:
    from exporter.jobs.export import Summary

_DEFAULTS: Final = spec.RunSettings()


def export(
    context: typer.Context,
    destination: Destination,
    since: Annotated[Text, option("Start of the range of created_at; or an age: 7d, 36h.", "TIME")] = None,
    until: Annotated[Text, option("Its end, excluded; by default, the server's clock less the lag.", "TIME")] = None,
    lag: Annotated[int, option("How far the default end lies back.", "SECONDS")] = _DEFAULTS.lag_seconds,
    created_after: Annotated[Text, option("As --since, by the API's name.", "TIME")] = None,
    created_before: Annotated[Text, option("As --until, by the API's name; included.", "TIME")] = None,
    direction: Annotated[Values, option(f"One of {', '.join(contract.DIRECTIONS)}.")] = None,
    channel: Annotated[Values, option(f"One of {', '.join(contract.CHANNELS)}.")] = None,
    status: Annotated[Values, option(f"One of {', '.join(contract.STATUSES)}.")] = None,
    user_id: Annotated[Values, option("Part of the user's id, in any case.")] = None,
    agent_number: Annotated[Values, option("Part of the agent's number, in any case.")] = None,
    agent_id: Annotated[Values, option("The agent's id.")] = None,
    agent_version_id: Annotated[Values, option("The agent version's id.")] = None,
    web_widget_id: Annotated[Values, option("The web widget's id.")] = None,
    duration_above: Annotated[Values, option("At least so many seconds.", "N")] = None,
    duration_below: Annotated[Values, option("At most so many seconds.", "N")] = None,
    user_turn_count_above: Annotated[Values, option("At least so many turns.", "N")] = None,
    user_turn_count_below: Annotated[Values, option("At most so many turns.", "N")] = None,
    custom_metadata: Annotated[Values, option("What the metadata contains: a JSON object.", "JSON")] = None,
    updated_after: Annotated[Values, option("updated_at is this or later.", "TIME")] = None,
    updated_before: Annotated[Values, option("updated_at is this or earlier.", "TIME")] = None,
    raw: Annotated[Values, typer.Option("--filter", metavar="NAME=VALUE", help="Any parameter, unchecked.")] = None,
    fields: Annotated[Text, option("Only these fields, and those that are always read.", "A,B")] = None,
    exclude_fields: Annotated[Text, option("All fields but these.", "A,B")] = None,
    partition_by: Annotated[spec.PartitionBy | None, typer.Option(help="A directory each; by default, day.")] = None,
    concurrency: Annotated[int, option("Requests in flight at most.", "N")] = _DEFAULTS.concurrency,
    max_rps: Annotated[float | None, option("Requests a second at most.", "X")] = None,
    page_size: Annotated[int, option("Rows to ask for at once, 1 to 1000.", "N")] = _DEFAULTS.page_size,
    part_size: Annotated[str, option("Size at which a file is closed.", "SIZE")] = "256MiB",
    memory: Annotated[str, option("What the process may take at its peak.", "SIZE")] = "384MiB",
    token_file: Annotated[Path | None, option("File that holds the token; for your eyes only.", "FILE")] = None,
    org_id: Annotated[Text, option(f"For a personal token; or set {contract.ORGANIZATION_VARIABLE}.", "ID")] = None,
    ca_file: Annotated[Path | None, option("Authorities to trust, too, in PEM form.", "FILE")] = None,
    insecure_http: Annotated[bool, typer.Option("--insecure-http", help="Let the token travel over HTTP.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    log_format: Annotated[LogFormat, typer.Option(help="On stderr; json: an object a line.")] = "text",
) -> None:
    """Export conversations to DEST. The same command again resumes, or changes nothing.

    Times are ISO 8601, UTC where no offset is given. Without options, DEST's own request is resumed.
    """
    target = directory(destination)
    now = time.time_ns() // 1000
    start, end = spec.choose_range(since, until, created_after, created_before, now)
    base_url = route.check_base_url(
        os.environ.get(contract.BASE_URL_VARIABLE) or contract.DEFAULT_BASE_URL, insecure_http=insecure_http
    )
    settings = spec.RunSettings(
        base_url=base_url,
        proxy=route.choose_proxy(os.environ, base_url),
        ssl_context=route.trust(ca_file),
        lag_seconds=lag,
        concurrency=concurrency,
        max_rps=max_rps,
        page_size=page_size,
        target_part_bytes=spec.parse_size(part_size, "--part-size"),
        memory_bytes=spec.parse_size(memory, "--memory"),
    )
    if end is None:
        spec.check_range(start, now - lag * contract.SECOND)
    named = {name: context.params[name] or () for name in contract.FILTERS_BY_NAME}
    asked = spec.Asked(
        since=start,
        until=end,
        filters=spec.choose_filters(named, raw or ()),
        fields=spec.choose_fields(fields, exclude_fields),
        partition_by=partition_by,
    )
    credentials = spec.load_credentials(os.environ, token_file, org_id)

    from exporter.jobs.export import export as run_export

    async def job(observer: Observer) -> "Summary":
        return await run_export(target, asked, settings, credentials, observer)

    perform(job, as_json, verbose, log_format)
