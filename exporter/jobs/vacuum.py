"""`exporter vacuum` deletes replaced files, the versions of tables that need them, what repairs have dropped, media
that no row names, and old files of changes.

It asks the API nothing.
"""

from collections.abc import Collection

import msgspec

from exporter.contract import Instant
from exporter.encode.tables import Tables
from exporter.keys import NO_KEYS, Keys
from exporter.lake.follow import expire, write_tables
from exporter.log.commits import CommitLog, check_not_overtaken, load_state
from exporter.log.dropped import is_filled
from exporter.log.publish import sweep
from exporter.log.replaced import replaced_before
from exporter.log.state import State
from exporter.model import Change
from exporter.parts.cipher import using
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.run.claim import holding
from exporter.run.encryption import find_cipher_if_here
from exporter.run.finish import check_whole
from exporter.run.leftovers import Leftovers, find_leftovers
from exporter.run.reconcile import stored_export
from exporter.run.record import Run, recorded
from exporter.settings import Request
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store


class VacuumResult(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the replaced `files` that were deleted, or would be, and their `bytes`; `kept_files` are left.

    `dropped_files` and `dropped_bytes` are the same for files that repairs have dropped. `dropped_waiting` counts those
    that are kept because not everything that they stood for was read again; `dropped_needed` are the paths of those
    that are kept because they alone hold some conversation or recording. `media_files` and `media_bytes` are recordings
    that no row names. `changes_files` and `changes_bytes` tell what earlier commits have changed, and `changes_from` is
    the earliest generation since which all changes are still told.
    """

    files: int
    bytes: int
    kept_files: int
    dropped_files: int = 0
    dropped_bytes: int = 0
    dropped_waiting: int = 0
    dropped_needed: tuple[str, ...] = ()
    media_files: int = 0
    media_bytes: int = 0
    changes_files: int = 0
    changes_bytes: int = 0
    changes_from: int = 0

    @property
    def exit_status(self) -> int:
        return 0


async def vacuum(
    destination: Location, *, before: Instant, now: Instant, dry_run: bool = False, keys: Keys = NO_KEYS
) -> VacuumResult:
    """Deletes the files that were replaced before an instant and that the newest version of no table needs, and those
    that repairs have dropped, if nothing needs them any longer; and media that no row names, whatever its age: older
    versions of a table may name some that is gone. Also deletes files that tell what commits before that instant have
    changed.

    Raises `DestinationError` if there is no export, `DestinationLockedError` if another run is at work,
    `OvertakenError` if another run has gone on with the export meanwhile, `ForeignTableError` for a table that others
    have written to, `DamagedPartError` if a file is missing, because a file that would be deleted may be wanted in its
    place, and `StoreError`. Without the key, encrypted files that repairs have dropped are kept.
    """
    async with open_store(destination) as store:
        state = await load_state(store)
        stored_export(state, destination)
        cipher_of = find_cipher_if_here(keys)
        if dry_run:
            await check_whole(store, state)
            gone = await expire(store, state, _replaced(state, before), dry_run=True)
            with using(cipher_of(state)):
                media = await find_media_garbage(store, state, None)
                leftovers = await find_leftovers(store, state)
            return await _vacuumed(store, state, gone, leftovers, media, state.feed.outdated(before))

        async def work(run: Run) -> VacuumResult:
            async with holding(store, run, cipher_of) as held:
                return await _vacuum(store, held.log, before, now)

        return await recorded(store, "vacuum", work)


async def _vacuum(store: Store, log: CommitLog, before: Instant, now: Instant) -> VacuumResult:
    state = log.state
    await check_whole(store, state)
    await write_tables(store, state)
    leftovers = await find_leftovers(store, state)
    # The tables come first, so that every version that is still listed has its files.
    gone = await expire(store, state, _replaced(state, before), dry_run=False)
    media = await find_media_garbage(store, state, None)
    outdated = state.feed.outdated(before)
    done = await _vacuumed(store, state, gone, leftovers, media, outdated)
    if gone or outdated:
        change = Change(outdates=tuple(outdated))
        after = await log.append(committed_at=now, kind="vacuum", change=change, forgets=tuple(sorted(gone)))
        await sweep(store, after, schemas=Tables.of(after.request or Request()).schemas)
    if leftovers.gone or media:
        await check_not_overtaken(store, log.state)
        await store.delete(*leftovers.gone, *media)
    return done


def _replaced(state: State, before: Instant) -> frozenset[str]:
    """Returns the files replaced before an instant, without those that a repair dropped and no run has read again."""
    waiting = (dropped.files for dropped in state.dropped if not is_filled(dropped, state.coverage))
    return (replaced_before(state.replaced, before) & state.kept).difference(*waiting)


async def _vacuumed(
    store: Store,
    state: State,
    gone: Collection[str],
    leftovers: Leftovers,
    media: Collection[str],
    outdated: Collection[str],
) -> VacuumResult:
    return VacuumResult(
        files=len(gone),
        bytes=sum((await store.sizes(gone)).values()),
        kept_files=len(state.kept) - len(gone),
        dropped_files=len(leftovers.gone),
        dropped_bytes=sum((await store.sizes(leftovers.gone)).values()),
        dropped_waiting=len(leftovers.waiting),
        dropped_needed=tuple(leftovers.needed),
        media_files=len(media),
        media_bytes=sum((await store.sizes(media)).values()),
        changes_files=len(outdated),
        changes_bytes=sum(state.changes[path].size_bytes for path in outdated),
        changes_from=state.feed.start_without(outdated),
    )
