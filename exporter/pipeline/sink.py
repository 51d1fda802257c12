"""What takes the rows that walks have settled, wherever it puts them."""

from typing import Final, Protocol

from exporter.contract import Instant
from exporter.encode.rows import EncodeRow
from exporter.fetch.walk.window import Settled
from exporter.model import Change
from exporter.pipeline.scan import Scan

#: The text of misfits that a sink holds in memory: should the API change a type, every row is one.
MISFIT_BYTES: Final = 16 * 1024 * 1024


class WindowSink(Protocol):
    """Takes the rows of one window, from new to old. A change that it returns is to be committed.

    `seconds_left` is the time until `finish` is called though nothing has come; it is infinite where nobody waits.
    """

    @property
    def seconds_left(self) -> float: ...
    async def add(self, settled: Settled[EncodeRow], settled_from: Instant, read_since: Instant) -> Change | None: ...
    async def finish(self, settled_from: Instant) -> Change | None: ...
    def abort(self) -> None: ...


class Sink(Protocol):
    """Takes the rows of all windows of a scan. When a reading fails, `kept` says what became of the rows that were
    read, and `again` what another run is good for."""

    @property
    def kept(self) -> str: ...
    @property
    def again(self) -> str: ...
    def open_window(self, end: Instant, scan: Scan) -> WindowSink:
        """Returns what takes the rows of a window of `scan` that ends at `end`."""
