"""`exporter rekey` encrypts all files of an export with another key. It asks the API nothing, and changes no row.

A first commit says which key is to be, and puts under it what is small: the quarantine, and files of changes; each
further one puts some parts in place of others. What is left is what names another key, or none, so that the same
command finishes what was cut short. Until then other runs are refused, because each would need both keys.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec
from anyio import to_thread

from exporter.clock import wall_clock
from exporter.errors import ExporterError, ProtectionError, StoreError, UsageError
from exporter.keys import Key, Keys, with_check
from exporter.layout import CONVERSATIONS, DROPPED, RECORDINGS, TURNS, conversations_path, part_path
from exporter.log.commits import check_not_overtaken, load_commits
from exporter.log.fold import fold
from exporter.log.privacy import PrivacyChange
from exporter.log.state import Commit, State
from exporter.media_cipher import check_installed
from exporter.model import Change, DataFile
from exporter.parts.cipher import Cipher, current
from exporter.parts.integrity import as_written
from exporter.parts.rewrite import rewrite_part
from exporter.pipeline.changes import reseal_changes
from exporter.pipeline.committer import Committer
from exporter.pipeline.compaction import MERGED_AT_ONCE
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import reseal_lines
from exporter.pipeline.recording_reseal import reseal
from exporter.privacy import Encryption, KeyReference
from exporter.progress import Observer
from exporter.run.claim import Claim, holding
from exporter.run.finish import check_whole
from exporter.run.protection import stored_tables
from exporter.run.reconcile import stored_export
from exporter.run.record import Run, recorded
from exporter.settings import RunSettings
from exporter.store.base import Store
from exporter.store.location import Location, shell_word
from exporter.store.open import open_store
from exporter.tasks import for_each

#: About this much is stored twice at a time: old parts are deleted before more are written.
_TWICE_BYTES: Final = 1024**3


class RekeyResult(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the parts, as `files`, that were written again with the `key` of this name, and their `bytes`; `all_files`
    are those of the export. `quarantine_files` and `changes_files` were written again as well, and `media_files` of
    recordings.

    `forgotten` counts the replaced files that were kept, and are deleted, because they had another key or none;
    `dropped` those that repairs have put aside, which stay as they are.
    """

    key: str
    files: int
    bytes: int
    all_files: int
    forgotten: int
    dropped: int
    quarantine_files: int
    changes_files: int
    media_files: int
    generation: int
    seconds: float

    @property
    def exit_status(self) -> int:
        return 3 if self.dropped else 0


async def rekey(
    destination: Location,
    *,
    new_key: Key,
    keys: Keys,
    memory_bytes: int,
    observer: Observer,
    clock: Callable[[], float] = time.monotonic,
) -> RekeyResult:
    """Encrypts all parts with `new_key`, in the way in which they were; if they were plain, whole. `keys` has the key
    that they were encrypted with.

    Raises `DestinationError` if there is no export, `ProtectionError` for a key that is missing or wrong, `UsageError`
    if the new key has the name or the bytes of the old one, and for an export with tables, `DestinationLockedError` if
    another run is at work, `DamagedPartError`, and `StoreError`. What was written until then is committed.
    """
    settings = RunSettings(memory_bytes=memory_bytes, concurrency=MERGED_AT_ONCE)
    async with open_store(destination) as store:
        commits = await load_commits(store)
        found = fold(commits)
        stored_export(found, destination)  # before the lock, which would be made even if there is no export
        _ciphers(found, commits, new_key, keys, destination)
        work = partial(_rekey, store, settings=settings, new_key=new_key, keys=keys, observer=observer, clock=clock)
        return await recorded(store, "rekey", work)


async def _rekey(
    store: Store,
    run: Run,
    *,
    settings: RunSettings,
    new_key: Key,
    keys: Keys,
    observer: Observer,
    clock: Callable[[], float],
) -> RekeyResult:
    began, commits = clock(), await load_commits(store)
    async with holding(store, run, lambda state: _ciphers(state, commits, new_key, keys, store.location)) as claim:
        before = claim.log.state
        stored_export(before, store.location)
        await check_whole(store, before)
        pending = [file for file in before.files.values() if file.key != new_key.name]
        quarantine = [file for file in before.quarantine.values() if file.key != new_key.name]
        changes = [file for file in before.changes.values() if file.key != new_key.name]
        # As long as a file is pending, what is kept for readers of older manifests has another key.
        forgotten = tuple(sorted(before.kept)) if pending or quarantine else ()
        encrypts_audio = claim.encryption is not None and claim.encryption.recordings == "encrypted"
        tables = stored_tables(before, keys)
        committer = Committer(store, claim.log, tables.schemas, observer, clock)
        if pending or quarantine or changes or claim.encryption != before.privacy.encryption:
            stage = claim.stage(tables, settings, clock)
            await claim.log.append(
                committed_at=wall_clock(),
                kind="rekey",
                privacy=PrivacyChange(encryption=claim.encryption),
                change=msgspec.structs.replace(
                    await reseal_lines(stage, quarantine),
                    changed=await reseal_changes(stage, changes),
                    outdates=tuple(file.path for file in changes),
                ),
                forgets=forgotten,
            )
            await committer.sweep()
            await _rewrite_all(claim, stage, committer, pending, observer)
        # What was cut short may have left files, of either key or of none, that no commit names.
        await committer.sweep()
        after = claim.log.state
        if after.has_recordings:
            garbage = await find_media_garbage(store, after, None)
            await check_not_overtaken(store, after)
            await store.delete(*garbage)
        return RekeyResult(
            key=new_key.name,
            files=len(pending),
            bytes=sum(file.size_bytes for file in pending),
            all_files=after.totals.files,
            forgotten=len(forgotten),
            dropped=len(await store.list(DROPPED)),
            quarantine_files=len(quarantine),
            changes_files=len(changes),
            media_files=sum(file.media_files for file in pending) if encrypts_audio else 0,
            generation=after.number,
            seconds=round(clock() - began, 3),
        )


