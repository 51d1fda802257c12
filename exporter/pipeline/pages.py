"""Reads the pages of a walk, and beside one of them the next, where the walk foresees what it will ask for."""

import msgspec

from exporter.contract import Instant
from exporter.encode.rows import EncodeRow
from exporter.fetch.walk.window import Settled
from exporter.model import PageRequest
from exporter.pipeline.memory import Room
from exporter.pipeline.reader import PageReading, Reader
from exporter.pipeline.scan import Scan
from exporter.tasks import for_each


class Delivery(msgspec.Struct, frozen=True):
    """Carries what a walk has settled to its writer. `rooms` are released when it is written."""

    settled: Settled[EncodeRow]
    settled_from: Instant
    read_since: Instant
    rooms: tuple[Room, ...]


class WalkPages:
    """Reads the pages of one walk over `scan`. A foreseen page that the walk does not ask for is dropped."""

    def __init__(self, reader: Reader, scan: Scan) -> None:
        self._reader = reader
        self._scan = scan
        self._portions = reader.portions()
        self._ahead: tuple[PageRequest, PageReading] | None = None

    async def read(self, request: PageRequest, *, waits: bool, foreseen: PageRequest | None = None) -> PageReading:
        """Returns the answer to `request`, and asks at the same time for what is `foreseen`.

        `waits` and the errors are those of `Reader.read`.
        """
        if self._ahead is not None and self._ahead[0] == request:
            (_, reading), self._ahead = self._ahead, None
            return reading
        self.drop()
        if foreseen is None:
            return await self._read(request, waits=waits)
        readings: dict[PageRequest, PageReading] = {}

        async def ask(one: PageRequest) -> None:
            # A walk that holds room for one page must not wait for that of another.
            readings[one] = await self._read(one, waits=waits and one == request)

        try:
            await for_each((request, foreseen), ask, at_once=2)
        except BaseException:
            for reading in readings.values():
                reading.room.release()
            raise
        self._ahead = foreseen, readings[foreseen]
        return readings[request]

    def has(self, request: PageRequest) -> bool:
        """Returns whether the answer to `request` was read ahead."""
        return self._ahead is not None and self._ahead[0] == request

    def drop(self) -> None:
        """Releases the page that was read ahead, if there is one."""
        if self._ahead is not None:
            self._ahead[1].room.release()
            self._ahead = None

    async def _read(self, request: PageRequest, *, waits: bool) -> PageReading:
        return await self._reader.read(self._scan.narrowed(request), self._portions, waits=waits)
