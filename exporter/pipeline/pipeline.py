"""Runs the pipeline: workers take windows, walks read them, and what is read becomes parts, and parts commits.

    scheduler → walk ⇄ reader (pace, attempts, decoding) → writer (encoding, parts) → committer → log

In a task that runs elsewhere, a `Collector` stands in for the committer, and a driver commits what it has collected.
Every task of a run is started here. Whatever ends a run early (a signal, a refused token, a full disk), the walks stop
at their current page, and what they have read is closed and committed if the disk still takes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeAlias

import anyio
from anyio import CancelScope
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from exporter.contract import Instant, format_instant
from exporter.encode.rows import EncodeRow
from exporter.errors import ExporterError, InterruptedExportError, StoreError, TooLargeError
from exporter.fetch.walk.several_lists import JoinedWalk, walk_of_lists
from exporter.fetch.walk.two_lists import DoubleWalk
from exporter.fetch.walk.walk import Walk
from exporter.fetch.walk.window import Settled
from exporter.model import Change, Counters, PageRequest, Rows
from exporter.pipeline.admission import Admission
from exporter.pipeline.collector import Collector
from exporter.pipeline.committer import Committer
from exporter.pipeline.halt import Halt
from exporter.pipeline.held_changes import HeldChanges
from exporter.pipeline.hydration import Hydrator, Piece
from exporter.pipeline.inquiry import Inquiry
from exporter.pipeline.memory import Room, release
from exporter.pipeline.pages import Delivery, WalkPages
from exporter.pipeline.reader import Reader
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import Sink, WindowSink, placed
from exporter.schedule.scheduler import Scheduler
from exporter.settings import RunSettings
from exporter.signals import listening_in_loop
from exporter.tasks import alongside
from exporter.trace import count, span

_WindowWalk: TypeAlias = Walk[EncodeRow] | DoubleWalk[EncodeRow] | JoinedWalk[EncodeRow]


class Pipeline:
    """Reads all windows of `scan`, which `scheduler` splits, and commits their rows; a `committer` of None commits
    nothing. `covered` are microseconds of the range that were read before. The `hydrator` learns from the rows and, if
    it `completes`, brings the fields that the list leaves out before they are handed to the sink. Rows that `admission`
    keeps out reach neither. It makes the `inquiry`, and commits together what the first `together_seconds` bring.

    `run` raises the `ExporterError` that ended it early, after committing everything that it could.
    """

    def __init__(
        self,
        scan: Scan,
        scheduler: Scheduler,
        reader: Reader,
        sink: Sink,
        committer: Committer | Collector | None,
        settings: RunSettings,
        *,
        covered: int = 0,
        hydrator: Hydrator | None = None,
        completes: bool = True,
        admission: Admission | None = None,
        inquiry: Inquiry | None = None,
        together_seconds: float = 0.0,
    ) -> None:
        self._inquiry = inquiry or Inquiry()
        self._scan = scan
        self._hydrator = hydrator
        self._completes = completes
        self._admission = admission
        self._scheduler = scheduler
        self._reader = reader
        self._sink = sink
        self._committer = committer
        self._settings = settings
        self._covered = covered
        self._clock = reader.clock
        self._began = reader.clock()
        self._walk_of = partial(
            walk_of_lists,
            lists=reader.lists,
            page_size=settings.page_size,
            hidden_status=scan.hidden_status,
            prefers_hidden=scan.prefers_hidden,
        )
        #: The number of windows that have been begun.
        self.windows = 0
        self._open = 0  # walks that are being read
        self._halt = Halt()
        self._moved = anyio.Event()
        self._changes = HeldChanges(committer, self._clock, self._began + together_seconds)

    @property
    def spent(self) -> Counters:
        """Returns what the run has cost so far."""
        return self._reader.counters + Counters(windows=self.windows, seconds=self._clock() - self._began)

    async def run(self) -> None:
        for traits in self._reader.lists.values():
            traits.begin_list(self._scan.updated_since)
        # What was covered before counts from the start: rates are measured from the first share that is shown.
        self._reader.report.share = self._scheduler.share_of(self._covered, self._reader.report.share)
        heeds = self._settings.heeds_signals
        with CancelScope() as everything, listening_in_loop(partial(self._interrupt, everything), heeds=heeds):
            inquire = partial(self._inquiry.make, self._reader, self._scheduler, self._halt, self._wake)
            async with alongside(inquire), anyio.create_task_group() as working:
                for _ in range(self._settings.concurrency):
                    working.start_soon(self._work)
            try:
                await self._changes.commit(self.spent)
            except ExporterError as error:
                self.stop(error)
        if self._halt.failure is not None:
            raise self._halt.failure

    def finish(self) -> None:
        """Ends the run, without a failure, once each walk has the page that it has asked for, and one has got on."""
        self._halt.soon()
        self._wake()

    def stop(self, why: ExporterError | None = None) -> None:
        """Ends the run at the current page of each walk. The first reason counts; without one it is no failure."""
        self._halt.at_once(why)
        self._wake()

    def _interrupt(self, everything: CancelScope) -> None:
        """Answers a signal. The second one does not wait for what can still be committed."""
        if self._halt.is_at_once:
            everything.cancel()
        self.stop(InterruptedExportError("interrupted; run the same command again to resume"))

    async def _work(self) -> None:
        while (walk := await self._next_walk()) is not None:
            self.windows += 1
            self._reader.report.windows += 1
            writer = self._sink.open_window(walk.end, self._scan)
            send, receive = anyio.create_memory_object_stream[Delivery](1)
            with span("window", end=format_instant(walk.end)):
                async with anyio.create_task_group() as group:
                    group.start_soon(self._write, walk, writer, receive)
                    await self._read(walk, send)
                    self._open -= 1
                    self._wake()
            self._scheduler.ended(walk)
            self._wake()

    async def _next_walk(self) -> _WindowWalk | None:
        while not (self._halt.is_due or self._scheduler.is_done):
            # More windows than the source can serve would only make the parts small.
            is_useful = self._open < self._reader.useful_concurrency
            if is_useful and (window := self._scheduler.take()) is not None:
                self._open += 1
                walk: _WindowWalk = self._walk_of(window)
                self._scheduler.started(walk)
                return walk
            await self._moved.wait()
        return None

    async def _read(self, walk: _WindowWalk, deliveries: MemoryObjectSendStream[Delivery]) -> None:
        pages = WalkPages(self._reader, self._scan)
        # The rooms that no writer has been given.
        carried: tuple[Room, ...] = ()
        async with deliveries:
            try:
                while (request := walk.request) is not None and (not self._halt.is_due or pages.has(request)):
                    with self._halt.abandonable() as scope, self._turn_for(walk.foreseen) as foreseen:
                        # A walk that holds room must not wait for more: after a stop, no other makes any.
                        reading = await pages.read(request, waits=not carried, foreseen=foreseen)
                    if scope.cancelled_caught:
                        return
                    await self._inquiry.has_looked()
                    settled = walk.receive(reading.page)
                    self._halt.has_advanced |= walk.settled_from < walk.end
                    self._scheduler.advanced(walk, reading.page.rows.created_at, ids_only=request.ids_only)
                    self._scheduler.shown_oldest(min(traits.oldest_row for traits in self._reader.lists.values()))
                    self._report(len(settled.rows), reading.page.size_bytes)
                    self._wake()
                    carried = (*carried, reading.room)
                    # The next list of ids settles rows of this page, which may be huge.
                    stays = walk.request is not None and walk.request.ids_only
                    delivery = Delivery(settled, walk.settled_from, reading.read_since, () if stays else carried)
                    # Neither must stay in memory until the next page has come.
                    del reading, settled
                    await deliveries.send(delivery)
                    del delivery
                    carried = carried if stays else ()
            except ExporterError as error:
                since, until = walk.start, walk.settled_from
                if isinstance(error, TooLargeError) and request is not None:
                    # A walk asks a little beyond its window, and may meet the row there.
                    since, until = min(since, request.reach[0]), max(until, request.reach[1])
                self.stop(placed(error, since, until, self._sink))
            except anyio.BrokenResourceError:
                return  # the writer has failed, and has reported why
            finally:
                pages.drop()
                # Walks whose pages still come may wait for it.
                release(carried)

    @contextmanager
    def _turn_for(self, foreseen: PageRequest | None) -> Iterator[PageRequest | None]:
        """Yields what is foreseen if a worker is idle, whose turn it takes."""
        if foreseen is None or self._open >= min(self._settings.concurrency, self._reader.useful_concurrency):
            yield None
            return
        self._open += 1
        try:
            yield foreseen
        finally:
            self._open -= 1
            self._wake()

    async def _write(
        self, walk: _WindowWalk, writer: WindowSink, deliveries: MemoryObjectReceiveStream[Delivery]
    ) -> None:
        settled_from = walk.end
        try:
            async with deliveries:
                with suppress(anyio.EndOfStream):
                    while True:
                        delivery = None
                        # A source that stalls must not keep a part open.
                        with anyio.move_on_after(writer.seconds_left):
                            delivery = await deliveries.receive()
                        if delivery is None:
                            await self._commit(await writer.finish(settled_from))
                            continue
                        settled_from, is_whole = await self._hand_on(delivery, settled_from, walk, writer)
                        release(delivery.rooms)
                        if not is_whole:
                            break
                with suppress(anyio.EndOfStream, anyio.WouldBlock):
                    while True:
                        release(deliveries.receive_nowait().rooms)
            await self._commit(await writer.finish(settled_from))
        except ExporterError as error:
            self.stop(error)
        finally:
            # The next run sweeps what cannot be deleted now.
            with suppress(StoreError):
                writer.abort()

    async def _hand_on(
        self, delivery: Delivery, above: Instant, walk: _WindowWalk, writer: WindowSink
    ) -> tuple[Instant, bool]:
        """Hands rows to the writer, in pieces where they must be completed. Returns down to where the writer has them,
        `above` if it has none, and whether it has all: otherwise the run ends."""
        rest, unproven = self._admitted(delivery.settled.rows), delivery.settled.unproven
        while True:
            piece = Piece(rest)
            if self._hydrator is not None and self._hydrator.has_work(rest, completes=self._completes):
                with self._halt.abandonable() as scope:
                    try:
                        piece = await self._hydrator.take(rest, completes=self._completes)
                    except ExporterError as error:
                        self.stop(placed(error, walk.start, above, self._sink))
                        return above, False
                if scope.cancelled_caught:
                    return above, False
            rest = piece.rest
            above = piece.rows.created_at[-1] if rest else delivery.settled_from
            # What came by id may say whose the row is.
            rows = piece.rows if piece.room is None else self._admitted(piece.rows)
            await self._commit(await writer.add(Settled(rows, unproven), above, delivery.read_since))
            unproven = ()
            piece.release()
            if not rest or self._halt.is_due:
                return above, not rest
            if not writer.seconds_left:
                await self._commit(await writer.finish(above))

    def _admitted(self, rows: Rows[EncodeRow]) -> Rows[EncodeRow]:
        return rows if self._admission is None else self._admission.admit(rows)

    async def _commit(self, change: Change | None) -> None:
        await self._changes.take(change, self.spent)

    def _wake(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    def _report(self, rows: int, size_bytes: int) -> None:
        """Reports a page."""
        report = self._reader.report
        report.rows += rows
        count(rows=rows)
        report.bytes += size_bytes
        report.share = self._scheduler.share_of(self._covered, report.share)
        report.reading = self._scheduler.reading
        if self._committer is not None:
            report.files = self._committer.files
        report.send()
