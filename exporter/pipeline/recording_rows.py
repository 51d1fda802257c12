"""Keeps the rows of recordings: publishes their media, and commits them by the minute.

A row goes in this order, so that a process killed between any two steps leaves nothing but garbage to sweep: its media
is published; the part that holds the row is published; the commit; the manifest; then media that no row names any
longer is deleted. Media has the name of its content, so that the same audio twice in a partition is one file.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from anyio import CancelScope, to_thread

from exporter.contract import Instant
from exporter.encode.recordings import RecordingRow as RecordingRow
from exporter.layout import media_path, partition_text
from exporter.log.commits import CommitLog
from exporter.model import Change, Counters, DataFile
from exporter.partitions import Partition
from exporter.parts.integrity import opened
from exporter.parts.recordings import recording_ids
from exporter.pipeline.committer import Committer
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_parts import join_recordings, publish_recordings

#: A killed run loses no more rows than it has added since its last commit.
COMMIT_SECONDS: Final = 60.0
COMMIT_ROWS: Final = 1000
#: The ids of this many partitions stay in memory, some 40 bytes each.
_KNOWN_PARTITIONS: Final = 8


class RecordingRows:
    """Takes the rows of one run, from any number of tasks. Each method raises `StoreError`.

    `added` counts the rows of this run by status, and `media_files` and `media_bytes` what it has stored; both count
    audio that was there already. `spent` returns what the run has cost until now, as `Committer.commit` takes it.
    """

    def __init__(
        self,
        log: CommitLog,
        stage: PartStage,
        committer: Committer,
        clock: Callable[[], float] = time.monotonic,
        *,
        spent: Callable[[], Counters | None] = lambda: None,
        rows_at_once: int = COMMIT_ROWS,
    ) -> None:
        self.added: Final = Counter[str]()
        self.media_files = self.media_bytes = 0
        self._log: Final = log
        self._stage: Final = stage
        self._committer: Final = committer
        self._clock: Final = clock
        self._spent: Final = spent
        self._rows_at_once: Final = rows_at_once
        self._turn: Final = anyio.Lock()
        #: The rows that no commit has yet, by conversation; and when the oldest of them came.
        self._waiting: dict[str, RecordingRow] = {}
        self._waits_since: float | None = None
        self._looked: dict[str, int] = {}
        self._touched: dict[str, Partition] = {}
        #: By partition and path, the ids in parts; the partition that was used last is the last.
        self._known: dict[str, dict[str, pa.Array]] = {}

    async def add(self, row: RecordingRow, staged: Path | None = None, extension: str = "bin") -> None:
        """Publishes the media that is `staged`, whole and fsynced, and keeps the row, which gets its path.

        A row replaces an earlier one of the same conversation. It is in the log after the next `commit`, which this
        makes when it is time.
        """
        if staged is not None:
            if row.sha256 is None:
                raise ValueError("media needs a hash")
            path = media_path(self._stage.tables.place(row.conversation_created_at)[0], row.sha256, extension)
            await self._stage.store.publish_media(staged, path)
            row = msgspec.structs.replace(row, path=path)
            self.media_files += 1
            self.media_bytes += row.bytes or 0
        self.added[row.status] += 1
        self._waiting[row.conversation_id] = row
        if self._waits_since is None:
            self._waits_since = self._clock()
        await self.commit_due()

    async def have(self, conversation_id: str, created_at: Instant) -> bool:
        """Returns whether a conversation that was created then has a row, in the log or waiting for it."""
        async with self._turn:
            if conversation_id in self._waiting:
                return True
            partition, _ = self._stage.tables.place(created_at)
            ids = pa.array([conversation_id], pa.string())
            return bool(await self._parts_with(partition_text(partition), ids))

    def looked(self, partition: Partition, number: int) -> None:
        """Notes that each recording of a partition has its row, as its conversations were after commit `number`."""
        self._looked[partition_text(partition)] = number

    async def commit_due(self) -> None:
        """Commits if it is time; does nothing if another task is committing."""
        if self._waits_since is None or self._turn.locked():
            return
        if len(self._waiting) >= self._rows_at_once or self._clock() - self._waits_since >= COMMIT_SECONDS:
            await self.commit()

    async def commit(self) -> None:
        """Returns when all rows that were added are in the log."""
        async with self._turn:
            waiting, self._waiting, self._waits_since = self._waiting, {}, None
            looked, self._looked = self._looked, {}
            try:
                with CancelScope(shield=True):
                    await self._commit(waiting, looked)
            except BaseException:
                self._waiting, self._looked = waiting | self._waiting, looked | self._looked
                self._waits_since = self._clock() if self._waiting else None
                raise

    async def finish(self) -> None:
        """Commits, joins small parts, brings the manifest up to date, and deletes media that no row names, wherever
        this run has added rows.

        The caller must hold the destination's lock and add nothing more, and no other task may commit meanwhile.
        """
        await self.commit()
        partitions = list(self._touched.values())
        await join_recordings(self._log, self._stage, self._committer, partitions)
        await self._committer.write_manifest()
        garbage = await find_media_garbage(self._stage.store, self._log.state, partitions)
        await self._stage.store.delete(*garbage)

    async def _commit(self, waiting: dict[str, RecordingRow], looked: dict[str, int]) -> None:
        state = self._log.state
        news = {
            text: number
            for text, number in looked.items()
            if state.looked_at.get(text, -1) < state.changed_at.get(text, 0)
        }
        if not waiting and not news:
            return
        by_partition: dict[str, tuple[Partition, list[RecordingRow]]] = {}
        for row in waiting.values():
            partition, _ = self._stage.tables.place(row.conversation_created_at)
            by_partition.setdefault(partition_text(partition), (partition, []))[1].append(row)
        adds: list[DataFile] = []
        removes: list[DataFile] = []
        for text, (partition, rows) in by_partition.items():
            replaced = await self._parts_with(text, pa.array([row.conversation_id for row in rows], pa.string()))
            adds.append(await publish_recordings(self._stage, partition, replaced, rows))
            removes += replaced
            self._touched[text] = partition
        change = Change(adds=tuple(adds), removes=tuple(file.path for file in removes), looked_at=news)
        await self._committer.commit(change, self._spent(), kind="recordings")

    async def _parts_with(self, text: str, ids: pa.Array) -> list[DataFile]:
        """Returns the live parts of a partition that have a row of any of these conversations."""
        before = self._known.pop(text, {})
        known: dict[str, pa.Array] = {}
        files = [file for file in self._log.state.recordings if partition_text(file.partition) == text]
        for file in files:
            if file.path in before:
                known[file.path] = before[file.path]
                continue
            async with opened(self._stage.store, file) as part:
                known[file.path] = await to_thread.run_sync(recording_ids, part, limiter=self._stage.working)
        self._known[text] = known
        if len(self._known) > _KNOWN_PARTITIONS:
            del self._known[next(iter(self._known))]
        return [file for file in files if pc.any(pc.is_in(known[file.path], ids)).as_py()]
