"""Hands rows as batches to a consumer in this process: nothing is written, and nothing is read ahead of the consumer.

A batch is handed over before the room of its page is released, so that a slow consumer holds up the requests.
The pipeline runs in a task of its own. Inside an async generator, its task groups and cancel scopes would be entered in
the consumer's task and left in whichever finalizes the generator, with the consumer's own scopes left in between.
"""

import asyncio
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeAlias, TypeVar

import anyio
import pyarrow as pa
from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from exporter.contract import Instant
from exporter.encode.batch import EncodedBatch, Encoder
from exporter.encode.rows import EncodeRow, Misfit
from exporter.encode.turns import TurnsEncoder
from exporter.errors import InterruptedExportError, TooLargeError
from exporter.fetch.walk.window import Settled
from exporter.model import Rows, Unproven
from exporter.pipeline.role import Guard
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import MISFIT_BYTES
from exporter.words import format_size

Send: TypeAlias = Callable[[pa.RecordBatch], Awaitable[None]]


@dataclass(slots=True)
class StreamTotals:
    """Counts what has been handed over, and what could not be.

    `rows` are those of the table, and `conversations` those that they were made from. `misfits` fit no column. `absent`
    and `withheld_rows` are as in `model.DataFile`, and `read_since` is the server's clock before the earliest page.
    `organization` is the one that the rows name.
    """

    rows: int = 0
    conversations: int = 0
    withheld_rows: int = 0
    absent: Counter[str] = field(default_factory=Counter)
    misfits: list[Misfit] = field(default_factory=list)
    unproven: list[Unproven] = field(default_factory=list)
    read_since: Instant | None = None
    organization: str | None = None


