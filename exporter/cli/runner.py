"""Runs a job for a command: its progress, its summary, its signals and its exit status."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
import typer

from exporter.cli.display import Observers, Shown, open_display
from exporter.cli.erase_report import describe_kept_out
from exporter.cli.machine import translating
from exporter.cli.option_flags import Display
from exporter.cli.output import fail_in_json, is_terminal, report
from exporter.cli.query import describe_reading
from exporter.cli.recordings_report import kept_of, recordings_figures, surprises_of
from exporter.cli.report import describe_new_doubts, describe_summary, describe_surprises, request_figures
from exporter.cli.watch import Watch, note_told, untold
from exporter.errors import ExporterError, InterruptedExportError
from exporter.interpreter import end_loading
from exporter.layout import MEDIA
from exporter.progress import Observer
from exporter.store.location import Location, known_in_full
from exporter.telemetry import telemetry
from exporter.version import __version__
from exporter.words import count_of, percent_of

if TYPE_CHECKING:
    from exporter.jobs.summary import Summary

T = TypeVar("T")

SUMMARY_KEYS: Final = (
    "state", "generation", "rows", "new_rows", "expired_rows", "files", "bytes", "requests", "retries", "throttled",
    "seconds", "manifest", "organization", "filters", "ignored_filters", "fields", "withheld", "hydrated",
    "partition_by", "timezone", "tables", "unproven", "quarantined_rows", "new_doubts", "accepted",
)  # fmt: skip


def show(lines: Iterable[str], figures: object, *, as_json: bool) -> None:
    """Prints a result to stdout: `lines` for people, or `figures` as one JSON object."""
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        report("\n".join(lines))


class Result(NamedTuple):
    """Tells how a job ended: lines for people, figures for programs, the exit status, and a hint for terminals.

    `surprises` are those of the lines that say that the data is other than asked for, or in doubt, which nobody may
    miss.
    """

    lines: list[str]
    figures: dict[str, Any]
    status: int
    hint: tuple[str, ...] = ()
    surprises: tuple[str, ...] = ()


def tell_summary(summary: "Summary") -> Result:
    """Returns the result of an export."""
    known = msgspec.structs.asdict(summary) | request_figures(summary)
    figures = {key: known[key] for key in SUMMARY_KEYS}
    if summary.protection is not None:
        figures["protection"] = msgspec.to_builtins(summary.protection)
    if summary.encryption is not None:
        figures["encryption"] = msgspec.to_builtins(summary.encryption)
    if summary.erased is not None:
        figures["erased"] = summary.erased
    if summary.recordings is not None:
        figures["recordings"] = recordings_figures(summary.recordings)
    return Result(
        [*describe_summary(summary), *describe_kept_out(summary.erased)],
        figures,
        summary.exit_status,
        hint=tuple(describe_reading(summary)),
        surprises=headings_of(
            (*describe_surprises(summary), *describe_new_doubts(summary), *surprises_of(summary.recordings))
        ),
    )


def headings_of(lines: Iterable[str]) -> tuple[str, ...]:
    """Returns the lines that are indented no further than others, without what is indented below them."""
    return tuple(line.strip().rstrip(";") for line in lines if not line.startswith(" " * 3))


def perform(
    job: Callable[[Observer], Awaitable[T]],
    tell: Callable[[T], Result],
    display: Display,
    destination: Location,
    *,
    command: str,
    again: str = "to go on",
    counts_stored: bool = False,
    doing: str = "connecting",
    says: Callable[[str], None] = report,
    watch: Watch | None = None,
) -> None:
    """Runs `job` for `command`, shows its progress and the result that `tell` makes of it, and exits with its status.

    `again` says what the same command does after an interruption, and `doing` what it does before any news of it.
    `says` takes the report for people, and `watch` tells others of the run.
    """

    where = known_in_full(destination)
    started = {"command": command, "destination": where, "version": __version__, "process": os.getpid()}
    shown = open_display(display, str(destination), started, counts_stored=counts_stored, doing=doing)
    stopped = f"stopped; run the same command {again}"
    try:
        with (
            telemetry(os.environ, watch.name if watch else where, shown.alert, shown.observer.note),
            _told_to_others(watch, shown, stopped) as ended,
        ):
            observer = Observers([shown.observer, *([watch.meter] if watch else [])])
            ended.append(result := tell(run_until_signal(partial(job, observer), stopped)))
    except ExporterError as error:
        if isinstance(error, InterruptedExportError):
            if not shown.draws and is_terminal(sys.stderr):
                # The terminal has shown ^C, and the cursor stands behind it.
                print(file=sys.stderr)
            _say_what_is_kept(error, destination, command)
        for log in shown.logs:
            log("error", "failed", {"reason": str(error), "exit_status": error.exit_status})
        if shown.json_log is None:
            raise
        if display.as_json or display.json_lines:
            fail_in_json(str(error), error.exit_status)
        raise typer.Exit(error.exit_status) from error
    finally:
        shown.observer.close()
    _tell_result(shown, display, result, where, says)
    raise typer.Exit(result.status)


@contextmanager
def _told_to_others(watch: Watch | None, shown: Shown, stopped: str) -> Iterator[list[Result]]:
    """Tells others of the run in the block when it begins, and how it ended: with the result in the list, or else with
    an error. Raises `InterruptedExportError` with the message `stopped` if a signal comes before it begins."""
    results: list[Result] = []
    note_told()
    if watch is None or not watch.is_told:
        yield results
        return
    try:
        _told(watch.look, stopped, shown.alert)
        with watch.following(shown.alert):
            yield results
    except BaseException as error:
        tell_of_end(watch, error, shown.alert)
        raise
    tell_of_end(watch, results[0], shown.alert)


def tell_of_end(watch: Watch, ended: Result | BaseException, warn: Callable[[str], object]) -> None:
    """Tells others how a run ended, or warns why it could not."""
    from exporter.cli.outcome import Ending

    if isinstance(ended, Result):
        ending = Ending(ended.status, ended.figures)
    else:
        ending = Ending(getattr(ended, "exit_status", ExporterError.exit_status), error=ended)
    # A signal that comes now gives up what has not been told yet; the run has ended, and keeps its status.
    with suppress(InterruptedExportError):
        _told(partial(watch.end, ending, warn), "", warn)


def _told(work: Callable[[], Awaitable[None]], stopped: str, warn: Callable[[str], object]) -> None:
    """Tells others, or warns why it could not. Raises `InterruptedExportError` with the message `stopped`."""
    try:
        run_until_signal(work, stopped)
    except InterruptedExportError:
        raise
    except Exception as error:  # noqa: BLE001 - whoever is told of a run must not be able to fail it
        warn(untold(error))


def _say_what_is_kept(error: InterruptedExportError, destination: Location, command: str) -> None:
    if error.kept_rows is None:
        return
    share = "" if error.kept_share is None or error.kept_share == 1 else f" ({percent_of(error.kept_share)})"
    kept, where = f"{count_of(error.kept_rows, 'conversation')}{share}", str(destination)
    are = "is" if error.kept_rows == 1 else "are"
    if error.kept_recordings is not None:
        recordings = kept_of(error.kept_recordings, error.known_recordings)
        kept, are = f"{kept} and {recordings}", "are"
        if command == "recordings":
            kept, where = recordings, str(destination / MEDIA)
    error.with_message(f"stopped: {kept} {are} kept in {where}; run the same command to go on")


def _tell_result(shown: Shown, display: Display, result: Result, where: str, says: Callable[[str], None]) -> None:
    if display.quiet:
        for surprise in result.surprises:
            shown.say_warning(surprise)
    for log in shown.logs:
        if display.quiet and log is shown.json_log:
            continue
        if display.log_format == "json":
            log("info", "finished", {"destination": where, **result.figures})
        else:
            for line in result.lines:
                log("info", line, {})
    if display.as_json:
        typer.echo(json.dumps(result.figures))
    elif display.json_lines:
        typer.echo(json.dumps({"event": "summary", **result.figures}))
    elif display.quiet:
        says(result.lines[0])
    else:
        says("\n".join([*result.lines, *(result.hint if is_terminal(sys.stdout) else ())]))


def run_until_signal(work: Callable[[], Awaitable[T]], otherwise: str) -> T:
    """Runs `work` until it ends, or until a signal does.

    The first Ctrl-C, SIGTERM or SIGHUP cancels it, unless it listens to signals itself, as the pipeline does; the
    second one ends the process at once, which loses no more than a kill. Raises `InterruptedExportError` with the
    message `otherwise`.
    """
    import asyncio
    import logging

    import anyio

    from exporter.signals import listening

    end_loading()
    cancels: list[Callable[[], object]] = []
    signals = 0

    def told() -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            _end_at_once()
        for cancel in cancels:
            cancel()

    async def run() -> T:
        task = asyncio.current_task()
        if task is not None:
            cancels.append(partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
        if signals:
            raise asyncio.CancelledError
        try:
            return await work()
        finally:
            # The event loop must end by itself: interrupted, it would leave threads that nobody ends.
            cancels.clear()

    # Otherwise a library's complaint, about a task or about a request that ends with its server, would reach the user
    # with its traceback.
    logging.getLogger().addHandler(logging.NullHandler())
    with listening(told), translating():
        try:
            return anyio.run(run)
        except asyncio.CancelledError as cancelled:
            raise InterruptedExportError(otherwise) from cancelled


def _end_at_once() -> None:
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(InterruptedExportError.exit_status)
