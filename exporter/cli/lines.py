"""Reports progress by lines: in a log, to a pipe, to a terminal that cannot move its cursor, or to a program."""

from collections.abc import Callable
from typing import Final

from exporter.cli.log import Log
from exporter.cli.meter import Meter, Rates
from exporter.progress import Quiet, Snapshot, Trouble

#: Trouble that is over sooner is not worth a line.
_TROUBLE_SECONDS: Final = 10.0
_LEFT_SECONDS: Final = 1.0


def progress_figures(snapshot: Snapshot, rates: Rates) -> dict[str, object]:
    """Returns what a snapshot says, for programs and logs; what is unknown is left out."""
    figures: dict[str, object] = {
        "percent": round(100 * snapshot.share, 1),
        "rows": snapshot.rows,
        "stored_rows": snapshot.stored_rows,
        "rows_per_second": round(rates.rows),
        "requests": snapshot.requests,
        "requests_per_second": round(rates.requests, 1),
        "files": snapshot.files,
        "retries": snapshot.retries,
        "throttled": snapshot.throttled,
        "seconds": round(snapshot.seconds),
    }
    if snapshot.recordings_in_all is not None or snapshot.recordings:
        figures |= {"recordings": snapshot.recordings, "recording_bytes": snapshot.recording_bytes}
    if snapshot.recordings_in_all is not None:
        figures |= {
            "recordings_in_all": snapshot.recordings_in_all,
            "recording_bytes_per_second": round(rates.recording_bytes),
        }
    if rates.seconds_left is not None:
        figures["seconds_left"] = round(rates.seconds_left)
    if snapshot.trouble is not None:
        figures["trouble"] = snapshot.trouble.reason
    return figures


class LineProgress:
    """Writes a line every `every_seconds`, and one when trouble lasts and when it is over.

    The first one comes after `first_seconds`, if given. Without `shows_progress`, only warnings are written, and notes
    if it is `verbose`. `started` is written before the first line of progress, if given.
    """

    def __init__(
        self,
        log: Log,
        every_seconds: float,
        *,
        verbose: bool,
        shows_progress: bool = True,
        first_seconds: float | None = None,
        started: dict[str, object] | None = None,
    ) -> None:
        self._log = log
        self._every_seconds = every_seconds
        self._verbose = verbose
        self._shows_progress = shows_progress
        self._meter = Meter()
        self._next_line_seconds = every_seconds if first_seconds is None else first_seconds
        self._is_troubled = False
        self._started = started

    def progress(self, snapshot: Snapshot) -> None:
        rates = self._meter.measure(snapshot)
        self._tell_trouble(snapshot)
        if self._next_line_seconds > snapshot.seconds + self._every_seconds:
            # The nights of a demo are runs of their own, and each counts its seconds from 0.
            self._next_line_seconds = snapshot.seconds + self._every_seconds
        if not self._shows_progress or snapshot.seconds < self._next_line_seconds:
            return
        self._next_line_seconds = snapshot.seconds + self._every_seconds
        if self._started is not None:
            self._log("info", "started", self._started)
            self._started = None
        self.tell_progress(snapshot, rates)

    def tell_progress(self, snapshot: Snapshot, rates: Rates) -> None:
        """Writes a line of progress."""
        self._log("info", "progress", progress_figures(snapshot, rates))

    def note(self, event: str, /, **details: object) -> None:
        if self._verbose:
            self._log("info", event, details)

    def warn(self, event: str, /, **details: object) -> None:
        self._log("warning", event, details)

    def close(self) -> None:
        pass

    def _tell_trouble(self, snapshot: Snapshot) -> None:
        trouble = snapshot.trouble
        if trouble is None:
            if self._is_troubled:
                self._log("info", "answers come again", {})
            self._is_troubled = False
        elif not self._is_troubled and _is_worth_a_line(trouble, snapshot.seconds):
            self._is_troubled = True
            self.tell_trouble(trouble, snapshot.seconds)

    def tell_trouble(self, trouble: Trouble, now_seconds: float) -> None:
        """Writes a line about trouble that lasts."""
        details: dict[str, object] = {"reason": trouble.reason}
        if trouble.until_seconds is not None:
            details["trying_for_seconds"] = round(trouble.until_seconds - now_seconds)
        self._log("warning", "no answer that helps", details)


def _is_worth_a_line(trouble: Trouble, now_seconds: float) -> bool:
    """Returns whether trouble has lasted and will go on: a run that is about to give up says so itself."""
    is_over = trouble.until_seconds is not None and trouble.until_seconds - now_seconds < _LEFT_SECONDS
    return now_seconds - trouble.since_seconds >= _TROUBLE_SECONDS and not is_over


class ObjectProgress(Quiet):
    """Writes an object a second for programs that show the progress themselves."""

    def __init__(self, write: Callable[[dict[str, object]], None]) -> None:
        self._write = write
        self._meter = Meter()
        self._last_seconds = -1.0

    def progress(self, snapshot: Snapshot) -> None:
        rates = self._meter.measure(snapshot)
        if 0 <= snapshot.seconds - self._last_seconds < 1:
            return
        self._last_seconds = snapshot.seconds
        self._write({"event": "progress", **progress_figures(snapshot, rates)})
