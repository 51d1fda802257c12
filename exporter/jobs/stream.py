"""Streams a range: reads it as an export does, and gives its rows to a consumer in this process, not to a disk."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TypeAlias

import msgspec

from exporter.contract import ALWAYS_FIELDS, HIDDEN_STATUS, TRANSCRIPT_FIELD, Instant, to_datetime
from exporter.coverage import Interval
from exporter.errors import DoubtfulStreamError
from exporter.jobs.doubts import Doubt, unproven_of
from exporter.keys import NO_KEYS, Keys
from exporter.log.doubts import joined
from exporter.log.hydrated import Hydrated
from exporter.log.served import withheld_fields
from exporter.log.state import State
from exporter.model import CONVERSATIONS, TURNS
from exporter.pipeline.batch_sink import BatchSink, BatchStream, Send
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.reader import Reader
from exporter.pipeline.scan import Scan
from exporter.progress import Observer
from exporter.run.connect import connected
from exporter.run.context import RunContext
from exporter.run.division import schedule
from exporter.run.observer_guard import observed
from exporter.run.protection import check_turns, resolved, tables_of
from exporter.run.reconcile import known_end, settle_range, without_dropped
from exporter.schedule.scheduler import Scheduler
from exporter.settings import Credentials, Filters, Request, RunSettings, Selection
from exporter.words import count_of, describe_times


class QuarantinedRow(msgspec.Struct, frozen=True):
    """Represents a row that fits no column. `text` is its JSON as served.

    Without a usable `id` of its own, that is made from a hash of its text; without a usable `created_at`, that is the
    time of a row beside it.
    """

    id: str
    created_at: datetime
    reason: str
    text: bytes


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """Reports what a stream has given, and what it could not give or prove. `rows` are those of its table.

    `range_start` (None for the beginning) and `range_end` (excluded) bound `created_at`. Changes after `updates_since`
    may be missing; it is None if nothing was read. `quarantined` are rows that fit no column. `unproven` are times with
    more rows than the API would show for certain; those that it showed were given. `withheld` are sensitive fields that
    came with no row, because this token may not see them; `partly_withheld_rows` counts the rows that came without them
    while others had them, because the token's role has changed. `filters`, and `fields` unless all were, are what was
    asked for, and the API did not heed the `ignored_filters`; `organization` is the one that the rows name. `hydrated`
    says what came by id.
    """

    rows: int
    range_start: datetime | None
    range_end: datetime
    updates_since: datetime | None
    quarantined: tuple[QuarantinedRow, ...]
    unproven: tuple[Doubt, ...]
    withheld: tuple[str, ...]
    partly_withheld_rows: int
    requests: int
    seconds: float
    organization: str | None
    filters: Filters
    ignored_filters: tuple[str, ...]
    fields: tuple[str, ...] | None
    hydrated: Hydrated = Hydrated()

    def check(self) -> None:
        """Raises `DoubtfulStreamError` if an export would end with exit status 3."""
        if doubts := list(self.doubts()):
            raise DoubtfulStreamError(
                f"all batches were given, but something is in doubt: {'; '.join(doubts)}.\nThe stream's `report` has "
                "it under `quarantined`, `unproven` and `partly_withheld_rows`"
            )

    def doubts(self) -> Iterator[str]:
        """Yields what is in doubt, in words."""
        if self.quarantined:
            yield f"{count_of(len(self.quarantined), 'row')} fit no column"
        if self.unproven:
            times = self.unproven
            spans = [one.period.seconds for one in times if one.period is not None and not one.period.is_instant]
            sizes = describe_times(len(times), spans, sum(one.rows for one in times))
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
    keys: Keys = NO_KEYS,
    clock: Callable[[], float] = time.monotonic,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Stream:
    """Returns the rows of `table` that were asked for; nothing is requested from the API before the first batch is.

    `asked.partition_by` has no meaning here, and turns are made of the transcript alone, whatever `asked.fields` are.
    `asked.policy` protects the rows, with the key that `keys` finds. The work is done inside the context that `around`
    returns. Raises `ProtectionError`; the stream raises `ExporterError`, and what the observer raises.
    """
    policy = None if asked.policy is None else resolved(asked.policy, keys)
    fields = (*ALWAYS_FIELDS, TRANSCRIPT_FIELD) if table == TURNS else without_dropped(asked.fields, policy)
    request = Request(filters=asked.filters or {}, fields=fields, tables=(CONVERSATIONS, table))
    if policy is not None:
        check_turns(policy, request.tables)
    tables = tables_of(request, policy, keys)

    async def give(send: Send) -> StreamReport:
        sink = BatchSink(tables.encoder, send, asked.organization, turns=tables.turns)

        def read(told: Observer) -> Awaitable[StreamReport]:
            return _read(asked, fields, RunContext(settings, credentials, told, clock), sink)

        with around():
            return await observed(observer, read)

    return BatchStream(tables.schemas[table], give)


async def _read(asked: Selection, fields: tuple[str, ...] | None, context: RunContext, sink: BatchSink) -> StreamReport:
    began, request = context.clock(), Request(filters=asked.filters or {}, fields=fields)
    async with connected(request, State(), known_end(State(), asked), context) as connection:
        reader, opening, settings = connection.reader, connection.opening, context.settings
        range_ = settle_range(State(), asked, connection.latest)
        hidden_status = HIDDEN_STATUS if opening.is_hidden else None
        scan = Scan(range=range_, windows=(range_,), hidden_status=hidden_status)
        scheduler = await schedule(scan, reader, anywhere, settings.page_size, density=opening.density)
        return await give_all(connection.request, scan, scheduler, reader, sink, context, began)


def anywhere(_created_at: Instant) -> tuple[dict[str, str], Interval | None]:
    """Returns the place of a row that is written nowhere."""
    return {}, None


async def give_all(
    request: Request,
    scan: Scan,
    scheduler: Scheduler,
    reader: Reader,
    sink: BatchSink,
    context: RunContext,
    began: float,
    hydrated: tuple[str, ...] = (),
) -> StreamReport:
    """Gives the sink all rows of a scan, completed, and returns the report of that. It `began` at this second of the
    context's clock, and the list is known to leave the `hydrated` fields out.

    Raises the `ExporterError` that has ended the reading.
    """
    hydrator = Hydrator.of(reader, request, context.settings, hydrated)
    await Pipeline(scan, scheduler, reader, sink, None, context.settings, hydrator=hydrator).run()
    given, spent, period = sink.totals, reader.counters, scan.range.period
    filled = tuple(sorted(hydrator.filled)) if hydrator else ()
    return StreamReport(
        rows=given.rows,
        range_start=period.start,
        range_end=period.end,
        updates_since=to_datetime(given.read_since),
        quarantined=tuple(
            QuarantinedRow(row.id, to_datetime(row.created_at), row.reason, row.text) for row in given.misfits
        ),
        unproven=unproven_of(joined(given.unproven)),
        withheld=tuple(withheld_fields(request.fields, given.conversations, given.absent)),
        partly_withheld_rows=given.withheld_rows if given.withheld_rows < given.conversations else 0,
        requests=spent.requests,
        seconds=round(context.clock() - began, 3),
        organization=given.organization,
        filters=request.filters,
        ignored_filters=request.ignored_filters,
        fields=request.fields,
        hydrated=Hydrated(fields=filled, rows=spent.completed, gone=spent.gone, lacking=spent.lacking),
    )
