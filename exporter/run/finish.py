"""Finishes a run: sweeps what no commit names, and writes a manifest that says what the export holds."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from anyio import to_thread

from exporter.clock import wall_clock
from exporter.encode.tables import Tables
from exporter.errors import DamagedPartError
from exporter.keys import NO_KEYS, Keys
from exporter.lake.follow import are_written, write_tables
from exporter.log.commits import CommitLog
from exporter.log.journal import has_ended
from exporter.log.manifest import check_not_behind, is_sealed
from exporter.log.publish import SURVEYED
from exporter.log.state import State
from exporter.model import TableFormat
from exporter.parts.integrity import have_sizes, missized
from exporter.pipeline.committer import Committer
from exporter.pipeline.compaction import merge_small_parts
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_parts import join_recordings
from exporter.progress import Observer
from exporter.run.claim import Claim
from exporter.run.protection import stored_tables
from exporter.run.reconcile import stored_export
from exporter.run.remains import may_remain
from exporter.settings import FileMode, Request, RunSettings
from exporter.store.base import Store
from exporter.store.local.modes import has_file_mode
from exporter.store.location import shell_word

#: From this size on, the cost that each part adds to a reading is small beside the reading itself.
_LEAST_PART_BYTES: Final = 16 * 1024 * 1024


def least_part_bytes(target_bytes: int) -> int:
    """Returns the size below which parts are merged, if their partition could fill one of `target_bytes`."""
    return min(_LEAST_PART_BYTES, target_bytes // 2)


async def check_whole(store: Store, state: State, there: Mapping[str, int] | None = None) -> None:
    """Checks that what a run builds on exists: the commits that the manifest rests on, and every file at its size.
    `there` is as in `check_files`.

    Raises `DamagedLogError` and `DamagedPartError`.
    """
    await check_not_behind(store, state)
    await check_files(store, state, there)


async def check_files(store: Store, state: State, there: Mapping[str, int] | None = None) -> None:
    """Checks that every file that a run builds on exists at its size, by a survey of what is `there` if there is one.
    Raises `DamagedPartError`."""
    if await have_sizes(store, state.by_path.sizes()):
        return
    for path, damage in (await missized(store, dict(state.by_path.sizes()), there)).items():
        raise DamagedPartError(store.location / path, damage.detail, shell_word(store.location), damage.kind)


async def is_in_order(store: Store, state: State, there: Collection[str] | None = None) -> bool:
    """Returns whether `put_in_order` has nothing to do except merging. `there` is as in `is_sealed`. Raises
    `StoreError`."""
    schemas = Tables.of(state.request or Request()).schemas
    if await may_remain(store, state):
        return False
    if not await is_sealed(store, state, schemas=schemas, there=there) or not await are_written(store, state):
        return False
    # A run that was killed may have left recordings that no row names.
    return not state.has_recordings or await has_ended(store, state.runs[-1])


async def has_asked_mode(store: Store, state: State, asked: FileMode | None) -> bool:
    """Returns whether the export has the file mode that is `asked` for. Raises `StoreError`."""
    if asked is None or not isinstance(store.location, Path):
        return True
    return asked == state.file_mode and await to_thread.run_sync(has_file_mode, store.location, asked)


async def seal(
    log: CommitLog,
    stage: PartStage,
    committer: Committer,
    observer: Observer,
    *,
    least_bytes: int | None = None,
    goes_on: bool = False,
) -> None:
    """Merges parts below `least_bytes` (`least_part_bytes` by default), and brings manifest and tables up to date.

    `goes_on` says that another run will soon add what is created after the range. The partition that this falls into is
    then merged so that what each run writes is in proportion to what it adds, and keeps some small parts until a later
    range ends beyond it. Raises `StoreError`.
    """
    range_ = log.state.range
    growing = stage.tables.place(range_.end)[0] if goes_on and range_ else None
    if least_bytes is None:
        least_bytes = least_part_bytes(stage.target_part_bytes)
    await merge_small_parts(log, stage, committer, observer, least_bytes=least_bytes, growing=growing)
    await committer.write_manifest()
    await write_tables(stage.store, log.state, observer)


async def put_in_order(
    claim: Claim,
    settings: RunSettings,
    observer: Observer,
    clock: Callable[[], float],
    *,
    least_bytes: int | None = None,
    table_format: TableFormat | None = None,
    file_mode: FileMode | None = None,
    keeps_recordings: bool | None = None,
    keys: Keys = NO_KEYS,
) -> None:
    """Does everything that a run does except reading: sweeps what no commit names, joins small parts of recordings, and
    seals.

    `least_bytes` is as in `seal`. `table_format` is for an export that has none yet, and `file_mode` for all that is
    there and will be; `keeps_recordings` says what runs do from now on. `keys` finds the key
    if turns are made with one. Raises `StoreError`, and `DestinationError` if there is no export.
    """
    store, log = claim.store, claim.log
    stored_export(log.state, store.location)
    tables = stored_tables(log.state, keys)
    there = await store.survey(SURVEYED)
    await check_whole(store, log.state, there)
    fresh = table_format if log.state.table_format is None else None
    file_mode = await claim.set_file_mode(file_mode)
    await log.append(
        committed_at=wall_clock(),
        kind="resume",
        table_format=fresh,
        file_mode=file_mode,
        keeps_recordings=None if keeps_recordings == log.state.keeps_recordings else keeps_recordings,
    )
    committer = Committer(store, log, tables.schemas, observer, clock)
    claim.publish = committer.write_manifest
    await committer.sweep(may_wait=True, there=there)
    stage = claim.stage(tables, settings, clock)
    await join_recordings(log, stage, committer)
    await seal(log, stage, committer, observer, least_bytes=least_bytes)
