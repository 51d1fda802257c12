"""`exporter compact` merges many small parts into few large ones. It asks the API nothing, and changes no row."""

import time
from collections.abc import Callable

import msgspec

from exporter.keys import NO_KEYS, Keys
from exporter.log.commits import load_state
from exporter.log.state import State, StateName, state_name
from exporter.pipeline.compaction import MERGED_AT_ONCE
from exporter.pipeline.recording_parts import choose_joins
from exporter.progress import Observer
from exporter.run.claim import holding
from exporter.run.encryption import find_cipher
from exporter.run.finish import check_whole, is_in_order, put_in_order
from exporter.run.protection import stored_tables
from exporter.run.reconcile import stored_export
from exporter.run.record import Run, recorded
from exporter.schedule.compaction import choose_merges
from exporter.settings import RunSettings
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store


class CompactResult(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the files and their `bytes`, before the run and after it. `rows` has not changed.

    `changed` says that the run committed something, even if only to put in order what an earlier run had left. `state`
    is that of the export, complete or not.
    """

    state: StateName
    rows: int
    files_before: int
    files: int
    bytes_before: int
    bytes: int
    generation: int
    seconds: float
    changed: bool

    @property
    def exit_status(self) -> int:
        return 0


async def compact(
    destination: Location,
    *,
    target_bytes: int,
    memory_bytes: int,
    observer: Observer,
    clock: Callable[[], float] = time.monotonic,
    keys: Keys = NO_KEYS,
) -> CompactResult:
    """Merges parts smaller than half of `target_bytes` with their neighbours, to about that size; parts of recordings,
    which are small, as far as they are worth it. Media is left alone. `keys` finds the key if turns are made with one.

    Raises `DestinationError` if there is no export, `ProtectionError` without its key, `DestinationLockedError` if
    another run is at work, `DamagedPartError` before anything is committed if a file is missing, and `StoreError` after
    everything that can be committed was.
    """
    settings = RunSettings(target_part_bytes=target_bytes, memory_bytes=memory_bytes, concurrency=MERGED_AT_ONCE)
    async with open_store(destination) as store:
        found = await load_state(store)
        # This comes before the lock, which would be made in any case.
        stored_export(found, destination)
        stored_tables(found, keys)
        return await recorded(store, "compact", lambda run: _compact(store, run, settings, observer, clock, keys))


async def _compact(
    store: Store, run: Run, settings: RunSettings, observer: Observer, clock: Callable[[], float], keys: Keys
) -> CompactResult:
    began, target_bytes = clock(), settings.target_part_bytes
    least_bytes = target_bytes // 2
    async with holding(store, run, find_cipher(keys, store.location)) as claim:
        before = claim.log.state
        await check_whole(store, before)
        small = choose_merges(before.conversations, before.coverage, least_bytes=least_bytes, target_bytes=target_bytes)
        if small or any(choose_joins(before.recordings)) or not await is_in_order(store, before):
            await put_in_order(claim, settings, observer, clock, least_bytes=least_bytes, keys=keys)
        return _compacted(before, claim.log.state, clock() - began)


def _compacted(before: State, after: State, seconds: float) -> CompactResult:
    return CompactResult(
        state=state_name(after),
        rows=after.totals.rows,
        files_before=before.totals.files,
        files=after.totals.files,
        bytes_before=before.totals.bytes,
        bytes=after.totals.bytes,
        generation=after.number,
        seconds=round(seconds, 3),
        changed=after.number > before.number,
    )
