"""The command line: flags become a request, errors become exit statuses.

Whatever a command does is imported when it runs, so that `--help` loads neither Arrow nor an HTTP client. Progress,
logs, errors and the summary for people go to stderr; stdout holds what `--json` asked for.
"""

import json
import os
import re
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import typer

from exporter import __version__, contract, route, spec
from exporter.errors import ExporterError, InterruptedExportError, UsageError
from exporter.jobs.report import describe_status, describe_summary, status_figures
from exporter.progress import LogFormat, Observer, open_log, open_observer

if TYPE_CHECKING:
    from exporter.jobs.export import Summary

Job: TypeAlias = "Callable[[Observer], Awaitable[Summary]]"

_DEFAULTS: Final = spec.RunSettings()
#: Where the demo's range ends, whenever it is run: the second run has to find what the first one left.
_DEMO_UNTIL: Final = contract.parse_timestamp("2026-02-01")
_SUMMARY_KEYS: Final = ("state", "rows", "files", "bytes", "requests", "seconds", "manifest")


def _option(text: str, metavar: str = "TEXT") -> Any:
    return typer.Option(help=text, metavar=metavar)


Destination = Annotated[str, typer.Argument(metavar="DEST", help="A directory; made when it is not there.")]
Rows = Annotated[int, typer.Option(min=1, max=10_000_000, help="Conversations to make up.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Days to spread them over.")]
Density = Literal["flat", "office", "one-burst", "many-bursts", "bulk"]
Text = str | None
# Lists, so that a filter given twice can be refused: the last one would win in silence.
Values = list[str] | None
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more, and show where an unexpected error arose.")]

