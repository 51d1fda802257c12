"""Divides a stream among processes that know nothing of one another: each streams windows of the range on its own.

What one process has learned of the API is told to all, so that none asks for it again, and none decides it otherwise.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Final

import msgspec
from anyio import sleep, to_thread

from exporter.clock import wall_clock
from exporter.contract import BEGINNING, FIELDS, HIDDEN_STATUS, SECOND, Instant, format_instant
from exporter.coverage import Interval
from exporter.errors import UsageError
from exporter.jobs.stream import Stream, StreamReport, anywhere, give_all
from exporter.keys import NO_KEYS
from exporter.log.state import State
from exporter.model import PageRequest
from exporter.pipeline.batch_sink import BatchSink, BatchStream, Send, StreamTotals
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.probe import find_beginning
from exporter.pipeline.reader import Reader
from exporter.pipeline.scan import Scan
from exporter.progress import Observer
from exporter.run.connect import connected, open_reader
from exporter.run.context import RunContext
from exporter.run.division import scheduler_of
from exporter.run.observer_guard import observed
from exporter.run.organization import Ownership
from exporter.run.protection import tables_of
from exporter.schedule.clock import TOLERATED, Now
from exporter.schedule.even_cut import even_cut, window_count
from exporter.settings import Credentials, Request, RunSettings, Selection
from exporter.words import format_seconds

#: This many rows tell whether sensitive fields are withheld, and whether the list leaves fields out.
_SAMPLE_ROWS: Final = 10
_SENSITIVE: Final = frozenset(field.name for field in FIELDS if field.sensitive)


class StreamWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Says what one of the streams reads that together give the rows of one, as plain data without a secret.

    `oldest` is roughly where the data begins, `newest` where the whole list does, and `density` the rows a microsecond;
    the last two are None if they are not known. `newest_ids` are a few of the newest rows' ids. All rows belong to
    `organization`, if it is known. `withheld` of the `sampled` rows came without sensitive fields, and `hydrated` are
    the fields that the list leaves out.
    """

    window: Interval
    request: Request
    oldest: Instant
    hidden_status: str | None = None
    density: float | None = None
    newest: Instant | None = None
    newest_ids: tuple[str, ...] = ()
    organization: str | None = None
    sampled: int = 0
    withheld: int = 0
    hydrated: tuple[str, ...] = ()


async def divide(
    asked: Selection, context: RunContext, *, slots: int | None = None, windows: int | None = None
) -> list[StreamWindow]:
    """Returns the windows of the range from `asked.since` up to `asked.until`, which must be given, from new to old.

    Unless there must be this many `windows`, their number follows from how many rows there are, roughly, and in how
    many `slots` they are read at once. Raises `SourceError`, and `UsageError` if the API's clock is behind the range.
    """
    if asked.until is None:
        raise UsageError("until: the end of a range that is divided must be known")
    range_ = Interval(BEGINNING if asked.since is None else asked.since, asked.until)
    request = Request(filters=asked.filters or {}, fields=asked.fields)
    async with connected(request, State(), range_.end, context) as connection:
        opening, reader = connection.opening, connection.reader
        await _wait_for(range_.end, opening.now, context)
        whole = StreamWindow(
            window=range_,
            request=connection.request,
            oldest=range_.start,
            hidden_status=HIDDEN_STATUS if opening.is_hidden else None,
            density=opening.density,
            newest=reader.traits.newest.get(None),
            newest_ids=opening.newest_ids,
            organization=connection.organization,
        )
        if not opening.newest and not opening.is_hidden and windows is None:
            windows = 1
        page_size = context.settings.page_size
        oldest = await find_beginning(reader, range_, opening.density, page_size)
        rows = None if opening.density is None else opening.density * (range_.end - max(oldest, BEGINNING))
        cut = even_cut(range_, oldest, windows or window_count(rows, slots, page_size))
        whole = msgspec.structs.replace(whole, oldest=oldest)
        if len(cut) > 1 and opening.newest:
            whole = await _sampled(whole, reader, context.settings)
        return [msgspec.structs.replace(whole, window=window) for window in reversed(cut)]


