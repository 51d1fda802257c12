"""Repairs recordings for a verification: takes out the rows whose media is damaged, so that the next run asks again.

The source may no longer have a recording, and damaged audio may still be worth hearing. So nothing is deleted that a
row has named: it is moved aside, before the commit. Afterwards a run that is killed would leave it where the next run
finds it, takes it for the recording that it fetches again, because names and sizes are the same, and keeps the damage.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread

from exporter.contract import Instant
from exporter.layout import RECORDINGS, dropped_path, is_media, media_directory
from exporter.log.commits import check_not_overtaken
from exporter.log.state import State
from exporter.model import Change, DataFile
from exporter.parts.columns import ID_COLUMNS
from exporter.parts.integrity import opened
from exporter.parts.reader import read_batches
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_parts import without_rows
from exporter.run.claim import Claim
from exporter.store.base import Store
from exporter.verification.inspection import Inspection

_DAMAGED: Final = ("missing", "size", "sha256")
_ID: Final = ID_COLUMNS[RECORDINGS]


@dataclass(slots=True)
class RecordingLoss:
    """Says what a repair takes out of recordings: whole `parts`, `media` that is damaged, and the rows that name it.

    `missing` is the media of these that is not there. Of the `repeated` parts, rows go whose id another row has.
    """

    parts: tuple[str, ...] = ()
    media: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, findings: Inspection, parts: tuple[str, ...]) -> "RecordingLoss":
        """Returns the loss; `parts` are spoiled."""
        loss = cls(parts)
        for problem in findings.problems:
            if is_media(problem.file) and problem.what in _DAMAGED:
                loss.media.add(problem.file)
                if problem.what == "missing":
                    loss.missing.add(problem.file)
            elif is_repeated(findings.state, problem.file, problem.what) and problem.file not in parts:
                loss.repeated.add(problem.file)
        return loss

    @property
    def drops(self) -> tuple[str, ...]:
        """Returns the files that are moved aside."""
        return (*self.parts, *sorted(self.media - self.missing))

    def __bool__(self) -> bool:
        return bool(self.parts or self.media or self.repeated)


def is_repeated(state: State, path: str, what: str) -> bool:
    """Returns whether a problem is that rows of recordings share an id: it is no reason to give up the others."""
    return what == "duplicate" and path in state.files and state.files[path].table == RECORDINGS


async def repair_recordings(claim: Claim, stage: PartStage, loss: RecordingLoss, now: Instant) -> int:
    """Commits what `loss` says, and returns the number of rows of recordings that this takes out.

    The caller sweeps. Raises `StoreError`.
    """
    store, log = claim.store, claim.log
    state = log.state
    if not loss:
        return 0
    dropped: dict[str, set[str]] = await _repeated_rows(store, state, loss.repeated)
    directories = {path.rpartition("/")[0] for path in loss.media}
    for file in state.recordings:
        if file.path in loss.parts or media_directory(file.partition) not in directories:
            continue
        async with opened(store, file) as part:
            ids = await to_thread.run_sync(_naming, part, loss.media)
        if ids:
            dropped.setdefault(file.path, set()).update(ids)
    adds = [await without_rows(stage, state.files[path], ids) for path, ids in sorted(dropped.items())]
    await check_not_overtaken(store, state)
    for path in sorted(loss.media - loss.missing):
        await store.move(path, dropped_path(claim.run, path))
    removes = (*loss.parts, *sorted(dropped))
    change = Change(adds=tuple(file for file in adds if file is not None), removes=removes)
    after = await log.append(committed_at=now, kind="repair", change=change)
    for path in loss.parts:
        if path not in after.kept:
            await store.move(path, dropped_path(claim.run, path))
    return sum(state.files[path].rows for path in removes) - sum(file.rows for file in change.adds)


async def sweep_media(store: Store, state: State, run: str, before: State, parts: Collection[str]) -> None:
    """Deletes the media that no row names, except what `parts`, which were dropped, may have named: that is moved
    aside."""
    directories = {media_directory(before.files[path].partition) for path in parts}
    garbage = await find_media_garbage(store, state, None)
    for path in garbage:
        if path.rpartition("/")[0] in directories:
            await store.move(path, dropped_path(run, path))
    await store.delete(*(path for path in garbage if path.rpartition("/")[0] not in directories))


def _naming(part: Path, media: Collection[str]) -> set[str]:
    """Returns the ids of the rows that name `media`. Blocks."""
    wanted, found = pa.array(sorted(media), pa.string()), set[str]()
    for batch in read_batches([part], [_ID, "path"]):
        found.update(batch.filter(pc.is_in(batch.column("path"), wanted)).column(_ID).to_pylist())
    return found


async def _repeated_rows(store: Store, state: State, parts: Iterable[str]) -> dict[str, set[str]]:
    """Returns the ids to drop, by part: of the rows with one id, the one that was stored last stays."""
    best: dict[str, tuple[bool, int, str]] = {}
    drops: dict[str, set[str]] = {}

    def look(file: DataFile, part: Path) -> None:
        for batch in read_batches([part], [_ID, "status", "fetched_at"]):
            times = batch.column("fetched_at").cast(pa.int64()).to_pylist()
            statuses = batch.column("status").to_pylist()
            for identity, status, fetched_at in zip(batch.column(_ID).to_pylist(), statuses, times, strict=True):
                rank = (status == "stored", fetched_at or 0, file.path)
                known = best.get(identity)
                if known is not None:
                    drops.setdefault(min(rank, known)[2], set()).add(identity)
                best[identity] = rank if known is None else max(rank, known)

    for path in sorted(parts):
        file = state.files[path]
        async with opened(store, file) as part:
            await to_thread.run_sync(partial(look, file, part))
    return drops
