"""Takes links to recordings out of a list as it is read, and fetches what they lead to, at most so many at once.

walk ─ link sink ─ queue (≤ 2 × concurrency) ─ downloads ─ rows ─ commits
         ▲ waits while the queue is full: a link is as old as the queue is long
"""

from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import UNSET

from exporter.clock import wall_clock
from exporter.contract import RECORDING_FIELD, Instant
from exporter.encode.recordings import RecordingRow, url_hash
from exporter.encode.rows import EncodeRow, Misfit
from exporter.errors import ExporterError
from exporter.fetch.media.link import Link, link_of
from exporter.fetch.walk.window import Settled
from exporter.model import Change
from exporter.pipeline.download import Downloader, Result, Wanted
from exporter.pipeline.recording_left import Mark, mark_of_row
from exporter.pipeline.report import Report
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import WindowSink

#: This many links wait for each download.
_QUEUED: Final = 2
_COMMIT_SECONDS: Final = 5.0


class Listed(msgspec.Struct, frozen=True):
    """Is a conversation as the API serves it. `shows` says that its recording's field was served, be it as null; `link`
    is what that holds, if it holds one."""

    id: str
    created_at: Instant
    shows: bool
    link: Link | None


def listed_of(row: EncodeRow, created_at: Instant) -> Listed:
    """Returns what a served row says of its recording."""
    try:
        if isinstance(row, Misfit):
            members = msgspec.json.decode(row.text)
            shows, details = RECORDING_FIELD in members, members.get(RECORDING_FIELD)
        else:
            served = getattr(row, RECORDING_FIELD)
            shows, details = served is not UNSET, None if served is UNSET else msgspec.json.decode(served)
    except (msgspec.DecodeError, RecursionError, AttributeError, TypeError):
        shows, details = False, None  # what cannot be read leads nowhere
    return Listed(row.id, created_at, shows, link_of(details))


def row_of(wanted: Wanted, result: Result, stored: Mark) -> RecordingRow:
    """Returns the row of a recording that was fetched, or was not; `stored` is as in `mark_of_row`."""
    link = result.link
    return RecordingRow(
        conversation_id=wanted.conversation_id,
        conversation_created_at=wanted.created_at,
        status=result.status,
        reason=result.reason,
        fetched_at=wall_clock(),
        attempts=result.attempts,
        bytes=result.bytes,
        sha256=result.sha256,
        content_type=result.content_type,
        duration=link.duration,
        url_hash=mark_of_row((url_hash(link.path), link.duration), stored),
        source_etag=result.source_etag,
    )


class Downloads:
    """Fetches what is put into a queue, `concurrency` at a time, and hands each result to `keep`.

    `report` counts them. `commit_due` is called every few seconds, however long a download takes. What `wants` does not
    want when its turn has come, if given, is not fetched.
    """

    def __init__(
        self,
        downloader: Downloader,
        keep: Callable[[Wanted, Result], Awaitable[None]],
        commit_due: Callable[[], Awaitable[None]],
        concurrency: int,
        report: Report,
        wants: Callable[[Wanted], Awaitable[bool]] | None = None,
    ) -> None:
        self._downloader = downloader
        self._keep = keep
        self._commit_due = commit_due
        self._concurrency = concurrency
        self._report = report
        self._wants = wants
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
                everything.cancel_scope.cancel()

        async def commit() -> None:
            try:
                while True:
                    await anyio.sleep(_COMMIT_SECONDS)
                    await self._commit_due()
            except ExporterError as error:
                failures.appendleft(error)
                everything.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as everything:
                everything.start_soon(commit)
                async with anyio.create_task_group() as working:
                    for _ in range(self._concurrency):
                        working.start_soon(work, receive.clone())
                    receive.close()
                    async with send:
                        try:
                            await feed()
                        except ExporterError as error:
                            failures.append(error)
                everything.cancel_scope.cancel()
        finally:
            self._links = None
        if failures:
            raise failures[0]  # itself, not in the group that the tasks would wrap it in

    @property
    def room(self) -> int:
        """Returns how many links the queue has room for now."""
        if self._links is None:
            return 0
        seen = self._links.statistics()
        return int(seen.max_buffer_size) - seen.current_buffer_used

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
        except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    async def _fetch(self, wanted: Wanted) -> None:
        if self._wants is not None and not await self._wants(wanted):
            return
        result = await self._downloader.fetch(wanted)
        await self._keep(wanted, result)
        report = self._report
        report.recordings += 1
        report.recording_bytes += result.bytes or 0
        report.send()


class LinkSink:
    """Puts the links of conversations into the queue of `downloads`, and waits while it is full.

    `take` is called for each conversation that is listed, and returns whether its link is wanted. What it raises ends
    the reading.
    """

    kept = "What was fetched is kept"
    again = "to go on"

    def __init__(self, downloads: Downloads, take: Callable[[Listed], bool]) -> None:
        self._downloads = downloads
        self._take = take

    def open_window(self, end: Instant, scan: Scan) -> WindowSink:
        return _LinkWindow(self._put)

    async def _put(self, settled: Settled[EncodeRow]) -> None:
        for row, created_at in zip(settled.rows.rows, settled.rows.created_at, strict=True):
            listed = listed_of(row, created_at)
            if self._take(listed) and listed.link is not None:
                await self._downloads.put(Wanted(listed.id, created_at, listed.link))


class _LinkWindow:
    """Takes the rows of one window, of which nothing is committed."""

    seconds_left = inf

    def __init__(self, put: Callable[[Settled[EncodeRow]], Awaitable[None]]) -> None:
        self._put = put

    async def add(self, settled: Settled[EncodeRow], settled_from: Instant, read_since: Instant) -> Change | None:
        await self._put(settled)
        return None

    async def finish(self, settled_from: Instant) -> Change | None:
        return None

    def abort(self) -> None:
        pass
