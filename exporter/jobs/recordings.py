"""`exporter recordings` keeps the recordings of an export's conversations: what has no final row yet is fetched.

Links come from the list, which is read again around the conversations that lack a recording, because stored ones are
dead. Rows of recordings are committed as they come, and no row of a conversation changes.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from datetime import datetime

import msgspec

from exporter.contract import SECOND, to_datetime
from exporter.errors import UsageError
from exporter.log.commits import load_state
from exporter.log.recordings import count_recordings
from exporter.log.state import State
from exporter.model import Counters
from exporter.run.claim import Claim, holding
from exporter.run.connect import connected
from exporter.run.context import RunContext
from exporter.run.reconcile import between, in_stored_zone, missed_by, settle_request, stored_export
from exporter.run.record import Run, recorded
from exporter.run.recordings import RecordingsRun, Tally, look_only
from exporter.run.recordings_left import Batch, Search
from exporter.run.session import begin
from exporter.settings import RecordingSettings, Selection
from exporter.store.location import Location
from exporter.store.open import open_store


class RecordingsResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports the recordings of a destination, and what the run has done.

    `recorded` conversations are known to have a recording: `stored`, `gone` from the source, `expired`, `failed` or
    `refused` ones, and those that are `left`; it and `left` are None while nobody knows. `files` of `bytes` hold those
    that are stored. All `new_…` are of this run. `waiting` conversations are over and have none yet. No recording that
    is left is older than `oldest_left`, and the source deletes it at `oldest_dies_at`, if its retention is known;
    `lost` ones were found to be older than that. `unreached` ones have no row after this run, and `gave_up` says why it
    stopped asking the hosts of recordings, if it did. `requests` are those to the API.
    """

    recorded: int | None
    stored: int
    gone: int
    expired: int
    failed: int
    refused: int
    left: int | None
    files: int
    bytes: int
    new_stored: int = 0
    new_bytes: int = 0
    new_refused: int = 0
    unreached: int = 0
    waiting: int = 0
    lost: int = 0
    gave_up: str = ""
    oldest_left: datetime | None = None
    oldest_dies_at: datetime | None = None
    requests: int = 0
    seconds: float = 0.0

    @property
    def exit_status(self) -> int:
        if self.expired or self.failed or self.unreached:
            return 1
        return 3 if self.new_refused or self.lost else 0


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
            async with holding(store, run) as claim:
                return await _keep(claim, run, asked, context, search)

        return await recorded(store, "recordings", work)


async def _keep(claim: Claim, run: Run, asked: Selection, context: RunContext, search: Search) -> RecordingsResult:
    before, store = claim.log.state, claim.store
    request, range_ = stored_export(before, store.location)
    async with aclosing(search.batches(store, before)) as batches:
        first = await anext(batches, None)
        if first is None or not first:
            await look_only(claim, first)
            return summarize_recordings(claim.log.state, Tally(), context.settings.recordings, Counters())
        async with connected(request, before, range_.end, context, run) as connection:
            rest = msgspec.structs.replace(asked, since=None, until=None, table_format=None, recordings=None)
            session = await begin(claim, connection, rest, connection.latest)
            async with RecordingsRun.open(session) as keeping:
                await keeping.keep(_chain(first, batches))
            return summarize_recordings(session.log.state, keeping.tally, context.settings.recordings, session.spent)


async def _chain(first: Batch, rest: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
    yield first
    async for batch in rest:
        yield batch


def summarize_recordings(state: State, tally: Tally, settings: RecordingSettings, spent: Counters) -> RecordingsResult:
    """Returns the result of a run that has led to `state`, has done what `tally` says, and has cost what is `spent`."""
    counts, retention = count_recordings(state), settings.retention_seconds
    oldest = counts.oldest_left
    dies_at = None if oldest is None or retention is None else oldest + retention * SECOND
    return RecordingsResult(
        recorded=counts.recorded,
        stored=counts.stored,
        gone=counts.gone,
        expired=counts.expired,
        failed=counts.failed,
        refused=counts.refused,
        left=counts.left,
        files=counts.media_files,
        bytes=counts.media_bytes,
        new_stored=tally.by_status["stored"],
        new_bytes=tally.bytes,
        new_refused=tally.by_status["refused"],
        unreached=tally.unreached,
        waiting=tally.waiting,
        lost=tally.lost,
        gave_up=tally.gave_up,
        oldest_left=to_datetime(oldest),
        oldest_dies_at=to_datetime(dies_at),
        requests=spent.requests,
        seconds=round(spent.seconds, 3),
    )
