"""Finds which of the files that repairs have dropped are no longer needed.

A file whose bytes were damaged is needed until what it stood for has been read again. A file that was dropped with its
bytes as they were written may hold what the source has deleted since: it is needed as long as one of its conversations
is nowhere else.

Of recordings, a repair drops what is damaged: a part is of no use then, and media is needed until the same was fetched
again, which then has the path that it had; or, if it is encrypted and no path comes again, until every recording of its
partition has a row again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from anyio import to_thread

from exporter.coverage import Coverage
from exporter.errors import DamagedPartError, UnreadableFileError, UnreadablePartError
from exporter.layout import (
    DROPPED,
    RECORDINGS,
    dropped_path,
    is_encrypted,
    is_media,
    media_partition,
    undropped_path,
)
from exporter.log.dropped import DroppedFiles, is_filled
from exporter.log.quarantine import id_of
from exporter.log.recordings import is_looked_at
from exporter.log.state import State
from exporter.model import DataFile, ExportFile
from exporter.parts.ids import read_ids
from exporter.parts.integrity import as_written, opened
from exporter.pipeline.quarantine_files import read_lines
from exporter.store.base import Store


@dataclass(slots=True)
class Leftovers:
    """Names dropped files by the paths at which they are kept.

    The files in `waiting` stood for times that have not all been read again. Those in `needed` have conversations that
    are nowhere else, or cannot be read to find out. Those in `gone` may be deleted.
    """

    waiting: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


async def find_leftovers(store: Store, state: State) -> Leftovers:
    """Decides which dropped files are needed.

    Raises `StoreError`, and `DamagedPartError` for a damaged part that takes the place of what was dropped.
    """
    found = Leftovers()
    has_any = state.dropped or state.has_recordings
    there = frozenset(await store.list(DROPPED)) if has_any else frozenset[str]()
    for dropped in state.dropped:
        files = {dropped_path(dropped.run, path): file for path, file in dropped.files.items()}
        files = {path: msgspec.structs.replace(file, path=path) for path, file in files.items() if path in there}
        if not is_filled(dropped, state.coverage):
            found.waiting += files
            continue
        needed = await _find_needed(store, state, dropped, files.values())
        found.needed += needed
        found.gone += sorted(files.keys() - needed)
    recorded = {path: was for path in there if (was := undropped_path(path)) is not None}
    media = {path: was for path, was in recorded.items() if is_media(was)}
    again = await store.sizes(media.values())
    for path, was in sorted(media.items()):
        is_back = was in again or (is_encrypted(was) and is_looked_at(state, media_partition(was)))
        (found.gone if is_back else found.needed).append(path)
    found.gone += sorted(path for path, was in recorded.items() if was.startswith(f"{RECORDINGS}/"))
    return found


async def _find_needed(store: Store, state: State, dropped: DroppedFiles, files: Iterable[ExportFile]) -> set[str]:
    """Returns the dropped files with ids that no live file has for the times that the files may be from."""
    needed, lacking = set[str](), dict[str, set[str]]()
    for file in files:
        try:
            ids = await _ids_of(store, file)
        except DamagedPartError:
            continue
        except (UnreadableFileError, UnreadablePartError):
            needed.add(file.path)
            continue
        # A row is nearly always in the part that has taken this one's place; then no other part is read.
        window = dropped.holes if file.window is None else Coverage([file.window])
        if rest := await _without_live(store, state, window, ids):
            lacking[file.path] = rest
    everywhere = set[str]().union(*lacking.values())
    nowhere = await _without_live(store, state, dropped.holes, everywhere) if everywhere else set()
    return needed | {path for path, ids in lacking.items() if ids & nowhere}


async def _without_live(store: Store, state: State, within: Coverage, ids: set[str]) -> set[str]:
    """Returns those of `ids` that no conversation has, either in a part `within` or in quarantine."""
    rest = set(ids)
    for file in state.conversations:
        if rest and Coverage([file.window]) & within:
            async with opened(store, file) as path:
                rest -= await to_thread.run_sync(_read_ids, file, path)
    for quarantined in state.quarantine.values() if rest else ():
        rest -= await _ids_of(store, quarantined)
    return rest


async def _ids_of(store: Store, file: ExportFile) -> set[str]:
    if not isinstance(file, DataFile):
        return {id_of(line) for line in await read_lines(store, file)}
    async with as_written(store, file) as path:
        return await to_thread.run_sync(_read_ids, file, path)


def _read_ids(file: DataFile, path: Path) -> set[str]:
    return {identity for batch in read_ids(path, table=file.table) for identity in batch.drop_null().to_pylist()}
