"""`exporter sync`: brings an export up to the present, with all that has changed since it was read.

In this order, so that a run which is killed anywhere repeats without harm: what is not there yet is read and committed
as by an export; then all that was updated since `updates_since` is read, put aside, and merged into the parts that hold
it by one commit, which also says how far the data is known to be up to date.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Final

import msgspec
from anyio import to_thread

from exporter.contract import ALWAYS_FIELDS, DAY, FILTERS_BY_NAME, MUTABLE_FILTERS, SECOND, Instant
from exporter.encode.tables import Tables
from exporter.errors import DestinationError, UsageError
from exporter.jobs.summary import Summary, summarize
from exporter.lake.follow import settle_table_format
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.model import Coverage, Interval
from exporter.parts.ids import ids_in
from exporter.parts.integrity import opened, read_as_written
from exporter.parts.versions import open_rows
from exporter.pipeline.probe import find_margin
from exporter.pipeline.quarantine_merge import nameless_times
from exporter.pipeline.reader import Reader
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.upsert import UpsertCounts, merge_spool
from exporter.plan.homes import Homes
from exporter.plan.rereads import density_of, windows_around
from exporter.progress import Observer
from exporter.run.claim import holding
from exporter.run.clocks import is_ahead, take_back, updates_since
from exporter.run.finish import seal
from exporter.run.reconcile import changing_filters, has_sensitive_fields, settle_range, settle_request
from exporter.run.record import Run, recorded
from exporter.run.repeats import Doubts, settle
from exporter.run.session import Session, ask_first, connected, mention_withheld
from exporter.settings import Credentials, Request, RunSettings, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store

#: Conversations that were not over are asked for again while they are younger than this.
_OPEN_FOR: Final = 2 * DAY


class SyncResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a destination holds, and what the run has changed, in rows of the table; `rewritten` counts files.

    `updates_since`: of the manifest; None before the first run.
    """

    summary: Summary
    inserted: int
    updated: int
    removed: int
    unchanged: int
    rewritten: int
    open_rows: int
    updates_since_before: Instant | None
    updates_since: Instant | None

    @property
    def exit_status(self) -> int:
        return self.summary.exit_status


