"""Runs a job for a command: its progress, its summary, its signals and its exit status."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
import typer

from exporter.cli.display import open_log, open_observer
from exporter.cli.flags import Display
from exporter.cli.machine import translating
from exporter.cli.report import describe_summary, request_figures
from exporter.errors import ExporterError, InterruptedExportError
from exporter.progress import Observer

if TYPE_CHECKING:
    from exporter.jobs.summary import Summary

T = TypeVar("T")

SUMMARY_KEYS: Final = (
    "state", "rows", "files", "bytes", "requests", "seconds", "manifest",
    "organization", "filters", "fields", "partition_by", "tables",
)  # fmt: skip


def say(text: str) -> None:
    """Writes `text` to stderr, for people."""
    print(text, file=sys.stderr, flush=True)


def show(lines: Iterable[str], figures: object, *, as_json: bool) -> None:
    """Prints a result to stdout: `lines` for people, or `figures` as one JSON object."""
    typer.echo(json.dumps(figures) if as_json else "\n".join(lines))


class Result(NamedTuple):
    """Tells how a job ended: lines for people, figures for programs, and the exit status."""

    lines: list[str]
    figures: dict[str, Any]
    status: int


def tell_summary(summary: "Summary") -> Result:
    """Returns the result of an export."""
    known = msgspec.structs.asdict(summary) | request_figures(summary)
    figures = {key: known[key] for key in SUMMARY_KEYS}
    return Result(list(describe_summary(summary)), figures, summary.exit_status)


def perform(job: Callable[[Observer], Awaitable[T]], tell: Callable[[T], Result], display: Display) -> None:
    """Runs `job`, shows its progress and the result that `tell` makes of it, and exits with its status."""
    import logging

    # Otherwise a library's complaint about a task would reach the user with its traceback.
    logging.getLogger().addHandler(logging.NullHandler())
    log = open_log(sys.stderr, "json") if display.log_format == "json" else None
    observer = open_observer(sys.stderr, display.log_format, verbose=display.verbose)
    try:
        told = tell(run_until_signal(partial(job, observer), "interrupted; run the same command again to resume"))
    except ExporterError as error:
        if log is None:
            raise
        log("error", "failed", {"reason": str(error), "exit_status": error.exit_status})
        raise typer.Exit(error.exit_status) from error
    finally:
        observer.close()
    if log is None:
        say("\n".join(told.lines))
    else:
        log("info", "finished", told.figures)
    if display.as_json:
        typer.echo(json.dumps(told.figures))
    raise typer.Exit(told.status)


def run_until_signal(work: Callable[[], Awaitable[T]], otherwise: str) -> T:
    """Runs `work` until it ends, or until a signal does.

    The first Ctrl-C or SIGTERM cancels it, unless it listens to signals itself, as the pipeline does; the second one
    ends the process at once, which loses no more than a kill. Raises `InterruptedExportError` with the message
    `otherwise`.
    """
    import asyncio

    import anyio

    from exporter.signals import listening

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

    with listening(told), translating():
        try:
            return anyio.run(run)
        except asyncio.CancelledError as cancelled:
            raise InterruptedExportError(otherwise) from cancelled


def _end_at_once() -> None:
    with suppress(OSError):
        # A progress bar may have hidden the cursor.
        os.write(2, b"\x1b[?25hinterrupted\n" if os.isatty(2) else b"interrupted\n")
    os._exit(InterruptedExportError.exit_status)
