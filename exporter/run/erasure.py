"""Takes away what an erasure has committed to, and proves that nothing is left.

Whatever order a kill leaves things in, the log alone says what must go: so each run takes it away, without any key.
That nothing is left is proven by reading every file again, which needs the key: the log does not say who was erased.
"""

from collections.abc import Iterable

import msgspec

from exporter.clock import wall_clock
from exporter.contract import to_datetime
from exporter.encode.tables import Tables
from exporter.errors import ForeignTableError, StoreError
from exporter.lake.follow import count_losing, let_go
from exporter.layout import CONVERSATIONS, DROPPED, QUARANTINE, RECORDINGS, is_media, undropped_path
from exporter.log.commits import CommitLog, check_not_overtaken
from exporter.log.erasures import Proof, decode_certificate, digest_of, encode_certificate, put_certificate
from exporter.log.privacy import PrivacyChange
from exporter.log.publish import list_files, publish, sweep
from exporter.log.state import Commit, State
from exporter.pipeline.erasure_scan import Sought, can_hold_rows, look_into
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.privacy import Erasure
from exporter.run.expiry import settle_tables
from exporter.settings import Request
from exporter.store.base import Store


async def take_away(store: Store, state: State, dropped: Iterable[str] = ()) -> list[str]:
    """Deletes what the log no longer names, after the manifest and the tables have let go of it, and these `dropped`
    files. Returns what is in the way: tables that others have written to. Unless an erasure is unfinished, tables only
    follow a whole range.

    The caller must hold the lock, and have committed. Raises `StoreError`.
    """
    schemas = Tables.of(state.request or Request()).schemas
    await publish(store, state, schemas=schemas, leaves_parts=True)
    in_the_way: list[str] = []
    try:
        await (let_go if state.privacy.unfinished else settle_tables)(store, state)
    except ForeignTableError as error:
        in_the_way.append(f"{error.where}: others have written to this table, and may have copied rows")
    await sweep(store, state, schemas=schemas)
    if state.has_recordings:
        garbage = await find_media_garbage(store, state, None)
        await check_not_overtaken(store, state)
        await store.delete(*garbage)
    await store.delete(*dropped)
    return in_the_way


async def count_versions(store: Store, state: State, files: Iterable[str]) -> int:
    """Returns how many versions of the tables need any of these files; 0 if others have written to a table."""
    try:
        return await count_losing(store, state, frozenset(files))
    except ForeignTableError:
        return 0


async def prove(store: Store, state: State, sought: Sought) -> tuple[Proof, set[str], list[str]]:
    """Reads every file of the destination that may hold a row, whether the log names it or not.

    Returns the proof, the ids that it found nevertheless, and what holds them or cannot be read. Raises `StoreError` if
    files cannot be listed.
    """
    held, ids = list[str](), set[str]()
    files = rows = lines = 0
    for path in filter(can_hold_rows, [*await list_files(store), *await store.list(DROPPED)]):
        try:
            look = await look_into(store, path, sought)
        except StoreError:
            held.append(f"{path}: cannot be read, so that nobody knows what it holds")
            continue
        files += 1
        if (undropped_path(path) or path).startswith(f"{QUARANTINE}/"):
            lines += look.size
        else:
            rows += look.size
        if look:
            ids |= look.ids
            held.append(f"{path}: still holds rows of what was erased")
    if state.has_recordings and await find_media_garbage(store, state, None):
        held.append("media: files that no row names")
    proof = Proof(at=to_datetime(wall_clock()), files=files, rows=rows, quarantine_lines=lines)
    return proof, ids, held


async def note_proof(store: Store, log: CommitLog, proof: Proof) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Writes the proof into the certificate of each erasure that is not finished, and commits that it is. Returns their
    paths, and what is in the way. Raises `StoreError`."""
    finished = list[str]()
    for path in [erasure.certificate for erasure in log.state.privacy.unfinished]:
        data = await store.read(path)
        certificate = None if data is None else decode_certificate(data)
        if certificate is None:
            return tuple(finished), (f"{path}: no certificate any more, so that its erasure stays unfinished",)
        data = encode_certificate(msgspec.structs.replace(certificate, proof=proof))
        await put_certificate(store, path, data)
        done = Erasure(certificate=path, sha256=digest_of(data), finished=True)
        await log.append(committed_at=wall_clock(), kind="erase", privacy=PrivacyChange(erasure=done))
        finished.append(path)
    return tuple(finished), ()


def dropped_of_no_use(paths: Iterable[str], partitions: Iterable[str]) -> list[str]:
    """Returns which dropped files are damaged for good: parts of recordings, and media in these partitions, of which
    nobody can tell any more to whom it belonged."""
    places = {*partitions}
    found = []
    for path in paths:
        was = undropped_path(path) or path
        if was.startswith(f"{RECORDINGS}/") or (is_media(was) and _partition_of(was) in places):
            found.append(path)
    return found


def taken_by_unfinished(commits: Iterable[Commit], state: State) -> set[str]:
    """Returns the files that erasures have replaced that are not finished: since then, a repair may have put aside what
    lay beside them."""
    unfinished = {erasure.certificate for erasure in state.privacy.unfinished}
    taken = set[str]()
    for commit in commits:
        erasure = None if commit.privacy is None else commit.privacy.erasure
        if erasure is not None and erasure.certificate in unfinished:
            taken.update(commit.change.removes, commit.forgets)
    return taken


def partitions_of(paths: Iterable[str]) -> set[str]:
    """Returns the partitions, as they are in paths, of these parts of conversations."""
    return {_partition_of(path) for path in paths if path.startswith(f"{CONVERSATIONS}/")}


def _partition_of(path: str) -> str:
    return path.partition("/")[2].rpartition("/")[0]
