"""Defines sinks, which take the rows that walks have settled, wherever they put them."""

from typing import Final, Protocol

from exporter.contract import BEGINNING, END_OF_TIME, Instant, format_instant
from exporter.encode.rows import EncodeRow
from exporter.errors import AccessError, ContradictionError, ExporterError, RequestRefusedError, TooLargeError
from exporter.fetch.walk.window import Settled
from exporter.model import Change
from exporter.pipeline.scan import Scan

#: The most text of misfits that a sink holds in memory: if the API changes a type, every row is a misfit.
MISFIT_BYTES: Final = 16 * 1024 * 1024


class WindowSink(Protocol):
    """Takes the rows of one window, from new to old. The caller must commit each change that it returns.

    `seconds_left` is the time until `finish` is called even if no page has come; it is infinite if no row waits.
    """

    @property
    def seconds_left(self) -> float: ...
    async def add(self, settled: Settled[EncodeRow], settled_from: Instant, read_since: Instant) -> Change | None: ...
    async def finish(self, settled_from: Instant) -> Change | None: ...
    def abort(self) -> None: ...


class Sink(Protocol):
    """Takes the rows of all windows of a scan. In the message of a failure, `kept` says what became of the rows that
    were read, and `again` what another run would do."""

    @property
    def kept(self) -> str: ...
    @property
    def again(self) -> str: ...
    def open_window(self, end: Instant, scan: Scan) -> WindowSink:
        """Returns the sink for the window of `scan` that ends at `end`."""


def placed(error: ExporterError, since: Instant, until: Instant, sink: Sink) -> ExporterError:
    """Returns the error with where it happened, from `since` to before `until`, what is kept, and what to do."""
    start = "the beginning" if since <= BEGINNING else format_instant(since)
    end = "now" if until == END_OF_TIME else format_instant(until)
    match error:
        case ContradictionError():
            what_now = "another run will end here too, for as long as the API answers like that"
        case AccessError():
            what_now = f"run again with a token that is let in {sink.again}"
        case RequestRefusedError() | TooLargeError():
            what_now = f"fix that, then run again {sink.again}"
        case _:
            what_now = f"run the same command again {sink.again}"
    placed = error.with_message(f"{error} (reading {start} to {end})")
    return placed.with_advice(f"{sink.kept}; {what_now}")