class BatchSink:
    """Hands the rows of every window to `send`: a batch a page, or the `turns` of a page's transcripts as batches.

    The rows must belong to `organization`, if it is given, and to `known_organization`, if rows elsewhere do.
    """

    kept = "The batches before that are whole"
    again = "to begin again"

    def __init__(
        self,
        encoder: Encoder,
        send: Send,
        organization: str | None = None,
        *,
        turns: TurnsEncoder | None = None,
        known_organization: str | None = None,
        misfit_bytes: int = MISFIT_BYTES,
    ) -> None:
        self.totals: Final = StreamTotals()
        self._encoder = encoder
        self._turns = turns
        self._send = send
        self._guard = Guard(asked_organization=organization)
        self._guard.organization = known_organization
        # Two, for the reason given in `PartStage`.
        self._working = CapacityLimiter(2)
        self._misfit_bytes = 0
        self._most_misfit_bytes = misfit_bytes

    def open_window(self, _end: Instant, _scan: Scan) -> "BatchWriter":
        return BatchWriter(self)

    async def give(self, rows: Rows[EncodeRow], unproven: tuple[Unproven, ...], read_since: Instant) -> None:
        """Encodes the rows, and returns when the consumer has them. Raises `SourceError`."""
        totals = self.totals
        totals.unproven += unproven
        totals.read_since = read_since if totals.read_since is None else min(totals.read_since, read_since)
        if not rows:
            return
        encoded = await to_thread.run_sync(self._encoder.encode, rows, limiter=self._working)
        self._count(encoded)
        if self._turns is None:
            await self._hand_over(encoded.batch)
            return
        turns = self._turns.encode(encoded.batch)
        while (batch := await to_thread.run_sync(next, turns, None, limiter=self._working)) is not None:
            await self._hand_over(batch)

    async def _hand_over(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self.totals.rows += batch.num_rows
            await self._send(batch)

    def _count(self, encoded: EncodedBatch) -> None:
        totals = self.totals
        self._guard.check(encoded)
        totals.organization = self._guard.organization
        totals.conversations += encoded.batch.num_rows
        totals.withheld_rows += encoded.withheld_rows
        totals.absent.update(encoded.absent)
        totals.misfits += encoded.quarantined
        self._misfit_bytes += sum(len(misfit.text) for misfit in encoded.quarantined)
        if self._misfit_bytes > self._most_misfit_bytes:
            raise TooLargeError(
                f"{len(totals.misfits):,} rows fit no column, such as {totals.misfits[0].id[:80]!r}: "
                f"{totals.misfits[0].reason}. A stream keeps at most {format_size(self._most_misfit_bytes)} of them; "
                "an export to a destination keeps all"
            )


class BatchWriter:
    """Hands over the rows of one window."""

    #: Rows are handed over at once, so that none wait.
    seconds_left: float = inf

    def __init__(self, sink: BatchSink) -> None:
        self._sink = sink

    async def add(self, settled: Settled[EncodeRow], _settled_from: Instant, read_since: Instant) -> None:
        await self._sink.give(settled.rows, tuple(settled.unproven), read_since)

    async def finish(self, _settled_from: Instant) -> None:
        """Does nothing: no row is held back."""

    def abort(self) -> None:
        """Does nothing: no part is open."""


class Report(Protocol):
    """Says at the end of a stream what is in doubt."""

    def check(self) -> None:
        """Raises what a consumer must know about the batches, all of which have been handed over."""


ReportT = TypeVar("ReportT", bound=Report)


@dataclass(slots=True)
class _Outcome(Generic[ReportT]):
    report: ReportT | None = None
    failure: Exception | None = None


class BatchStream(Generic[ReportT]):
    """Iterates over the batches of `work`, which begins when the first one is asked for.

    Use it as `async with stream: async for batch in stream: ...`. Without `async with`, it closes itself at its end, on
    any error, and when its consumer is cancelled while it waits; a consumer that stops early must call `aclose`.
    Closing ends every request and task. The order of batches is not promised; each row is in one of them.

    `report` is set at the end. Only then, after all batches, is raised what ended the work early or what is in doubt.
    """

    def __init__(self, schema: pa.Schema, work: Callable[[Send], Awaitable[ReportT]]) -> None:
        #: The columns of every batch.
        self.schema: Final = schema
        self._work = work
        self._outcome = _Outcome[ReportT]()
        self._task: asyncio.Task[None] | None = None
        self._batches: MemoryObjectReceiveStream[pa.RecordBatch] | None = None
        self._closed = False

    @property
    def report(self) -> ReportT | None:
        return self._outcome.report

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pa.RecordBatch:
        if self._closed:
            raise StopAsyncIteration
        batches = self._batches or self._begin()
        try:
            return await batches.receive()
        except anyio.EndOfStream:
            pass
        except BaseException:
            await self.aclose()
            raise
        await self.aclose()
        if self._outcome.failure is not None:
            raise self._outcome.failure
        if self._outcome.report is None:
            raise InterruptedExportError("the stream was closed, or its task cancelled, before its end")
        self._outcome.report.check()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the work, and returns when nothing is left of it. Does nothing the second time."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([self._task])
        if self._batches is not None:
            self._batches.close()

    def _begin(self) -> MemoryObjectReceiveStream[pa.RecordBatch]:
        send, self._batches = anyio.create_memory_object_stream[pa.RecordBatch](0)
        # The task holds no reference to this stream, so that an abandoned one is collected and ends the task.
        self._task = asyncio.create_task(_produce(self._work, send, self._outcome))
        return self._batches

    def __del__(self) -> None:
        task, batches = self._task, self._batches
        if task is None or batches is None or task.done():
            return
        loop = task.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_abandon, task, batches)
        warnings.warn("a stream was left before its end, and not closed", ResourceWarning, source=self, stacklevel=2)


def _abandon(task: asyncio.Task[None], batches: MemoryObjectReceiveStream[pa.RecordBatch]) -> None:
    task.cancel()
    batches.close()


async def _produce(
    work: Callable[[Send], Awaitable[ReportT]],
    batches: MemoryObjectSendStream[pa.RecordBatch],
    outcome: _Outcome[ReportT],
) -> None:
    with batches:
        try:
            outcome.report = await work(batches.send)
        except Exception as error:  # noqa: BLE001 - the consumer raises it
            outcome.failure = error