async def _rewrite_all(
    claim: Claim, stage: PartStage, committer: Committer, pending: Sequence[DataFile], observer: Observer
) -> None:
    async def rewrite(files: Sequence[DataFile]) -> None:
        change = Change(adds=await _rewritten(stage, files), removes=tuple(file.path for file in files))
        await committer.commit(change, kind="rekey")

    for batch in _batches(claim.log.state, pending):
        observer.note("encrypting files", files=sum(map(len, batch)))
        # A reader that trusts `_SUCCESS` would count the rows of old and new parts.
        await committer.unseal()
        try:
            await for_each(batch, rewrite, at_once=MERGED_AT_ONCE)
        except ExporterError:
            with suppress(StoreError):
                await committer.write_manifest()
            raise
        # It also deletes media that has been encrypted again.
        await committer.sweep()


def _batches(state: State, pending: Sequence[DataFile]) -> Iterator[list[list[DataFile]]]:
    """Yields groups of parts of about `_TWICE_BYTES`; turns lie in one group with their conversations, because they
    share a name."""
    batch: list[list[DataFile]] = []
    paths = {conversations_path(file.path) if file.table == TURNS else file.path for file in pending}
    for file in sorted((state.files[path] for path in paths), key=lambda file: (file.window, file.path)):
        beside = state.turns_beside(file) if file.table == CONVERSATIONS else []
        batch.append([file, *beside])
        if sum(one.size_bytes + one.media_bytes for group in batch for one in group) >= _TWICE_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


async def _rewritten(stage: PartStage, files: Sequence[DataFile]) -> tuple[DataFile, ...]:
    """Publishes new parts with the rows of `files`, which lie beside each other, and media that is encrypted. Nothing
    is committed."""
    cipher = current()
    if files[0].table == RECORDINGS and cipher is not None and cipher.encryption.recordings == "encrypted":
        return (await reseal(stage, files[0], *cipher.keys),)
    name, found = stage.next_name(), []
    for file in files:
        staged = stage.store.staging_file(f"{name}-{file.table}")
        schema = stage.tables.schemas[file.table]
        async with as_written(stage.store, file, stage.working) as source:
            work = partial(rewrite_part, source, file, staged, schema, stage.row_group_bytes)
            written = await to_thread.run_sync(work, limiter=stage.working)
        path = part_path(file.table, file.partition, name)
        found.append((staged, msgspec.structs.replace(written, path=path)))
    for staged, file in found:
        await stage.store.publish(staged, file.path)
    return tuple(file for _, file in found)


def _ciphers(state: State, commits: Sequence[Commit], new_key: Key, keys: Keys, destination: Location) -> Cipher:
    """Returns what writes with the new key, and reads what is encrypted with another one.

    Raises `ProtectionError` and `UsageError` as `rekey`.
    """
    if state.table_format is not None:
        raise UsageError(
            f"{destination}: has Delta or Iceberg tables, and no reader of these decrypts their files. "
            "Export to a new destination"
        )
    encryption = _next_encryption(state, new_key, destination)
    check_installed()
    references = _references(commits)
    names = {file.key for files in (state.files, state.quarantine, state.changes) for file in files.values()}
    names -= {"", new_key.name}
    old = [keys.data(references.get(name, KeyReference(name=name))) for name in sorted(names)]
    if any(key.secret == new_key.secret for key in old):
        raise UsageError("the new key is the old one: exporter keygen makes another")
    return Cipher(encryption, new_key, *old)


def _next_encryption(state: State, new_key: Key, destination: Location) -> Encryption:
    stored = state.privacy.encryption
    if stored is None:
        reference = with_check(KeyReference(name=new_key.name), new_key)
        return Encryption(key=reference)
    if stored.key.name == new_key.name:
        if stored.key.check != new_key.check:
            raise ProtectionError(
                f"{destination}: its key {new_key.name} is another one than the new key. Give that another name"
            )
        return stored
    if any(file.key != stored.key.name for file in state.files.values()):
        raise ProtectionError(
            f"{destination}: not all of it is encrypted with {stored.key.name} yet.\n"
            f"exporter rekey {shell_word(destination)} --to {stored.key.name} finishes that first"
        )
    reference = msgspec.structs.replace(stored.key, name=new_key.name)
    return msgspec.structs.replace(stored, key=with_check(reference, new_key))


def _references(commits: Sequence[Commit]) -> dict[str, KeyReference]:
    """Returns all keys that the export was ever encrypted with, by name."""
    changes = (commit.privacy for commit in commits)
    return {
        change.encryption.key.name: change.encryption.key
        for change in changes
        if change is not None and change.encryption is not None
    }
