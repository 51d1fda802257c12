"""`exporter export` brings a destination to what was asked for, from whatever state it is in."""

from msgspec.structs import replace

from exporter.clock import wall_clock
from exporter.contract import Instant
from exporter.jobs.recordings import are_all_kept, are_kept, keep_too
from exporter.jobs.recordings_result import summarize_recordings
from exporter.jobs.summary import Summary, summarize
from exporter.lake.follow import check_place, settle_table_format
from exporter.log.state import State
from exporter.model import Counters
from exporter.run.claim import Claim, holding
from exporter.run.clocks import is_ahead
from exporter.run.connect import connected, find_stored, mention_withheld
from exporter.run.context import RunContext
from exporter.run.encryption import find_cipher
from exporter.run.expiry import check_retention, let_expire, look_for_expired, offline_now
from exporter.run.finish import check_files, has_asked_mode, is_in_order, put_in_order, seal
from exporter.run.protection import settle_policy, stored_tables
from exporter.run.reconcile import asks_for_more, check_file_mode, in_stored_zone, known_end, settle_request
from exporter.run.record import Run, recorded
from exporter.run.recording_outcomes import Tally
from exporter.run.recordings_tap import tapped
from exporter.run.repeats import settle
from exporter.run.session import begin
from exporter.settings import Request, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store


async def export(destination: Location, asked: Selection, context: RunContext) -> Summary:
    """Reads what is missing of what was asked for, and commits it.

    Raises `ExporterError`: before anything is touched if the request, the destination, the token or the host is wrong;
    otherwise after everything that was read has been committed.
    """
    check_file_mode(asked, destination)
    check_place(asked.table_format, destination)
    async with open_store(destination) as store:
        await store.check()
        summary = await recorded(store, "export", lambda run: _export(store, run, asked, context))
        return summary.with_end(asked.within((summary.request or Request()).timezone).until, context.lag)


async def _export(store: Store, run: Run, asked: Selection, context: RunContext) -> Summary:
    destination = store.location
    found, _, asked_there = await find_stored(store, run, asked, context.keys)
    # These refuse a table that cannot be, and a key that is wrong, before anything is made or read.
    settle_table_format(found, asked_there, destination)
    cipher_of = find_cipher(context.keys, destination, asked)
    cipher_of(found)
    if await _is_idle(store, found, asked_there, context):
        idle = summarize(destination, found, found, Counters())
        if not are_kept(found, asked_there):
            return idle
        kept = summarize_recordings(found, Tally(), context.settings.recordings, Counters())
        return replace(idle, recordings=kept)
    async with holding(store, run, cipher_of) as claim:
        log, before = claim.log, claim.log.state
        asked = in_stored_zone(before, asked)
        settle_policy(before, asked, destination, context.keys)
        request = settle_request(before, asked, destination)
        if before.range is not None and _has_all(before, asked):
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
        until = known_end(before, asked)
        async with connected(request, before, until, context, run, looks_closely=False) as connection:
            await mention_withheld(claim, connection)
            session = await begin(claim, connection, asked, connection.latest, expires=True)
            async with tapped(session) as tap:
                await session.read_what_is_left()
                if tap is not None:
                    await tap.hold()
                await settle(session)
                await session.let_expire()
                await seal(log, session.stage, session.committer, context.observer)
                recordings = await keep_too(claim, run, asked, context, session, tap)
            summary = summarize(
                destination,
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


def _has_all(state: State, asked: Selection) -> bool:
    """Returns whether everything that is asked for was read."""
    return state.range is not None and state.is_whole and not asks_for_more(state.range, asked) and not is_ahead(state)


async def _is_idle(store: Store, found: State, asked: Selection, context: RunContext) -> bool:
    """Returns whether there is nothing to do, and no other run is doing it: then not even the lock is written.

    Raises the errors of `check_files`.
    """
    if not _has_all(found, asked) or settle_table_format(found, asked, store.location) != found.table_format:
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
    if not await is_in_order(store, found):
        return False
    await check_files(store, found)
    return True
