"""Does what a sync does with rows, once the API has answered. Whatever it imports is loaded only then."""

from contextlib import nullcontext
from typing import Final

import msgspec
from anyio import to_thread

from exporter.contract import ALWAYS_FIELDS, DAY, FILTERS_BY_NAME, MUTABLE_FILTERS, Instant, to_datetime
from exporter.coverage import Coverage, Interval
from exporter.encode.tables import Tables
from exporter.jobs.recordings import keep_too
from exporter.jobs.recordings_result import RecordingsResult
from exporter.jobs.summary import summarize
from exporter.jobs.sync_result import SyncResult
from exporter.parts.ids import ids_in
from exporter.parts.integrity import opened
from exporter.parts.versions import open_rows
from exporter.pipeline.quarantine_files import read_lines
from exporter.pipeline.quarantine_merge import nameless_times
from exporter.pipeline.reader import Reader
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.upsert import UpsertCounts, merge_spool
from exporter.run.claim import Claim
from exporter.run.clocks import is_ahead, updates_since
from exporter.run.connect import Connection, open_reader
from exporter.run.context import RunContext
from exporter.run.finish import seal
from exporter.run.overlooked import read_overlooked
from exporter.run.reconcile import (
    stored_export,
)
from exporter.run.record import Run
from exporter.run.recordings_tap import tapped
from exporter.run.repeats import Doubts, settle
from exporter.run.session import Session, begin
from exporter.run.updates import find_bound, read_updates, still_there
from exporter.schedule.homes import Homes
from exporter.schedule.rereads import density_of, windows_around
from exporter.settings import Filters, Request, Selection
from exporter.store.location import Location

#: Conversations that were not over are asked for again while they are younger than this.
_OPEN_FOR: Final = 2 * DAY


async def read(
    claim: Claim,
    connection: Connection,
    run: Run,
    asked: Selection,
    context: RunContext,
    refilter: bool,
    keep_generations: int | None,
) -> SyncResult:
    """Reads what is missing and what has changed, commits both, and seals the export."""
    found, request = connection.known, connection.request
    now, latest = connection.opening.now, connection.latest
    if found.range is not None and not is_ahead(found, now.instant):
        latest = max(latest, found.range.end)
    to_latest = msgspec.structs.replace(asked, until=latest)
    session = await begin(
        claim,
        connection,
        to_latest,
        latest,
        refuses_withheld=True,
        keep_generations=keep_generations,
        expires=True,
    )
    async with tapped(session) as tap:
        await read_overlooked(session)
        await session.read_what_is_left()
        if tap is not None:
            await tap.hold()
        outcome = UpsertCounts()
        if not session.before.coverage:
            await settle(session)
        else:
            listing = open_reader(
                Request(filters=_lasting(request.filters), fields=ALWAYS_FIELDS), context, connection.reader
            )
            async with listing if refilter else nullcontext() as lister:
                if lister is not None:
                    lister.now = now
                since = updates_since(session.before, now.instant, context.observer)
                outcome = await _update(session, None if since is None else since - context.lag, lister)
        await session.let_expire()
        await seal(session.log, session.stage, session.committer, context.observer, goes_on=True)
        recordings = await keep_too(claim, run, asked, context, session, tap)
    return _synced(claim.store.location, session, outcome, recordings)


def _lasting(filters: Filters) -> Filters:
    return {name: text for name, text in filters.items() if name in FILTERS_BY_NAME and name not in MUTABLE_FILTERS}