app = typer.Typer(
    help="Export every conversation of an organization to partitioned Parquet.",
    epilog=f"The token is read from {contract.TOKEN_VARIABLE} or --token-file, never from an argument.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, by default the process's own; returns its exit status. No traceback but with `-v`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # What a crash would leave on the disk holds the token and conversations.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        app(args=list(arguments), prog_name="exporter")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except ExporterError as error:
        _say(f"exporter: {error}")
        return error.exit_status
    except Exception as error:  # noqa: BLE001 - the last resort, so that no user meets a traceback
        _say(f"exporter: unexpected {type(error).__name__}; this is a defect, please report it with the output of -v")
        if not {"-v", "--verbose"}.isdisjoint(arguments):
            _say("\n".join(_frames(error)))
        return 1
    return 0


def _frames(error: BaseException) -> Iterator[str]:
    # Types and places without messages: those may quote the token or a conversation.
    if cause := error.__cause__ or error.__context__:
        yield from _frames(cause)
    yield f"{type(error).__name__} at"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _frames(member)


def _say(text: str) -> None:
    # A reader of stderr who has left does not turn a finished export into a failed one.
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"exporter {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback()
def _root(version: Version = False) -> None:
    pass


@app.command()
def export(
    context: typer.Context,
    destination: Destination,
    since: Annotated[Text, _option("Start of the range of created_at; or an age: 7d, 36h.", "TIME")] = None,
    until: Annotated[Text, _option("Its end, excluded; by default, the server's clock less the lag.", "TIME")] = None,
    lag: Annotated[int, _option("How far the default end lies back.", "SECONDS")] = _DEFAULTS.lag_seconds,
    created_after: Annotated[Text, _option("As --since, by the API's name.", "TIME")] = None,
    created_before: Annotated[Text, _option("As --until, by the API's name; included.", "TIME")] = None,
    direction: Annotated[Values, _option(f"One of {', '.join(contract.DIRECTIONS)}.")] = None,
    channel: Annotated[Values, _option(f"One of {', '.join(contract.CHANNELS)}.")] = None,
    status: Annotated[Values, _option(f"One of {', '.join(contract.STATUSES)}.")] = None,
    user_id: Annotated[Values, _option("Part of the user's id, in any case.")] = None,
    agent_number: Annotated[Values, _option("Part of the agent's number, in any case.")] = None,
    agent_id: Annotated[Values, _option("The agent's id.")] = None,
    agent_version_id: Annotated[Values, _option("The agent version's id.")] = None,
    web_widget_id: Annotated[Values, _option("The web widget's id.")] = None,
    duration_above: Annotated[Values, _option("At least so many seconds.", "N")] = None,
    duration_below: Annotated[Values, _option("At most so many seconds.", "N")] = None,
    user_turn_count_above: Annotated[Values, _option("At least so many turns.", "N")] = None,
    user_turn_count_below: Annotated[Values, _option("At most so many turns.", "N")] = None,
    custom_metadata: Annotated[Values, _option("What the metadata contains: a JSON object.", "JSON")] = None,
    updated_after: Annotated[Values, _option("updated_at is this or later.", "TIME")] = None,
    updated_before: Annotated[Values, _option("updated_at is this or earlier.", "TIME")] = None,
    raw: Annotated[Values, typer.Option("--filter", metavar="NAME=VALUE", help="Any parameter, unchecked.")] = None,
    fields: Annotated[Text, _option("Only these fields, and those that are always read.", "A,B")] = None,
    exclude_fields: Annotated[Text, _option("All fields but these.", "A,B")] = None,
    partition_by: Annotated[spec.PartitionBy | None, typer.Option(help="A directory each; by default, day.")] = None,
    concurrency: Annotated[int, _option("Requests in flight at most.", "N")] = _DEFAULTS.concurrency,
    max_rps: Annotated[float | None, _option("Requests a second at most.", "X")] = None,
    page_size: Annotated[int, _option("Rows to ask for at once, 1 to 1000.", "N")] = _DEFAULTS.page_size,
    part_size: Annotated[str, _option("Size at which a file is closed.", "SIZE")] = "256MiB",
    token_file: Annotated[Path | None, _option("File that holds the token; for your eyes only.", "FILE")] = None,
    org_id: Annotated[Text, _option(f"For a personal token; or set {contract.ORGANIZATION_VARIABLE}.", "ID")] = None,
    ca_file: Annotated[Path | None, _option("Authorities to trust, too, in PEM form.", "FILE")] = None,
    insecure_http: Annotated[bool, typer.Option("--insecure-http", help="Let the token travel over HTTP.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    log_format: Annotated[LogFormat, typer.Option(help="On stderr; json: an object a line.")] = "text",
) -> None:
    """Export conversations to DEST. The same command again resumes, or changes nothing.

    Times are ISO 8601, UTC where no offset is given. Without options, DEST's own request is resumed.
    """
    target = _directory(destination)
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

    _perform(job, as_json, verbose, log_format)


@app.command()
def demo(
    destination: Annotated[str, typer.Argument(metavar="[DEST]", help="A directory.")] = "demo-export",
    rows: Rows = 2000,
    days: Days = 30,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Export made-up conversations from a server in this process: no token, no network."""
    target = _directory(destination)
    since = _DEMO_UNTIL - days * contract.DAY
    asked = spec.Asked(since=since, until=_DEMO_UNTIL)

    from exporter.jobs.export import export as run_export
    from exporter.sandbox import make_conversations, serve

    async def job(observer: Observer) -> "Summary":
        async with serve(make_conversations(rows, since, _DEMO_UNTIL)) as server:
            observer.note("sandbox", url=server.url)
            settings = spec.RunSettings(base_url=server.url)
            return await run_export(target, asked, settings, spec.Credentials(server.token), observer)

    if (target / "_manifest.json").exists():
        _say(f"{target} holds an export already; what it has is kept, and only older days would be added.")
    else:
        _say(f"A server in this process makes up {rows:,} conversations of {days} days; they are exported to {target}.")
        _say("Stop it half-way and run it again: it goes on. Run it once more: nothing is left to do.")
    _perform(job, as_json, verbose, "text")


@app.command()
def status(
    destination: Annotated[str, typer.Argument(metavar="DEST", help="The directory of an export.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what is at DEST, how far it is, and which run holds it. Changes nothing, and needs no token."""
    target = _directory(destination)

    import anyio

    from exporter.jobs.status import status as read_status

    found = anyio.run(read_status, target)
    typer.echo(json.dumps(status_figures(found)) if as_json else "\n".join(describe_status(found)))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on loopback; 0 for any.")] = 8080,
    rows: Rows = 10_000,
    days: Days = 30,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same conversations.")] = 0,
    density: Annotated[Density, typer.Option(help="How they are spread over the days.")] = "office",
    behaviour: Annotated[Values, _option("A switch of the server; repeatable.", "NAME=VALUE")] = None,
) -> None:
    """Serve made-up conversations on loopback until Ctrl-C, to try exports against."""
    import anyio

    from exporter.sandbox import TOKEN, behaviour_from_options, run_sandbox

    def announce(url: str) -> None:
        typer.echo(f"export {contract.BASE_URL_VARIABLE}={url} {contract.TOKEN_VARIABLE}={TOKEN}")
        _say("Set these where you try `exporter export DEST`. Ctrl-C ends the sandbox.")

    until = time.time_ns() // 1000
    run = partial(run_sandbox, port=port, count=rows, since=until - days * contract.DAY, until=until, seed=seed)
    with suppress(KeyboardInterrupt):
        anyio.run(partial(run, density=density, behaviour=behaviour_from_options(behaviour or ()), on_ready=announce))


def _directory(text: str) -> Path:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise UsageError(f"{text}: object stores are not supported yet; give a path")
    if not text or "\0" in text:
        raise UsageError("the destination has to be a path")
    return Path(text)


def _perform(job: Job, as_json: bool, verbose: bool, log_format: LogFormat) -> None:
    """Runs `job`, shows its progress and its summary, and exits with its status."""
    import logging

    # Else a library's complaint about a task would reach the user with its traceback.
    logging.getLogger().addHandler(logging.NullHandler())
    log = open_log(sys.stderr, "json") if log_format == "json" else None
    observer = open_observer(sys.stderr, log_format, verbose=verbose)
    try:
        summary = _run(job, observer)
    except ExporterError as error:
        if log is None:
            raise
        log("error", "failed", {"reason": str(error), "exit_status": error.exit_status})
        raise typer.Exit(error.exit_status) from error
    finally:
        observer.close()
    figures = {key: getattr(summary, key) for key in _SUMMARY_KEYS}
    if log is None:
        _say("\n".join(describe_summary(summary)))
    else:
        log("info", "finished", figures)
    if as_json:
        typer.echo(json.dumps(figures))
    doubtful = summary.state == "unproven" or summary.quarantined_rows or summary.unproven
    raise typer.Exit(1 if summary.state == "incomplete" else 3 if doubtful else 0)


def _run(job: Job, observer: Observer) -> "Summary":
    """Runs `job`. Before the pipeline, which handles signals itself, SIGTERM ends it as Ctrl-C does."""
    import anyio

    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return anyio.run(job, observer)
    except KeyboardInterrupt as interrupt:
        raise InterruptedExportError("interrupted; run the same command again to resume") from interrupt
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
