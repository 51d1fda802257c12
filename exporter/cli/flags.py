"""What commands that read from the API are asked: the options they share, and what these come to.

Every option is stated once, in `request_options`; `with_request_options` gives them to a command.
"""

import inspect
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from exporter import contract
from exporter.cli.display import LogFormat
from exporter.cli.options import AsJson, Text, Values, Verbose, option
from exporter.model import TableKind
from exporter.options.spec import Invocation
from exporter.options.spec import understand as understand_options
from exporter.settings import PartitionBy, RunSettings, TrustedClock

_DEFAULTS: Final = RunSettings()
#: What says which conversations a dataset holds, and how it is laid out.
_OF_THE_DATASET: Final = frozenset(
    {
        "created_after",
        *contract.FILTERS_BY_NAME,
        "raw",
        "fields",
        "exclude_fields",
        "partition_by",
        "tables",
        "table_format",
        "iceberg_catalog",
    }
)
Command = TypeVar("Command", bound=Callable[..., None])


def request_options(
    since: Annotated[Text, option("Start of the range of created_at; or an age: 7d, 36h.", "TIME")] = None,
    lag: Annotated[int, option("How far the default end lies back.", "SECONDS")] = _DEFAULTS.lag_seconds,
    created_after: Annotated[Text, option("As --since, by the API's name.", "TIME")] = None,
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
    partition_by: Annotated[PartitionBy | None, typer.Option(help="A directory each; by default, day.")] = None,
    tables: Annotated[Text, option("conversations, and with ,turns the items of transcripts, too.", "A,B")] = None,
    table_format: Annotated[TableKind | None, typer.Option(help="Keep each table as one of these, too.")] = None,
    iceberg_catalog: Annotated[Text, option("As pyiceberg's configuration has it.", "CATALOG[/NAMESPACE]")] = None,
    concurrency: Annotated[int, option("Requests in flight at most.", "N")] = _DEFAULTS.concurrency,
    max_rps: Annotated[float | None, option("Requests a second at most.", "X")] = None,
    page_size: Annotated[int, option("Rows to ask for at once, 1 to 1000.", "N")] = _DEFAULTS.page_size,
    part_size: Annotated[str, option("Size at which a file is closed.", "SIZE")] = "256MiB",
    memory: Annotated[str, option("What the process may take at its peak.", "SIZE")] = "384MiB",
    trust_clock: Annotated[
        TrustedClock | None, typer.Option(help="The one to believe where they differ by hours.")
    ] = None,
    token_file: Annotated[Path | None, option("File that holds the token; for your eyes only.", "FILE")] = None,
    org_id: Annotated[Text, option(f"For a personal token; or set {contract.ORGANIZATION_VARIABLE}.", "ID")] = None,
    ca_file: Annotated[Path | None, option("Authorities to trust, too, in PEM form.", "FILE")] = None,
    insecure_http: Annotated[bool, typer.Option("--insecure-http", help="Let the token travel over HTTP.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    log_format: Annotated[LogFormat, typer.Option(help="On stderr; json: an object a line.")] = "text",
) -> None:
    """Options that say what is wanted, how it is read, and who asks."""


def with_request_options(command: Command) -> Command:
    """Gives `command` the options above in place of its `**options`, after those of its own."""
    return _with_options(command, frozenset())


def with_reading_options(command: Command) -> Command:
    """As `with_request_options`, without those that say what the dataset holds: it is there."""
    return _with_options(command, _OF_THE_DATASET)


def _with_options(command: Command, without: Collection[str]) -> Command:
    shared = [each for name, each in inspect.signature(request_options).parameters.items() if name not in without]
    own = [each for each in inspect.signature(command).parameters.values() if each.kind is not each.VAR_KEYWORD]
    # For typer, which makes the command line of what a function says that it takes.
    parameters = [*own, *shared]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def understand(options: dict[str, Any], until: str | None = None, created_before: str | None = None) -> Invocation:
    """Checks everything that can be checked before the first request. Raises `UsageError`."""
    given = dict.fromkeys(_OF_THE_DATASET) | options | {"until": until, "created_before": created_before}
    return understand_options(given, os.environ)
