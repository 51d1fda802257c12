"""Takes links to recordings out of a list as it is read, and fetches what they lead to, at most so many at once.

    walk ─ link sink ─ queue (≤ 2 × concurrency) ─ downloads ─ rows ─ commits
             ▲ waits while the queue is full: a link is as old as the queue is long
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import Raw

from exporter.contract import RECORDING_FIELD, Instant
from exporter.encode.rows import EncodeRow, Misfit
from exporter.errors import ExporterError
from exporter.fetch.media.link import link_of
from exporter.fetch.walk.window import Settled
from exporter.model import Change
from exporter.pipeline.download import Downloader, Result, Wanted
from exporter.pipeline.report import Report
from exporter.pipeline.scan import Scan

#: This many links wait for each download.
_QUEUED: Final = 2


@dataclass(frozen=True, slots=True)
class Listed:
    """Is a conversation as a list has it, with what it says of the recording: None if nothing or null."""

    id: str
    created_at: Instant
    details: object


def listed_in(settled: Settled[EncodeRow]) -> Iterable[Listed]:
    """Returns the conversations of a page that can be told by their ids."""
    for row, created_at in zip(settled.rows.rows, settled.rows.created_at, strict=True):
        yield Listed(row.id, created_at, _details_of(row))


def _details_of(row: EncodeRow) -> object:
    try:
        if isinstance(row, Misfit):
            return msgspec.json.decode(row.text).get(RECORDING_FIELD)
        served = getattr(row, RECORDING_FIELD, None)
        return msgspec.json.decode(served) if isinstance(served, Raw) else None
    except (msgspec.DecodeError, RecursionError, AttributeError):
        return None  # what cannot be read leads nowhere


class Downloads:
    """Fetches what is put into a queue, `concurrency` at a time, and hands each result to `keep`.

    `report` counts them. What is put in is fetched in that order.
    """

    def __init__(
        self,
        downloader: Downloader,
        keep: Callable[[Wanted, Result], Awaitable[None]],
        concurrency: int,
        report: Report,
    ) -> None:
        self._downloader = downloader
        self._keep = keep
        self._concurrency = concurrency
        self._report = report
        self._links: MemoryObjectSendStream[Wanted] | None = None

    async def run(self, feed: Callable[[], Awaitable[None]]) -> None:
        """Returns when `feed`, which calls `put` and `offer`, has ended, and all is fetched that it has put in.

        Raises the first `ExporterError` of `feed`, after what was put in is fetched, or of a download, at once.
        """
        failures: deque[ExporterError] = deque()
        send, receive = anyio.create_memory_object_stream[Wanted](_QUEUED * self._concurrency)
        self._links = send

        async def work(links: MemoryObjectReceiveStream[Wanted]) -> None:
            try:
                async with links:
                    async for wanted in links:
                        await self._fetch(wanted)
            except ExporterError as error:
                failures.appendleft(error)
                group.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as group:
                for _ in range(self._concurrency):
                    group.start_soon(work, receive.clone())
                receive.close()
                async with send:
                    try:
                        await feed()
                    except ExporterError as error:
                        failures.append(error)
        finally:
            self._links = None
        if failures:
            raise failures[0]  # itself, not in the group that the tasks would wrap it in

    async def put(self, wanted: Wanted) -> None:
        """Puts a link into the queue, once there is room."""
        if self._links is not None:
            await self._links.send(wanted)

    def offer(self, wanted: Wanted) -> bool:
        """Puts a link into the queue if there is room now, and returns whether there was."""
        if self._links is None:
            return False
        try:
            self._links.send_nowait(wanted)
        except (anyio.WouldBlock, anyio.BrokenResourceError):
            return False
        return True

    async def _fetch(self, wanted: Wanted) -> None:
        result = await self._downloader.fetch(wanted)
        await self._keep(wanted, result)
        report = self._report
        report.recordings += 1
        report.recording_bytes += result.bytes or 0
        report.send()


class LinkSink:
    """Puts the links of conversations into the queue of `downloads`, and waits while it is full.

    `wants` is asked about each conversation that is listed, and hears of those without a recording, too.
    """

    kept = "What was fetched is kept"
    again = "to go on"

    def __init__(self, downloads: Downloads, wants: Callable[[Listed], bool]) -> None:
        self._downloads = downloads
        self._wants = wants

    def open_window(self, _end: Instant, _scan: Scan) -> "_LinkWindow":
        return _LinkWindow(self._take)

    async def _take(self, settled: Settled[EncodeRow]) -> None:
        for listed in listed_in(settled):
            if self._wants(listed) and (link := link_of(listed.details)) is not None:
                await self._downloads.put(Wanted(listed.id, listed.created_at, link))


class _LinkWindow:
    """Takes the rows of one window, of which nothing is committed."""

    seconds_left = inf

    def __init__(self, take: Callable[[Settled[EncodeRow]], Awaitable[None]]) -> None:
        self._take = take

    async def add(self, settled: Settled[EncodeRow], _settled_from: Instant, _read_since: Instant) -> Change | None:
        await self._take(settled)
        return None

    async def finish(self, _settled_from: Instant) -> Change | None:
        return None

    def abort(self) -> None:
        pass
