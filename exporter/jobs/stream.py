"""Streams a range: reads it as an export does, and gives its rows to a consumer in this process, not to a disk."""

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

import msgspec

from exporter.contract import ALWAYS_FIELDS, HIDDEN_STATUS, TRANSCRIPT_FIELD, Instant
from exporter.coverage import Interval
from exporter.encode.rows import Misfit
from exporter.encode.tables import Tables
from exporter.errors import DoubtfulStreamError
from exporter.log.doubts import joined, spans_of
from exporter.log.manifest import withheld_fields
from exporter.log.state import State
from exporter.model import CONVERSATIONS, TURNS, Unproven
from exporter.pipeline.batch_sink import BatchSink, BatchStream, Send, StreamTotals
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.scan import Scan
from exporter.progress import Observer
from exporter.run.connect import connected
from exporter.run.context import RunContext
from exporter.run.observer_guard import observed
from exporter.run.reconcile import known_end, settle_range
from exporter.run.session import schedule
from exporter.settings import Credentials, Filters, Request, RunSettings, Selection
from exporter.words import count_of, describe_times


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """Reports what a stream has given, and what it could not give or prove. `rows` are those of its table.

    Times are integers, in microseconds since 1970, UTC. `range_start` (None for the beginning) and `range_end`
    (excluded) bound `created_at`. Changes after `updates_since` may be missing; it is None if nothing was read.
    `quarantined` are rows that fit no column, each with `id`, `created_at`, `reason` and `text`, its JSON as served.
    `unproven` are times with more rows than the API would show for certain; those that it showed were given. `withheld`
    are sensitive fields that came with no row, because this token may not see them; `partly_withheld_rows` counts the
    rows that came without them while others had them, because the token's role has changed. `filters`, and `fields`
    unless all were, are what was asked for; `organization` is the one that the rows name.
    """

    rows: int
    range_start: Instant | None
    range_end: Instant
    updates_since: Instant | None
    quarantined: tuple[Misfit, ...]
    unproven: tuple[Unproven, ...]
    withheld: tuple[str, ...]
    partly_withheld_rows: int
    requests: int
    seconds: float
    organization: str | None
    filters: Filters
    fields: tuple[str, ...] | None

    def check(self) -> None:
        """Raises `DoubtfulStreamError` if an export would end with exit status 3."""
        if doubts := list(self._doubts()):
            raise DoubtfulStreamError(
                f"all batches were given, but something is in doubt: {'; '.join(doubts)}.\nThe stream's `report` has "
                "it under `quarantined`, `unproven` and `partly_withheld_rows`"
            )

    def _doubts(self) -> Iterator[str]:
        if self.quarantined:
            yield f"{count_of(len(self.quarantined), 'row')} fit no column"
        if self.unproven:
            times = joined(self.unproven)
            sizes = describe_times(len(times), spans_of(times), sum(one.rows for one in times))
            yield f"{sizes} may have more rows than the API would show"
        if self.partly_withheld_rows:
            yield f"{count_of(self.partly_withheld_rows, 'row')} came without sensitive fields, and others with them"


Stream: TypeAlias = BatchStream[StreamReport]


def stream(
    asked: Selection,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer | None,
    *,
    table: str = CONVERSATIONS,
    clock: Callable[[], float] = time.monotonic,
) -> Stream:
    """Returns the rows of `table` that were asked for; nothing is requested from the API before the first batch is.

    `asked.partition_by` has no meaning here, and turns are made of the transcript alone, whatever `asked.fields` are.
    The stream raises `ExporterError`, and what the observer raises.
    """
    fields = (*ALWAYS_FIELDS, TRANSCRIPT_FIELD) if table == TURNS else asked.fields
    tables = Tables.of(Request(filters=asked.filters or {}, fields=fields, tables=(CONVERSATIONS, table)))

    async def give(send: Send) -> StreamReport:
        sink = BatchSink(tables.encoder, send, asked.organization, turns=tables.turns)

        def read(told: Observer) -> Awaitable[StreamReport]:
            return _read(asked, fields, RunContext(settings, credentials, told, clock), sink)

        return await observed(observer, read)

    return BatchStream(tables.schemas[table], give)


async def _read(asked: Selection, fields: tuple[str, ...] | None, context: RunContext, sink: BatchSink) -> StreamReport:
    began, request = context.clock(), Request(filters=asked.filters or {}, fields=fields)
    async with connected(request, State(), known_end(State(), asked), context) as connection:
        reader, opening, settings = connection.reader, connection.opening, context.settings
        range_ = settle_range(State(), asked, connection.latest)
        hidden_status = HIDDEN_STATUS if opening.is_hidden else None
        scan = Scan(range=range_, windows=(range_,), hidden_status=hidden_status)
        scheduler = await schedule(scan, reader, _anywhere, settings.page_size, density=opening.density)
        await Pipeline(scan, scheduler, reader, sink, None, settings).run()
        return _report(request, range_, sink.totals, reader.counters.requests, context.clock() - began)


def _anywhere(_created_at: Instant) -> tuple[dict[str, str], Interval | None]:
    return {}, None


def _report(request: Request, range_: Interval, given: StreamTotals, requests: int, seconds: float) -> StreamReport:
    return StreamReport(
        rows=given.rows,
        range_start=range_.since,
        range_end=range_.end,
        updates_since=given.read_since,
        quarantined=tuple(given.misfits),
        unproven=tuple(given.unproven),
        withheld=tuple(withheld_fields(request.fields, given.conversations, given.absent)),
        partly_withheld_rows=given.withheld_rows if given.withheld_rows < given.conversations else 0,
        requests=requests,
        seconds=round(seconds, 3),
        organization=given.organization,
        filters=request.filters,
        fields=request.fields,
    )
