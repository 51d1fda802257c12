"""`exporter export`: brings a destination to what was asked for, from wherever it stands."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from exporter.contract import BEGINNING, HIDDEN_STATUS, SECOND, Instant, format_instant
from exporter.encode.batch import Encoder
from exporter.encode.decode import Decoder
from exporter.errors import DestinationError, ExporterError, StoreError, UsageError
from exporter.fetch.http import Client
from exporter.jobs.holding import holding
from exporter.jobs.sealing import least_part_bytes, put_in_order, seal
from exporter.model import Counters, Interval, PageRequest
from exporter.pipeline import Pipeline
from exporter.pipeline.budget import ByteBudget, Shares
from exporter.pipeline.committing import Committer
from exporter.pipeline.probing import find_beginning, is_hidden
from exporter.pipeline.reading import Reader, wall_clock
from exporter.pipeline.writing import PartsFactory
from exporter.plan.scheduler import Scheduler
from exporter.progress import Observer
from exporter.spec import Asked, Credentials, Request, RunSettings
from exporter.store.commits import CommitLog, load_state
from exporter.store.layout import CONVERSATIONS, MANIFEST, partition_of
from exporter.store.local import LocalStore
from exporter.store.manifest import is_sealed, served_fields
from exporter.store.state import State, StateName, state_name


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a destination holds after a run; `requests` and `seconds` are those of the run.

    `resumed`: there was something before; `changed`: the run committed something. `bytes` are those of the parts.
    `partly_withheld`: files with rows that came without sensitive fields, while other rows had them.
    """

    state: StateName
    rows: int
    files: int
    bytes: int
    requests: int
    seconds: float
    manifest: str
    resumed: bool
    changed: bool
    quarantined_rows: int
    unproven: int
    withheld: tuple[str, ...]
    partly_withheld: int
    range_start: Instant | None
    range_end: Instant
    partition_key: str | None


