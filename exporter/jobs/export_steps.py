"""Does what an export does with rows, once it is known what there is to do. Whatever it imports is loaded only then."""

from msgspec.structs import replace

from exporter.clock import wall_clock
from exporter.contract import Instant
from exporter.jobs.recordings import are_all_kept, are_kept, keep_too
from exporter.jobs.recordings_result import summarize_recordings
from exporter.jobs.summary import Summary, summarize
from exporter.lake.follow import settle_table_format
from exporter.log.publish import SURVEYED
from exporter.log.state import State
from exporter.model import Counters
from exporter.run.claim import Claim
from exporter.run.connect import Connection
from exporter.run.context import RunContext
from exporter.run.expiry import check_retention, let_expire, look_for_expired, offline_now
from exporter.run.finish import check_files, has_asked_mode, is_in_order, put_in_order, seal
from exporter.run.overlooked import read_overlooked
from exporter.run.protection import stored_tables
from exporter.run.record import Run
from exporter.run.recording_outcomes import Tally
from exporter.run.recordings_tap import tapped
from exporter.run.repeats import settle
from exporter.run.session import begin
from exporter.settings import Selection
from exporter.store.base import Store


async def summarize_idle(store: Store, found: State, asked: Selection, context: RunContext) -> Summary | None:
    """Returns the summary of an export that has everything, if there is nothing to do, and no other run is doing it:
    then not even the lock is written. Otherwise returns None.

    Raises the errors of `check_files`.
    """
    if not await _is_idle(store, found, asked, context):
        return None
    idle = summarize(store.location, found, found, Counters())
    if not are_kept(found, asked):
        return idle
    kept = summarize_recordings(found, Tally(), context.settings.recordings, Counters())
    return replace(idle, recordings=kept)


async def put_right(claim: Claim, run: Run, asked: Selection, context: RunContext) -> Summary:
    """Brings an export that has everything to what is asked for, without a question about its conversations."""
    log, before, destination = claim.log, claim.log.state, claim.store.location
    if before.range is not None:
        check_retention(before, asked.retention, before.range, _now(before, context))
    # A run that was killed may have read everything, and sealed nothing.
    await put_in_order(
        claim,
        context.settings,
        context.observer,
        context.clock,
        table_format=settle_table_format(before, asked, destination),
        file_mode=asked.file_mode,
        keeps_recordings=asked.recordings,
        keys=context.keys,
    )
    recordings = await keep_too(claim, run, asked, context)
    expired = await _let_expire(claim, asked, context)
    summary = summarize(destination, before, log.state, run.spent(), expired_rows=expired)
    return replace(summary, recordings=recordings)


async def read(claim: Claim, connection: Connection, run: Run, asked: Selection, context: RunContext) -> Summary:
    """Reads and commits what is left, and seals the export."""
    log = claim.log
    session = await begin(claim, connection, asked, connection.latest, expires=True)
    async with tapped(session) as tap:
        await read_overlooked(session)
        await session.read_what_is_left()
        if tap is not None:
            await tap.hold()
        await settle(session)
        await session.let_expire()
        await seal(log, session.stage, session.committer, context.observer)
        recordings = await keep_too(claim, run, asked, context, session, tap)
    summary = summarize(
        claim.store.location,
        session.found,
        log.state,
        session.spent,
        session.stage.tables.protector,
        expired_rows=session.expired_rows,
        erased_rows=session.admission.kept_out,
    )
    return replace(summary, recordings=recordings)


async def _let_expire(claim: Claim, asked: Selection, context: RunContext) -> int:
    """Takes out what has expired, though the API was asked nothing; returns how many conversations that were."""
    stage = claim.stage(stored_tables(claim.log.state, context.keys), context.settings, context.clock)
    now = _now(claim.log.state, context)
    return (await let_expire(claim.log, stage, context.observer, now, asked.retention)).conversations


def _now(state: State, context: RunContext) -> Instant:
    return offline_now(state, wall_clock(), context.settings.trust_clock)


async def _is_idle(store: Store, found: State, asked: Selection, context: RunContext) -> bool:
    if settle_table_format(found, asked, store.location) != found.table_format:
        return False
    if asked.recordings not in (None, found.keeps_recordings):
        return False
    if asked.retention not in (None, found.privacy.retention):
        return False
    if await look_for_expired(store, found, _now(found, context)):
        return False
    if are_kept(found, asked) and not are_all_kept(found, context):
        return False
    if await store.lock_holder() is not None or not await has_asked_mode(store, found, asked.file_mode):
        return False
    there = await store.survey(SURVEYED)
    if not await is_in_order(store, found, there):
        return False
    # A manifest that is in order rests on the commits that were read, and on no others.
    await check_files(store, found, there)
    return True