async def _wait_for(until: Instant, now: Now, context: RunContext) -> None:
    """Waits until the API's clock is at the end of the range, a lag later. Raises `UsageError` if that takes long."""
    ahead = until + context.lag - now.instant - round((context.clock() - now.at) * SECOND)
    if ahead > TOLERATED:
        raise UsageError(
            f"until ({format_instant(until)}) is still to come, or more recent than the lag, by "
            f"{format_seconds(ahead / SECOND)} on the clock that is believed, the API's or this machine's: rows would "
            "differ each time they are read. Give an earlier until"
        )
    await sleep(max(0, ahead) / SECOND)


async def _sampled(whole: StreamWindow, reader: Reader, settings: RunSettings) -> StreamWindow:
    request, hydrator = whole.request, Hydrator.of(reader, whole.request, settings)
    may_withhold = request.fields is None or _SENSITIVE & {*request.fields}
    if hydrator is None and not may_withhold:
        return whole
    reading = await reader.look(PageRequest(_SAMPLE_ROWS, created_before=whole.window.end - 1))
    rows = reading.page.rows
    if not rows:
        return whole
    encoded = await to_thread.run_sync(tables_of(request, None, NO_KEYS).encoder.encode, rows)
    if hydrator is not None:
        await hydrator.learn(rows)
    return msgspec.structs.replace(
        whole,
        sampled=encoded.batch.num_rows,
        withheld=encoded.withheld_rows,
        hydrated=tuple(sorted(hydrator.fields)) if hydrator else (),
    )


def window_stream(
    part: StreamWindow,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Stream:
    """Returns the rows of one window, as `stream` does those of a range. Its report is also in doubt if some rows came
    without sensitive fields, and sampled rows with them, or the other way round.

    The stream raises `AccessError` if the token is one of another organization than that of the other windows.
    """
    tables = tables_of(part.request, None, NO_KEYS)

    async def give(send: Send) -> StreamReport:
        sink = BatchSink(tables.encoder, send, credentials.organization, known_organization=part.organization)
        with around():
            return await observed(
                observer, lambda told: _read(part, RunContext(settings, credentials, told, clock), sink)
            )

    return BatchStream(tables.schemas["conversations"], give)


async def _read(part: StreamWindow, context: RunContext, sink: BatchSink) -> StreamReport:
    began = context.clock()
    async with _told(part, context) as reader:
        scan = Scan(range=part.window, windows=(part.window,), hidden_status=part.hidden_status)
        oldest = max(part.window.start, part.oldest)
        scheduler = scheduler_of(scan, anywhere, context.settings.page_size, oldest, part.density)
        report = await give_all(part.request, scan, scheduler, reader, sink, context, began, part.hydrated)
        return msgspec.structs.replace(report, partly_withheld_rows=_partly_withheld(sink.totals, part))


@asynccontextmanager
async def _told(part: StreamWindow, context: RunContext) -> AsyncIterator[Reader]:
    """Yields a reader that has been told what the first questions have shown."""
    async with open_reader(part.request, context) as reader:
        reader.now = Now(context.clock(), wall_clock())
        reader.traits.expect(part.newest, part.density)
        if len(part.newest_ids) > 1:
            reader.traits.shown.expect_several()
        ownership = Ownership(reader, context.credentials, None, 0)
        await ownership.settle_elsewhere(part.organization, has_seen=bool(part.newest_ids))
        reader.vouched_by(ownership.vouch)
        yield reader


def _partly_withheld(given: StreamTotals, part: StreamWindow) -> int:
    """Returns how many rows came without sensitive fields while others had them, the sampled ones included."""
    withheld = given.withheld_rows + part.withheld
    return withheld if given.conversations and withheld < given.conversations + part.sampled else 0
