"""Gathers which rows of conversations one commit changes, and publishes them as a file that it names."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec
import pyarrow as pa
from anyio import to_thread

from exporter.contract import Instant
from exporter.layout import CONVERSATIONS, changes_path
from exporter.model import ChangesFile, DataFile
from exporter.parts.changes import SCHEMA, ChangesWriter, read_changes
from exporter.parts.columns import ID_COLUMN, SORT_COLUMN
from exporter.parts.integrity import as_written
from exporter.parts.merge import MergePlan
from exporter.parts.reader import read_batches
from exporter.pipeline.part_columns import columns_of
from exporter.pipeline.part_stage import PartStage

#: What must be known of a row to tell that it is gone.
CHANGES_COLUMNS: Final = (ID_COLUMN, SORT_COLUMN)
_TIME: Final = SCHEMA.field(SORT_COLUMN).type


class Changes:
    """Gathers changes of a commit, whatever their number; threads may add some at once. Use `gathering`.

    Its methods block, and raise `StoreError`.
    """

    def __init__(self, stage: PartStage) -> None:
        self._stage = stage
        self._name = ""
        self._lock = Lock()
        self._writer: ChangesWriter | None = None

    def add(self, ids: pa.Array, was_at: pa.Array, created_at: pa.Array) -> None:
        """Adds rows, whose columns have the types of `SCHEMA`."""
        if len(ids):
            self._open().write(pa.RecordBatch.from_arrays([ids, was_at, created_at], schema=SCHEMA))

    def gone(self, rows: pa.RecordBatch) -> None:
        """Adds conversations that are taken away."""
        times = rows.column(SORT_COLUMN)
        self.add(rows.column(ID_COLUMN), times, pa.nulls(len(times), _TIME))

    def replaced(self, rows: pa.RecordBatch) -> None:
        """Adds conversations that change where they are."""
        times = rows.column(SORT_COLUMN)
        self.add(rows.column(ID_COLUMN), times, times)

    def all_gone(self, part: Path) -> None:
        """Adds all conversations of a part."""
        for rows in read_batches([part], CHANGES_COLUMNS):
            self.gone(rows)

    async def files_gone(self, files: Iterable[DataFile], *, checked: bool = False) -> None:
        """Adds all conversations of these parts, if they are of that table; `checked` makes sure of their bytes."""
        store, limiter = self._stage.store, self._stage.working
        for file in files:
            if file.table == CONVERSATIONS:
                async with (
                    as_written(store, file, limiter) if checked else columns_of(store, file, CHANGES_COLUMNS) as part
                ):
                    await to_thread.run_sync(self.all_gone, part, limiter=limiter)

    def copy(self, file: Path) -> None:
        """Adds all rows of another file."""
        for rows in read_changes(file):
            self.add(*rows.columns)

    async def publish(self) -> tuple[ChangesFile, ...]:
        """Publishes the file, and returns it for a commit to name; nothing if no row has changed."""
        writer = self._writer
        if writer is None:
            return ()
        done = await to_thread.run_sync(writer.close, limiter=self._stage.working)
        path = changes_path(self._name)
        await self._stage.store.publish(self._stage.store.staging_file(self._name), path)
        self._writer = None
        file = ChangesFile(
            path=path,
            rows=done.rows,
            size_bytes=done.size_bytes,
            sha256=done.sha256,
            inserted=done.inserted,
            updated=done.updated,
            deleted=done.deleted,
            key=done.key,
        )
        return (file,)

    def abort(self) -> None:
        """Gives up what was not published."""
        if self._writer is not None:
            self._writer.abort()

    def _open(self) -> ChangesWriter:
        with self._lock:
            if self._writer is None:
                self._name = self._stage.next_name()
                self._writer = ChangesWriter(self._stage.store.staging_file(self._name))
            return self._writer


@asynccontextmanager
async def gathering(stage: PartStage) -> AsyncIterator[Changes]:
    """Yields what gathers the changes of one commit, which are given up unless they are published in the block."""
    changes = Changes(stage)
    try:
        yield changes
    finally:
        changes.abort()


async def reseal_changes(stage: PartStage, files: Iterable[ChangesFile]) -> tuple[ChangesFile, ...]:
    """Writes files of changes again, under the key that is current, for a commit to put in place of the old ones.
    Nothing is committed. Raises `StoreError`."""
    made = list[ChangesFile]()
    for file in files:
        async with gathering(stage) as changes, as_written(stage.store, file, stage.working) as source:
            await to_thread.run_sync(changes.copy, source, limiter=stage.working)
            made += await changes.publish()
        made[-1] = msgspec.structs.replace(made[-1], in_place_of=file.path)
    return tuple(made)


class MergeChanges:
    """Adds what a merge does to all parts, by their `plans`, to `changes`."""

    def __init__(self, changes: Changes, plans: Collection[MergePlan]) -> None:
        self._changes = changes
        self._plans = plans
        self._left = set[str]().union(*(plan.left for plan in plans))
        #: Rows that come to a part from another one. The part that such a row leaves first takes it from here.
        self.moving = {name: plan.taken[name].created_at for plan in plans for name in plan.arriving & self._left}
        self.moved = frozenset(self.moving)

    def of_part(self, plan: MergePlan) -> "PartChanges":
        """Returns what takes the changes of one part, from one thread."""
        return PartChanges(self, self._changes, plan)

    @property
    def gone(self) -> set[str]:
        """Returns the ids that some part loses, and no part gains."""
        return self._left - self.moved

    def joined(self, staying: Mapping[str, Instant]) -> None:
        """Adds rows that stay as they are while another one of their id goes; `staying` are `created_at` by id."""
        names = self.gone.intersection(staying)
        names.difference_update(*(plan.taken for plan in self._plans if names))
        times = pa.array([staying[name] for name in names], _TIME)
        self._changes.add(pa.array(names, pa.string()), times, times)


class PartChanges:
    """Adds what a merge does to one part."""

    def __init__(self, merge: MergeChanges, changes: Changes, plan: MergePlan) -> None:
        self._merge, self._changes, self._plan = merge, changes, plan
        self._replaced = set[str]()

    def dropped(self, rows: pa.RecordBatch) -> None:
        """Adds rows that the part loses, with the ones that take their place."""
        ids, times = rows.column(ID_COLUMN), rows.column(SORT_COLUMN)
        self._changes.add(ids, times, pa.array(list(map(self._next_place, ids.to_pylist())), _TIME))

    def all_dropped(self, part: Path) -> None:
        """Adds all rows of the part."""
        for rows in read_batches([part], CHANGES_COLUMNS):
            self.dropped(rows)

    def came(self) -> None:
        """Adds rows that the part gains, except those that have moved from another one."""
        if names := sorted(self._plan.arriving - self._merge.moved):
            times = pa.array([self._plan.taken[name].created_at for name in names], _TIME)
            self._changes.add(pa.array(names, pa.string()), pa.nulls(len(names), _TIME), times)

    def _next_place(self, identity: str) -> Instant | None:
        taken = self._plan.taken.get(identity)
        if taken is None:
            return self._merge.moving.pop(identity, None)
        if identity in self._replaced:
            return None
        self._replaced.add(identity)
        return taken.created_at