async def sync(
    destination: Location,
    asked: Selection,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer,
    *,
    refilter: bool = False,
    keep_generations: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SyncResult:
    """Makes the first export where there is none. `refilter`: rows that the filters no longer match are dropped.

    Raises `ExporterError` as `jobs.export.export`; `AccessError` for a token that sees fewer fields than the data has,
    `UsageError` for filters on what changes without `refilter`.
    """
    async with open_store(destination) as store:
        await store.check()

        async def work(run: Run) -> SyncResult:
            return await _sync(store, run, asked, settings, credentials, observer, refilter, keep_generations, clock)

        return await recorded(store, "sync", work)


async def _sync(
    store: Store,
    run: Run,
    asked: Selection,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer,
    refilter: bool,
    keep_generations: int | None,
    clock: Callable[[], float],
) -> SyncResult:
    destination = store.location
    found = await load_state(store)
    run.saw(found)
    request = settle_request(found, asked, destination)
    if settle_table_format(found, asked, destination) and keep_generations is not None:
        raise UsageError("--keep-generations: beside a table format all that is replaced is kept, until a vacuum")
    if not refilter:
        _check_filters(request)
    async with connected(
        settings, credentials, request.filters, request.fields, observer, clock, tables=request.tables
    ) as reader:
        run.spent = lambda: reader.counters
        opening = await ask_first(reader, found, request, None, settings, observer)
        lag, now = settings.lag_seconds * SECOND, opening.now
        latest = now.end(lag)
        if found.range is not None and not is_ahead(found, now.instant):
            latest = max(latest, found.range.end)
        to_latest = msgspec.structs.replace(asked, until=latest)
        settle_range(found, to_latest, latest)
        margin = await find_margin(reader, opening.updated_at) if found.coverage else 0
        if margin is None:
            observer.warn("the API leaves out what was updated when it is asked for; all is read again")
        async with holding(store, run) as held:
            await take_back(held.log, now, lag, observer)
            before = held.log.state
            if settle_request(before, asked, destination) != request:
                raise DestinationError(f"{destination}: another run has begun an export here meanwhile; run again")
            await mention_withheld(store, before, opening, reader, observer)
            session = await Session.begin(
                store,
                held,
                request,
                settle_range(before, to_latest, latest),
                reader,
                opening,
                settings,
                observer,
                clock,
                refuses_withheld=has_sensitive_fields(before),
                keep_generations=keep_generations,
                table_format=settle_table_format(before, asked, destination),
            )
            await session.read(session.log.state.left, density=opening.density)
            outcome = UpsertCounts()
            if not before.coverage:
                await settle(session, before)
            else:
                filters = _lasting(request.filters)
                listing = connected(settings, credentials, filters, ALWAYS_FIELDS, observer, clock)
                async with listing if refilter else nullcontext() as lister:
                    if lister is not None:
                        lister.now = now
                    since = updates_since(before, now.instant, observer)
                    asked_since = None if since is None or margin is None else since - lag - margin
                    outcome = await _update(session, before, asked_since, lister)
            await seal(session.log, session.stage, session.committer, observer, goes_on=True)
            return _synced(destination, before, session, outcome)


def _check_filters(request: Request) -> None:
    changing = changing_filters(request)
    if changing:
        raise UsageError(
            f"the export is filtered by {', '.join(changing)}, and that may change: rows would have to go as well as "
            "come. Give --refilter to drop what the filters no longer match, or sync an export without them"
        )


def _lasting(filters: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in filters.items() if name in FILTERS_BY_NAME and name not in MUTABLE_FILTERS}


async def _update(session: Session, before: State, since: Instant | None, lister: Reader | None) -> UpsertCounts:
    """Merges what was updated `since` (None: ever) of what `before` covers. `lister`: lists what the filters may have
    left."""
    state, stage, reader = session.log.state, session.stage, session.reader
    range_ = state.range
    if range_ is None:
        raise DestinationError("no export here")
    files = state.conversations
    oldest = min((file.created_at_min for file in files), default=range_.end)
    homes = Homes(files, state.coverage, stage.tables.place)
    spool, changed = Spool(homes, session.guard), Spool(homes, session.guard)
    narrow = Tables.of(Request(fields=ALWAYS_FIELDS))

    async def read(what: Coverage, updated_since: Instant | None, reading: int) -> None:
        # The other list first: what changes after it has been read is in the one that the filters leave, or is newer
        # than either.
        if lister is not None:
            into = SpoolSink(stage, changed, reading=reading, tables=narrow)
            await session.read(what, into, reader=lister, updated_since=updated_since, oldest=oldest)
        into = SpoolSink(stage, spool, reading=reading + 1)
        await session.read(what, into, updated_since=updated_since, oldest=oldest)

    await read(before.coverage, since, 0)
    if spool.unasked:
        session.observer.warn("the API does not keep to updated_after; rows that have not changed were dropped")
    doubts = await Doubts.find(session, before, homes)
    again = await _still_open(session, before, spool, range_.end - _OPEN_FOR)
    again |= doubts.windows | await _nameless(session, homes)
    await read(again, None, 2)
    gone = await _gone(changed, spool)
    for interval, ids in (await doubts.strays(spool, homes)).items():
        gone.setdefault(interval, set()).update(ids)
    if lister is not None and changed.read_since is not None and spool.read_since is not None:
        reader.counters += lister.counters
        spool.read_since = min(spool.read_since, changed.read_since)
        spool.unproven += changed.unproven
    change, outcome = await merge_spool(
        spool, state, stage, session.committer, gone=gone, whole=again, repeated=doubts.repeated.keys()
    )
    change = msgspec.structs.replace(change, refreshes=before.coverage.intervals, settles=True)
    await session.committer.commit(change, session.spent, kind="sync")
    await session.committer.sweep()  # what was put aside
    return outcome


async def _still_open(session: Session, before: State, spool: Spool, since: Instant) -> Coverage:
    """Where the conversations created `since` are that were not over when they were read, nor have been served now."""
    served = await to_thread.run_sync(ids_in, spool.paths)
    served |= set[str]().union(*spool.misfit_ids.values())
    found: list[tuple[Instant, float]] = []
    for file in before.conversations:
        if not file.open_rows or file.created_at_max < since:
            continue
        density = density_of(file)
        async with opened(session.stage.store, file) as part:
            rows = await to_thread.run_sync(open_rows, part)
        found += [
            (created_at, density)
            for identity, created_at in rows.items()
            if identity not in served and created_at >= since
        ]
    return windows_around(found)


async def _nameless(session: Session, homes: Homes) -> Coverage:
    """Where rows without an id are: nothing but a reading of all that is there tells that they have got one."""
    times: list[tuple[Instant, float]] = []
    for _, file in sorted(session.log.state.quarantine.items()):
        for created_at in nameless_times(await read_as_written(session.stage.store, file)):
            part = homes.of(created_at).file
            times.append((created_at, 1.0 if part is None else density_of(part)))
    return windows_around(times)


async def _gone(changed: Spool, spool: Spool) -> dict[Interval, set[str]]:
    """Ids that have changed and that the filters do not match, by the interval of their home."""
    gone = {}
    for interval, parts in changed.parts.items():
        matching = [part.path for part in spool.parts.get(interval, ())]
        ids = await to_thread.run_sync(ids_in, [part.path for part in parts])
        ids -= await to_thread.run_sync(ids_in, matching)
        if ids:
            spool.homes[interval] = changed.homes[interval]
            gone[interval] = ids
    return gone


def _synced(destination: Location, before: State, session: Session, outcome: UpsertCounts) -> SyncResult:
    after = session.log.state
    summary = summarize(destination, before, after, session.spent)
    rows_before = sum(file.rows for file in before.conversations)
    return SyncResult(
        summary=summary,
        inserted=summary.rows - rows_before + outcome.removed,
        updated=outcome.updated,
        removed=outcome.removed,
        unchanged=outcome.unchanged,
        rewritten=outcome.rewritten,
        open_rows=sum(file.open_rows for file in after.files.values()),
        updates_since_before=before.read_since,
        updates_since=after.read_since,
    )
