"""`exporter recordings` keeps the recordings of an export's conversations: what has no final row yet is fetched.

Links come from the list, which is read again around the conversations that lack a recording, because stored ones are
dead. Rows of recordings are committed as they come, and no row of a conversation changes.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import aclosing, suppress

import msgspec

from exporter.coverage import Coverage
from exporter.encode.tables import Tables
from exporter.errors import ExporterError, InterruptedExportError, StoreError, UsageError
from exporter.jobs.recordings_result import RecordingsResult, summarize_recordings
from exporter.lake.follow import write_tables
from exporter.log.commits import is_overtaken, load_state
from exporter.log.publish import publish, withdraw
from exporter.log.recordings import AGAIN
from exporter.log.state import State
from exporter.model import Counters
from exporter.run.claim import Claim, holding
from exporter.run.connect import connected
from exporter.run.context import RunContext
from exporter.run.encryption import find_cipher
from exporter.run.protection import check_recordings, settle_policy
from exporter.run.reconcile import between, in_stored_zone, missed_by, settle_request, stored_export
from exporter.run.record import Run, recorded
from exporter.run.recording_outcomes import Tally
from exporter.run.recordings import RecordingsRun
from exporter.run.recordings_left import Batch, Search, look_only
from exporter.run.recordings_tap import RecordingTap
from exporter.run.session import Session, begin
from exporter.settings import Request, Selection
from exporter.store.location import Location
from exporter.store.open import open_store


async def recordings(
    destination: Location,
    asked: Selection,
    context: RunContext,
    *,
    retried: Collection[str],
    oldest_first: bool = False,
) -> RecordingsResult:
    """Fetches the recordings that have no final row, of conversations between the bounds of `asked`; rows whose status
    is `retried` are not final.

    Raises the errors of `jobs.export.export`: `DestinationError` if there is no export, `UsageError` if nothing of it
    lies between the bounds, and `AccessError` for a token that may not see recordings. What was fetched until then is
    committed.
    """
    async with open_store(destination) as store:
        # This comes before the lock, which would be made even if there is nothing to do.
        found = await load_state(store)
        _, range_ = stored_export(found, destination)
        asked = in_stored_zone(found, asked)
        bounds = between(range_, asked)
        policy = settle_policy(found, asked, destination, context.keys)
        if policy is not None:
            check_recordings(policy, keeps=True)
        settle_request(found, asked, destination)
        if not bounds:
            raise UsageError(f"no recording to keep: {destination} {missed_by(range_, asked)}")
        search = Search(
            bounds=bounds,
            again=frozenset(retried),
            wait_seconds=context.settings.recordings.wait_seconds,
            oldest_first=oldest_first,
        )
        if not search.partitions(found):
            return summarize_recordings(found, Tally(), context.settings.recordings, Counters())

        async def work(run: Run) -> RecordingsResult:
            async with holding(store, run, find_cipher(context.keys, destination, asked)) as claim:
                return await _keep(claim, run, asked, context, search, Tally())

        return await recorded(store, "recordings", work)


async def _keep(
    claim: Claim,
    run: Run,
    asked: Selection,
    context: RunContext,
    search: Search,
    tally: Tally,
    session: Session | None = None,
) -> RecordingsResult:
    """Fetches what the search finds, in `session` or, if something is left, in one of its own."""
    before, store, settings = claim.log.state, claim.store, context.settings.recordings
    request, range_ = stored_export(before, store.location)
    async with aclosing(search.batches(store, before)) as batches:
        first = await anext(batches, None)
        if first is None or not first:
            await look_only(claim, first)
            return summarize_recordings(claim.log.state, tally, settings, Counters())
        if session is not None:
            return await _fetch(session, _chain(first, batches), tally, session.spent)
        async with connected(request, before, range_.end, context, run) as connection:
            rest = msgspec.structs.replace(asked, since=None, until=None, table_format=None, recordings=None)
            session = await begin(claim, connection, rest, connection.latest)
            return await _fetch(session, _chain(first, batches), tally, Counters())


async def _fetch(session: Session, batches: AsyncIterator[Batch], tally: Tally, spent: Counters) -> RecordingsResult:
    """Fetches the batches; the session has `spent` this much on something else."""
    async with RecordingsRun.open(session, tally) as keeping:
        await keeping.keep(batches)
    await write_tables(session.stage.store, session.log.state, session.context.observer)
    settings = session.context.settings.recordings
    return summarize_recordings(session.log.state, tally, settings, session.spent - spent)


async def _chain(first: Batch, rest: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
    yield first
    async for batch in rest:
        yield batch


def are_kept(state: State, asked: Selection) -> bool:
    """Returns whether an export or a sync also keeps recordings: as is asked for, or else as is stored."""
    return bool(state.keeps_recordings if asked.recordings is None else asked.recordings)


def are_all_kept(state: State, context: RunContext) -> bool:
    """Returns whether no partition may have a recording that is left."""
    return not _everywhere(state, context).partitions(state)


async def keep_too(
    claim: Claim,
    run: Run,
    asked: Selection,
    context: RunContext,
    session: Session | None = None,
    tap: RecordingTap | None = None,
) -> RecordingsResult | None:
    """Fetches what is left of the whole export, after its conversations were read, if its recordings are kept; first
    comes what the session's `tap` has under way.

    An error ends the recordings alone, and stands in the result. Raises `InterruptedExportError`, and `StoreError` if
    the run was overtaken.
    """
    if not are_kept(claim.log.state, asked):
        return None
    tally = Tally() if tap is None else tap.tally
    before = Counters() if session is None else session.spent
    try:
        if tap is not None:
            await tap.finish()
        search = _everywhere(claim.log.state, context)
        return await _keep(claim, run, asked, context, search, tally, session)
    except InterruptedExportError:
        raise
    except ExporterError as error:
        if await is_overtaken(claim.store, claim.log.state, claim.run):
            raise
        await _leave_in_order(claim, context)
        spent = before if session is None else session.spent
        result = summarize_recordings(claim.log.state, tally, context.settings.recordings, spent - before)
        what = ". ".join(line.rstrip(".") for line in str(error).splitlines())
        return msgspec.structs.replace(result, error=what, error_status=error.exit_status)


async def _leave_in_order(claim: Claim, context: RunContext) -> None:
    """Makes the manifest and the tables say what was committed before an error, as far as the destination lets it."""
    state = claim.log.state
    with suppress(StoreError):
        await withdraw(claim.store, claim.run)
        await publish(claim.store, state, schemas=Tables.of(state.request or Request()).schemas)
        await write_tables(claim.store, state, context.observer)


def _everywhere(state: State, context: RunContext) -> Search:
    return Search(
        bounds=Coverage([state.range] if state.range else ()),
        again=frozenset(AGAIN),
        wait_seconds=context.settings.recordings.wait_seconds,
    )