async def export(
    destination: Path,
    asked: Asked,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Reads what is missing of what was asked for, and commits it. `clock`: seconds, as the event loop counts them.

    Raises `ExporterError`: before anything is touched when the request, the destination, the token or the host is
    wrong; else after everything that was read has been committed.
    """
    store = LocalStore(destination)
    await store.check()
    found = await load_state(store)
    request = _settle_request(found, asked, destination)
    encoder = Encoder(request.fields)
    if found.range is not None and not found.left and not _asks_for_more(found.range, asked):
        if await is_sealed(store, found, schemas={CONVERSATIONS: encoder.schema}):
            return _summary(destination, found, found, Counters())
        return await _seal_what_is_there(store, request, settings, observer, clock)
    async with Client(
        settings.base_url,
        credentials,
        concurrency=settings.concurrency,
        filters=request.filters,
        fields=request.fields,
        proxy=settings.proxy,
        ssl_context=settings.ssl_context,
    ) as client:
        shares = Shares.of(settings.memory_bytes, settings.concurrency)
        reader = Reader(
            client,
            Decoder(request.fields),
            observer,
            ByteBudget(shares),
            concurrency=settings.concurrency,
            max_rps=settings.max_rps,
            clock=clock,
        )
        first_answer = await reader.look(PageRequest(limit=1, ids_only=True))
        latest = first_answer.read_since - settings.lag_seconds * SECOND
        _settle_range(found, asked, latest)
        async with holding(store) as held:
            log, before = held.log, held.log.state
            if _settle_request(before, asked, destination) != request:
                raise DestinationError(f"{destination}: another run has begun an export here meanwhile; run again")
            await _declare(log, request, _settle_range(before, asked, latest), observer)
            committer = Committer(store, log, encoder.schema, observer, clock)
            await committer.sweep()
            hidden_status = await _find_hidden_status(log.state, request, reader, observer)
            factory = PartsFactory(
                store,
                encoder,
                run=held.run,
                partition_by=request.partition_by,
                target_part_bytes=settings.target_part_bytes,
                row_group_bytes=shares.row_group,
                organization=before.organization,
                hidden_status=hidden_status,
                clock=clock,
            )
            pipeline = Pipeline(
                await _schedule(log.state, request, reader, settings.page_size),
                reader,
                factory,
                committer,
                observer,
                concurrency=settings.concurrency,
                page_size=settings.page_size,
                clock=clock,
            )
            try:
                await pipeline.run()
            except ExporterError:
                with suppress(StoreError):
                    await committer.write_manifest()
                raise
            await seal(log, factory, committer, observer, least_bytes=least_part_bytes(settings.target_part_bytes))
            return _summary(destination, before, log.state, pipeline.spent)


async def _seal_what_is_there(
    store: LocalStore, request: Request, settings: RunSettings, observer: Observer, clock: Callable[[], float]
) -> Summary:
    """For an export of which everything was read, by a run that did not live to seal it."""
    async with holding(store) as held:
        log, before = held.log, held.log.state
        if before.left or before.request != request:
            raise DestinationError(f"{store.root}: another run has widened the export meanwhile; run again")
        await put_in_order(
            store,
            held,
            observer,
            clock,
            least_bytes=least_part_bytes(settings.target_part_bytes),
            target_bytes=settings.target_part_bytes,
            row_group_bytes=Shares.of(settings.memory_bytes, settings.concurrency).row_group,
        )
        return _summary(store.root, before, log.state, Counters())


def _settle_request(state: State, asked: Asked, destination: Path) -> Request:
    """What the dataset holds: as stored, where it is; what is asked for has to agree with it."""
    stored = state.request
    if stored is None:
        return Request(
            filters=asked.filters or {}, fields=asked.fields, partition_by=asked.partition_by or Request().partition_by
        )
    differences = [
        f"{name}: {_shown(there)} there, {_shown(here)} asked for"
        for name, there, here in (
            ("filters", stored.filters, asked.filters),
            ("fields", stored.fields, asked.fields),
            ("partitions", stored.partition_by, asked.partition_by),
        )
        if here is not None and here != there
    ]
    if differences:
        raise DestinationError(
            f"{destination}: holds another export ({'; '.join(differences)}).\n"
            "Choose another destination, or leave these options out to go on with what is there"
        )
    return stored


def _settle_range(state: State, asked: Asked, latest: Instant) -> Interval:
    """The range to bring the destination to: what it has, widened to what is asked for, up to `latest` (exclusive)."""
    stored = state.range
    until = min(asked.until, latest) if asked.until is not None else latest if stored is None else stored.end
    since = asked.since if asked.since is not None else BEGINNING if stored is None else stored.start
    if since >= until:
        clamped = asked.until is None or asked.until > latest
        raise UsageError(
            f"nothing to export: the range starts at {format_instant(since)} and ends at {format_instant(until)}"
            + (", the server's clock less the lag" if clamped and stored is None else "")
            + (", where this export ends; give --until to widen it" if asked.until is None and stored else "")
        )
    if stored is None:
        return Interval(since, until)
    return Interval(min(since, stored.start), max(until, stored.end))


def _asks_for_more(stored: Interval, asked: Asked) -> bool:
    earlier = asked.since is not None and asked.since < stored.start
    later = asked.until is not None and asked.until > stored.end
    misses = asked.until is None and asked.since is not None and asked.since >= stored.end
    return earlier or later or misses


async def _declare(log: CommitLog, request: Request, range_: Interval, observer: Observer) -> None:
    """Puts into the log what this export is to become, and that it is this run's turn.

    A run that was overtaken, because locks do not reach it, fails at its next commit; what it has published until then
    is swept. Without a commit at the start it could still commit files that the sweep has deleted.
    """
    if log.state.range is None:
        await log.append(committed_at=wall_clock(), kind="begin", request=request, range=range_)
    elif log.state.range != range_:
        await log.append(committed_at=wall_clock(), kind="widen", range=range_)
    else:
        await log.append(committed_at=wall_clock(), kind="resume")
    if log.state.number > 1 and log.state.left:
        observer.note("going on", commits=log.state.number, files=len(log.state.files))


async def _schedule(state: State, request: Request, reader: Reader, page_size: int) -> Scheduler:
    left = state.left.intervals
    oldest = left[0].start if left else BEGINNING
    if left and left[0].open_below:
        oldest = await find_beginning(reader, left[0].end)

    def partition_start(instant: Instant) -> Instant:
        _, interval = partition_of(instant, request.partition_by)
        return BEGINNING if interval is None else interval.start

    return Scheduler(left, oldest, partition_start, page_size)


async def _find_hidden_status(state: State, request: Request, reader: Reader, observer: Observer) -> str | None:
    """The status that has to be read by a list of its own, if the API leaves it out of the list (api.md, 7)."""
    if state.range is None or not state.left or "status" in request.filters:
        return None
    known = HIDDEN_STATUS in state.hidden_statuses
    if not known and not await is_hidden(reader, HIDDEN_STATUS, state.range):
        return None
    observer.warn(f"the API's list leaves out {HIDDEN_STATUS} conversations; they are read by a list of their own")
    return HIDDEN_STATUS


def _shown(value: object) -> str:
    match value:
        case None:
            return "all"
        case tuple():
            return ",".join(value)
        case dict():
            return " ".join(f"{name}={text}" for name, text in value.items()) or "none"
    return str(value)


def _summary(destination: Path, before: State, after: State, spent: Counters) -> Summary:
    range_ = after.range
    if range_ is None:
        raise StoreError(f"{destination}: the log has no range")
    served = served_fields(after)
    return Summary(
        state=state_name(after),
        rows=sum(file.rows for file in after.files.values() if file.table == CONVERSATIONS),
        files=len(after.files),
        bytes=sum(file.size_bytes for file in after.files.values()),
        requests=spent.requests,
        seconds=round(spent.seconds, 3),
        manifest=str(destination / MANIFEST),
        resumed=before.number > 0,
        changed=after.number > before.number,
        quarantined_rows=after.quarantined_rows,
        unproven=len(after.unproven),
        withheld=tuple(served.withheld),
        partly_withheld=len(served.partly_withheld),
        range_start=None if range_.open_below else range_.start,
        range_end=range_.end,
        partition_key=next(iter(partition_of(range_.end - 1, after.request.partition_by)[0]), None)
        if after.request
        else None,
    )
