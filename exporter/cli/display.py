"""Shows the progress of a run: a bar on a terminal, lines in a log."""

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TextIO, TypeAlias

from exporter.progress import Observer, Snapshot
from exporter.words import format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

LogFormat: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["info", "warning", "error"]
Log: TypeAlias = Callable[[Level, str, dict[str, object]], None]
_RATE_WINDOW_SECONDS: Final = 10.0
_LINE_EVERY_SECONDS: Final = 5.0
_DRAW_EVERY_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Rates:
    """Tells how fast a run is now. `seconds_left` is None as long as it is unknown."""

    rows: float
    requests: float
    seconds_left: float | None


class Meter:
    """Measures rates over the last ten seconds, and the time left, by the share that this run has added."""

    def __init__(self) -> None:
        self._first: Snapshot | None = None
        self._recent: deque[Snapshot] = deque()

    def measure(self, snapshot: Snapshot) -> Rates:
        """Returns the rates at `snapshot`, which must not be older than the one before."""
        self._first = first = self._first or snapshot
        self._recent.append(snapshot)
        while len(self._recent) > 2 and self._recent[1].seconds <= snapshot.seconds - _RATE_WINDOW_SECONDS:
            self._recent.popleft()
        oldest = self._recent[0]
        # Until there is a second snapshot, a run is as old as its first one says.
        rows, requests, since = (0, 0, 0.0) if oldest is first else (oldest.rows, oldest.requests, oldest.seconds)
        elapsed = snapshot.seconds - since
        if elapsed <= 0:
            return Rates(0.0, 0.0, None)
        gained = snapshot.share - first.share
        left = (1 - snapshot.share) * (snapshot.seconds - first.seconds) / gained if gained > 0 else None
        return Rates((snapshot.rows - rows) / elapsed, (snapshot.requests - requests) / elapsed, left)


class LineProgress:
    """Writes a line every few seconds to a log file or a pipe."""

    def __init__(self, log: Log, *, verbose: bool) -> None:
        self._log = log
        self._verbose = verbose
        self._meter = Meter()
        self._next_line_seconds = _LINE_EVERY_SECONDS

    def progress(self, snapshot: Snapshot) -> None:
        if snapshot.seconds < self._next_line_seconds:
            return
        self._next_line_seconds = snapshot.seconds + _LINE_EVERY_SECONDS
        rates = self._meter.measure(snapshot)
        details: dict[str, object] = {
            "percent": round(100 * snapshot.share, 1),
            "rows": snapshot.rows,
            "rows_per_second": round(rates.rows),
            "requests_per_second": round(rates.requests, 1),
            "in_flight": snapshot.in_flight,
            "files": snapshot.files,
            "retries": snapshot.retries,
            "throttled": snapshot.throttled,
        }
        if rates.seconds_left is not None:
            details["seconds_left"] = round(rates.seconds_left)
        self._log("info", "progress", details)

    def note(self, event: str, /, **details: object) -> None:
        if self._verbose:
            self._log("info", event, details)

    def warn(self, event: str, /, **details: object) -> None:
        self._log("warning", event, details)

    def close(self) -> None:
        pass


class TerminalProgress:
    """Draws a bar as pages arrive, and every second; events scroll by above it."""

    def __init__(self, stream: TextIO, *, verbose: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._verbose = verbose
        self._meter = Meter()
        self._next_draw_seconds = 0.0
        self._console = Console(file=stream, highlight=False)
        # No thread draws it: events do, so nothing is drawn while nothing happens.
        self._live = Live(
            "connecting",
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with suppress(OSError, ValueError):
            self._live.start(refresh=True)

    def progress(self, snapshot: Snapshot) -> None:
        if snapshot.seconds < self._next_draw_seconds:
            return
        self._next_draw_seconds = snapshot.seconds + _DRAW_EVERY_SECONDS
        with suppress(OSError, ValueError):
            self._live.update(self._picture(snapshot), refresh=True)

    def _picture(self, snapshot: Snapshot) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        rates = self._meter.measure(snapshot)
        left = "" if rates.seconds_left is None else f"{format_seconds(rates.seconds_left)} left"
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=1.0, completed=snapshot.share, width=40), f"{snapshot.share:.1%}", left)
        return Group(bar, describe(snapshot, rates))

    def note(self, event: str, /, **details: object) -> None:
        if self._verbose:
            self.warn(event, **details)

    def warn(self, event: str, /, **details: object) -> None:
        with suppress(OSError, ValueError):
            self._console.print(key_values(event, details), markup=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        with suppress(OSError, ValueError):
            self._live.stop()


def describe(snapshot: Snapshot, rates: Rates) -> str:
    """Returns one line for people, which fits 80 columns up to some hundred million rows."""
    line = (
        f"{snapshot.rows:,} rows, {rates.rows:,.0f}/s, {rates.requests:,.1f} requests/s, {snapshot.in_flight} in flight"
    )
    return line + (f", {snapshot.retries:,} retries" if snapshot.retries else "")


def key_values(event: str, details: dict[str, object]) -> str:
    """Returns `event key=value …`; a value that could break the line or the terminal is quoted and escaped."""
    return " ".join([event, *(f"{key}={_plain(value)}" for key, value in details.items())])


def _plain(value: object) -> str:
    text = str(round(value, 3) if isinstance(value, float) else value)
    harmless = text and text.isprintable() and not set(text) & set(' "=')
    return text if harmless else json.dumps(text)


def open_log(stream: TextIO, log_format: LogFormat) -> Log:
    """Returns a function that writes one line for each event to `stream`: `key=value`, or a JSON object."""
    import structlog

    def render_text(_logger: object, level: str, fields: structlog.typing.EventDict) -> str:
        prefix = "" if level == "info" else f"{level}: "
        return f"{fields.pop('timestamp')} {prefix}{key_values(fields.pop('event'), dict(fields))}"

    processors: list[structlog.typing.Processor]
    if log_format == "json":
        processors = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ]
    else:
        processors = [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), render_text]
    logger = structlog.BoundLogger(structlog.PrintLogger(stream), processors, {})

    def log(level: Level, event: str, details: dict[str, object]) -> None:
        with suppress(OSError, ValueError):
            getattr(logger, level)(event, **details)

    return log


def open_observer(stream: TextIO, log_format: LogFormat, *, verbose: bool) -> Observer:
    """Returns the observer for `stream`: a live bar on a terminal, lines anywhere else."""
    if log_format == "text" and stream.isatty():
        return TerminalProgress(stream, verbose=verbose)
    return LineProgress(open_log(stream, log_format), verbose=verbose)
