"""Lets recordings be fetched while the rows of their conversations pass by to a sink. No row waits for that."""

from collections.abc import Iterable
from typing import Protocol

from exporter.contract import Instant
from exporter.encode.rows import EncodeRow
from exporter.fetch.walk.window import Settled
from exporter.model import Change, Rows
from exporter.pipeline.download import Wanted
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import Sink, WindowSink


class Tap(Protocol):
    """Takes recordings for which there is room. Neither call waits."""

    def pick(self, rows: Rows[EncodeRow]) -> list[Wanted]:
        """Returns recordings of these rows, as many as there is room for."""

    def offer(self, wanted: Iterable[Wanted]) -> None:
        """Takes those of these recordings for which there is still room."""


class TappedSink:
    """Hands rows on to `sink`, and the recordings of those that it has taken to `tap`."""

    def __init__(self, sink: Sink, tap: Tap) -> None:
        self._sink = sink
        self._tap = tap

    @property
    def kept(self) -> str:
        return self._sink.kept

    @property
    def again(self) -> str:
        return self._sink.again

    def open_window(self, end: Instant, scan: Scan) -> WindowSink:
        return _TappedWindow(self._sink.open_window(end, scan), self._tap)


class _TappedWindow:
    def __init__(self, window: WindowSink, tap: Tap) -> None:
        self._window = window
        self._tap = tap

    @property
    def seconds_left(self) -> float:
        return self._window.seconds_left

    async def add(self, settled: Settled[EncodeRow], settled_from: Instant, read_since: Instant) -> Change | None:
        # What takes the rows may drop their text, and may refuse them.
        wanted = self._tap.pick(settled.rows)
        change = await self._window.add(settled, settled_from, read_since)
        self._tap.offer(wanted)
        return change

    async def finish(self, settled_from: Instant) -> Change | None:
        return await self._window.finish(settled_from)

    def abort(self) -> None:
        self._window.abort()