async def _update(session: Session, since: Instant | None, lister: Reader | None) -> UpsertCounts:
    """Merges what was updated `since` (None for ever) of what was covered when the run began.

    `lister` lists the rows that the filters may no longer match.
    """
    before, state, stage, reader = session.before, session.log.state, session.stage, session.reader
    _, range_ = stored_export(state, stage.store.location)
    oldest, homes = state.oldest_row, session.homes()
    spool, changed = Spool(homes, session.guard), Spool(homes, session.guard)
    narrow = Tables.of(Request(fields=ALWAYS_FIELDS), stage.tables.protector)

    async def read(what: Coverage, updated_since: Instant | None, reading: int) -> None:
        # The other list comes first: what changes after it has been read is in the list that the filters leave, or is
        # newer than both.
        if lister is not None:
            into = SpoolSink(stage, changed, reading=reading, tables=narrow)
            await session.read(what, into, reader=lister, updated_since=updated_since, oldest=oldest)
        into = SpoolSink(stage, spool, reading=reading + 1)
        await session.read(what, into, updated_since=updated_since, oldest=oldest)

    is_listed = since is not None and lister is None and await read_updates(session, since, spool)
    bound = None if is_listed else await find_bound(session, since)
    if not is_listed:
        await read(before.coverage, bound, 0)
    if spool.unasked:
        session.context.observer.warn("the API does not respect updated_after; rows that have not changed were dropped")
    doubts = await Doubts.find(session, homes)
    again = await _still_open(session, spool, range_.end - _OPEN_FOR)
    again |= still_there(session, doubts.windows) | await _nameless(session, homes)
    await read(again, None, 2)
    gone = await _gone(changed, spool)
    for interval, ids in (await doubts.strays(spool, homes)).items():
        gone.setdefault(interval, set()).update(ids)
    if lister is not None and changed.read_since is not None and spool.read_since is not None:
        reader.counters += lister.counters
        spool.read_since = min(spool.read_since, changed.read_since)
        spool.unproven += changed.unproven
    change, outcome = await merge_spool(
        spool,
        state,
        stage,
        session.committer,
        gone=gone,
        whole=again,
        repeated=doubts.repeated,
        hydrator=session.hydrator,
    )
    refreshed, read_since = before.coverage | session.empty, change.read_since
    if session.empty and read_since is not None and session.opening.top_since is not None:
        read_since = min(read_since, session.opening.top_since)
    change = msgspec.structs.replace(change, refreshes=refreshed.intervals, read_since=read_since, settles=True)
    await session.committer.commit(change, session.spent, kind="sync")
    if spool.paths or changed.paths or change.adds or change.removes or change.quarantines:
        await session.committer.sweep(may_wait=True)  # what was put aside
    return outcome


async def _still_open(session: Session, spool: Spool, since: Instant) -> Coverage:
    """Returns windows around conversations created `since` that were not over when read and are not in `spool`."""
    served = await to_thread.run_sync(ids_in, spool.paths)
    served |= set[str]().union(*spool.misfit_ids.values())
    found: list[tuple[Instant, float]] = []
    conversations = session.before.conversations
    columns = conversations.each("handle", "open_rows", "created_at_max")
    for file in conversations.of(handle for handle, count, last in columns if count and last >= since):
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
    """Returns windows around rows without an id: only a reading of everything there shows whether they have one now."""
    times: list[tuple[Instant, float]] = []
    for _, file in sorted(session.log.state.quarantine.items()):
        for created_at in nameless_times(await read_lines(session.stage.store, file)):
            part = homes.of(created_at).file
            times.append((created_at, 1.0 if part is None else density_of(part)))
    return windows_around(times)


async def _gone(changed: Spool, spool: Spool) -> dict[Interval, set[str]]:
    """Returns the ids of rows that have changed and no longer match the filters, by the interval of their home."""
    gone = {}
    for interval, parts in changed.parts.items():
        matching = [part.path for part in spool.parts.get(interval, ())]
        ids = await to_thread.run_sync(ids_in, [part.path for part in parts])
        ids -= await to_thread.run_sync(ids_in, matching)
        if ids:
            spool.homes[interval] = changed.homes[interval]
            gone[interval] = ids
    return gone


def _synced(
    destination: Location, session: Session, outcome: UpsertCounts, recordings: RecordingsResult | None
) -> SyncResult:
    before, after = session.before, session.log.state
    summary = summarize(
        destination,
        session.found,
        after,
        session.spent,
        session.stage.tables.protector,
        expired_rows=session.expired_rows,
        erased_rows=session.admission.kept_out,
    )
    summary = msgspec.structs.replace(summary, recordings=recordings)
    return SyncResult(
        summary=summary,
        inserted=outcome.inserted_by_run(session.found.totals.rows, summary.rows + session.expired_rows),
        updated=outcome.updated,
        removed=outcome.removed,
        unchanged=outcome.unchanged,
        rewritten=outcome.rewritten,
        open_rows=after.totals.open_rows,
        updates_since_before=to_datetime(before.read_since),
        updates_since=to_datetime(after.read_since),
    )
