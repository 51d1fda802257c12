"""`exporter vacuum`: deletes replaced files, and the versions of tables that need them. Asks the API nothing."""

from collections.abc import Collection

import msgspec

from exporter.contract import Instant
from exporter.encode.schema import table_schemas
from exporter.errors import DestinationError
from exporter.jobs.holding import holding
from exporter.jobs.recording import Run, recorded
from exporter.jobs.tables import expire, write_tables
from exporter.spec import Request
from exporter.store.base import Store
from exporter.store.commits import CommitLog, check_not_overtaken, find_garbage, load_state
from exporter.store.location import Location
from exporter.store.manifest import check_not_behind, write_manifest
from exporter.store.opening import open_store
from exporter.store.replaced import replaced_before
from exporter.store.state import State


class Vacuumed(msgspec.Struct, frozen=True, kw_only=True):
    """How many replaced files were deleted, or would be, and their `bytes`; `kept_files` are those that are left."""

    files: int
    bytes: int
    kept_files: int

    @property
    def exit_status(self) -> int:
        return 0


async def vacuum(destination: Location, *, before: Instant, now: Instant, dry_run: bool = False) -> Vacuumed:
    """Deletes the files that were replaced before an instant, and that no newest version of a table needs.

    Raises `DestinationError` where there is no export, `DestinationLockedError` when another run is at work,
    `ForeignTableError` for a table that others have written to, and `StoreError`.
    """
    async with open_store(destination) as store:
        state = await load_state(store)
        if state.request is None:
            raise DestinationError(f"{destination}: no export here")
        if dry_run:
            gone = await expire(store, state, _replaced(state, before), dry_run=True)
            return await _vacuumed(store, state, gone)

        async def work(run: Run) -> Vacuumed:
            async with holding(store, run) as held:
                return await _vacuum(store, held.log, before, now)

        return await recorded(store, "vacuum", work)


async def _vacuum(store: Store, log: CommitLog, before: Instant, now: Instant) -> Vacuumed:
    state = log.state
    await check_not_behind(store, state)
    await write_tables(store, state)
    # The tables first: a version that is still listed has its files.
    gone = await expire(store, state, _replaced(state, before), dry_run=False)
    done = await _vacuumed(store, state, gone)
    if gone:
        after = await log.append(committed_at=now, kind="vacuum", forgets=tuple(sorted(gone)))
        garbage = await find_garbage(store, after)
        await check_not_overtaken(store, after)
        await write_manifest(store, after, schemas=table_schemas(after.request or Request()), removed=garbage)
    return done


def _replaced(state: State, before: Instant) -> frozenset[str]:
    return replaced_before(state.replaced, before) & state.kept


async def _vacuumed(store: Store, state: State, gone: Collection[str]) -> Vacuumed:
    size_bytes = sum((await store.sizes(gone)).values())
    return Vacuumed(files=len(gone), bytes=size_bytes, kept_files=len(state.kept) - len(gone))
