"""Finds the recordings of a partition that have no final row yet: what is listed with one, and what may get one late.

Only some columns are read. What has its row is sorted out in Arrow, so that memory follows what is left.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread

from exporter.contract import SECOND, Instant
from exporter.coverage import Interval
from exporter.layout import CONVERSATIONS, RECORDINGS
from exporter.log.recordings import AGAIN
from exporter.log.state import State
from exporter.model import DataFile
from exporter.partitions import Partition
from exporter.parts.columns import (
    ID_COLUMN,
    RECORDING_COLUMN,
    SORT_COLUMN,
    STATUS_COLUMN,
    are_open,
    are_recorded,
)
from exporter.parts.reader import read_batches
from exporter.parts.recordings import OUTCOME_COLUMNS, read_outcomes
from exporter.pipeline.part_columns import columns_of
from exporter.store.base import Store

_COLUMNS: Final = (ID_COLUMN, SORT_COLUMN, STATUS_COLUMN, RECORDING_COLUMN)

#: What `encode.recordings.url_hash` makes of the URL of a recording, and its duration: what tells it from another one.
Mark: TypeAlias = tuple[str | None, float | None]
#: Returns the mark of a recording for the text of `recording_details`.
Identify: TypeAlias = Callable[[str], Mark]


class Left(msgspec.Struct, frozen=True):
    """Holds ids of conversations, with their `created_at`.

    Those that are `listed` have a recording and no final row, or a row of another recording. Those that may come `late`
    are over and young, and came without one. `marks` are what `identify` makes of the details with which the listed
    ones are stored. Those that are `changed` are listed, and another recording is stored of them.
    """

    listed: dict[str, Instant] = msgspec.field(default_factory=dict)
    late: dict[str, Instant] = msgspec.field(default_factory=dict)
    marks: dict[str, Mark] = msgspec.field(default_factory=dict)
    changed: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.listed) + len(self.late)

    def __add__(self, other: "Left") -> "Left":
        return Left(
            self.listed | other.listed,
            self.late | other.late,
            self.marks | other.marks,
            self.changed | other.changed,
        )


async def left_in(
    store: Store,
    state: State,
    partition: Partition,
    *,
    now: Instant,
    wait_seconds: float,
    identify: Identify,
    again: Collection[str] = AGAIN,
    rows_at_once: int = 100_000,
) -> AsyncIterator[Left]:
    """Yields what is left in a partition, from new to old and in pieces: of about `rows_at_once`, the last one of less.

    Rows whose status is in `again` are not final. `wait_seconds` is the age up to which a recording may come late.
    Raises `StoreError`.
    """
    late_from = now - round(wait_seconds * SECOND)
    of_partition = [file for file in state.files.values() if file.partition == partition]
    recordings = [file for file in of_partition if file.table == RECORDINGS]
    gathered = Left()
    for file in sorted(of_partition, key=lambda file: file.window, reverse=True):
        rows = Interval(file.created_at_min, file.created_at_max + 1)
        beside = [one for one in recordings if one.created_at_min < rows.end and rows.start <= one.created_at_max]
        is_tried_again = any(one.statuses.get(status) for one in beside for status in again)
        if file.table != CONVERSATIONS or not (is_tried_again or _may_lack_rows(file, late_from)):
            continue
        async with AsyncExitStack() as stack:
            paths = [await stack.enter_async_context(columns_of(store, one, OUTCOME_COLUMNS)) for one in beside]
            outcomes = await to_thread.run_sync(read_outcomes, paths, rows)
            part = await stack.enter_async_context(columns_of(store, file, _COLUMNS))
            found = _left_of(part, outcomes, late_from, identify, again)
            while (left := await to_thread.run_sync(partial(next, found, None))) is not None:
                gathered += left
                if len(gathered) >= rows_at_once:
                    yield gathered
                    gathered = Left()
    if gathered:
        yield gathered


def _may_lack_rows(file: DataFile, late_from: Instant) -> bool:
    return file.recorded_rows != 0 or (file.unrecorded_rows != 0 and file.created_at_max >= late_from)


def _left_of(
    part: Path, outcomes: pa.Table, late_from: Instant, identify: Identify, again: Collection[str]
) -> Iterator[Left]:
    """Yields what is left of each row group of a part of conversations; `outcomes` are the rows of recordings."""
    known = outcomes.column(OUTCOME_COLUMNS[0]).combine_chunks()
    retried = pa.array(sorted(again), pa.string())
    for batch in read_batches([part], _COLUMNS):
        place = pc.index_in(batch.column(ID_COLUMN), value_set=known)
        status = outcomes.column("status").combine_chunks().take(place)
        is_done = pc.and_(status.is_valid(), pc.invert(pc.is_in(status, retried)))
        recorded = are_recorded(batch)
        # A row says that there is a recording, though the conversation came without.
        is_listed = pc.and_(pc.or_(recorded, status.is_valid()), pc.invert(is_done))
        created_at = batch.column(SORT_COLUMN).cast(pa.int64())
        is_late = pc.and_(pc.greater_equal(created_at, late_from), pc.invert(pc.or_(recorded, are_open(batch))))
        is_late = pc.and_(is_late, status.is_null())
        listed, marks = _picked(batch, created_at, is_listed), dict[str, Mark]()
        changed = set[str]()
        if RECORDING_COLUMN in batch.schema.names:
            marks = {name: identify(details) for name, details in _details_of(batch, pc.and_(is_listed, recorded))}
            is_stored = pc.and_(pc.equal(status, "stored").fill_null(False), recorded)
            rows = outcomes.take(place.filter(is_stored)).to_pylist()
            for (name, details), row, at in zip(
                _details_of(batch, is_stored), rows, created_at.filter(is_stored).to_pylist(), strict=True
            ):
                if is_changed(mark := identify(details), (row["url_hash"], row["duration"])):
                    listed[name], marks[name] = at, mark
                    changed.add(name)
        yield Left(listed, _picked(batch, created_at, is_late), marks, frozenset(changed))


def is_changed(now: Mark, before: Mark) -> bool:
    """Returns whether a conversation has another recording than before; what either does not say is no change, and a
    row without the hash of a URL cannot tell."""
    if before[0] is None:
        return False
    return any(one is not None and other is not None and one != other for one, other in zip(now, before, strict=True))


def mark_of_row(served: Mark, stored: Mark) -> str | None:
    """Returns the hash to keep beside a recording that came from a link with the mark `served`, while the conversation
    is stored with another mark, or none.

    A row has changed if its conversation has changed since. So what is stored counts: where hosts sign the path of a
    link, or where a conversation was stored before its recording was replaced, `served` would differ from it for ever.
    """
    if None not in (served[1], stored[1]) and served[1] != stored[1]:
        return None
    return stored[0] or served[0]


def _details_of(batch: pa.RecordBatch, mask: pa.Array) -> Iterator[tuple[str, str]]:
    columns = (batch.column(name).filter(mask).to_pylist() for name in (ID_COLUMN, RECORDING_COLUMN))
    yield from zip(*columns, strict=True)


def _picked(batch: pa.RecordBatch, created_at: pa.Array, mask: pa.Array) -> dict[str, Instant]:
    ids = batch.column(ID_COLUMN).filter(mask).to_pylist()
    return dict(zip(ids, created_at.filter(mask).to_pylist(), strict=True))
