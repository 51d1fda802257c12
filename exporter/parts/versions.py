"""Reads the versions of rows in parts: their ids and times alone. Blocking code."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import Instant
from exporter.coverage import Coverage
from exporter.parts.columns import ID_COLUMN, OPEN_STATUS_ARRAY, SORT_COLUMN, STATUS_COLUMN, UPDATED_COLUMN
from exporter.parts.reader import read_batches

VERSION_COLUMNS: Final = (ID_COLUMN, SORT_COLUMN, UPDATED_COLUMN)
#: Rows that are converted at a time: as Python objects they take some 200 bytes each.
_BATCH_ROWS: Final = 16_384

#: The ids, `created_at` and `updated_at` of rows, from new to old.
_Versions: TypeAlias = tuple[Sequence[str], Sequence[Instant], Sequence[Instant | None]]


def read_versions(parts: Iterable[Path], within: Coverage) -> Iterator[_Versions]:
    """Yields the versions of rows created `within`; the parts must be given from new to old. Raises `StoreError`."""
    starts = [interval.start for interval in within]
    ends = [interval.end for interval in within]

    def holds(instant: Instant) -> bool:
        position = bisect_right(starts, instant) - 1
        return position >= 0 and instant < ends[position]

    for whole in read_batches(parts, VERSION_COLUMNS):
        for offset in range(0, whole.num_rows, _BATCH_ROWS):
            batch = whole.slice(offset, _BATCH_ROWS)
            ids = batch.column(ID_COLUMN).to_pylist()
            created_at = batch.column(SORT_COLUMN).cast(pa.int64()).to_pylist()
            updated_at = batch.column(UPDATED_COLUMN).cast(pa.int64()).to_pylist()
            keep = list(map(holds, created_at))
            if all(keep):
                yield ids, created_at, updated_at
            elif any(keep):
                yield list(compress(ids, keep)), list(compress(created_at, keep)), list(compress(updated_at, keep))


def versions_in(paths: Iterable[Path]) -> Iterator[tuple[str, Instant, Instant | None]]:
    """Yields the id, `created_at` and `updated_at` of all rows. Raises `StoreError`."""
    for batch in read_batches(paths, VERSION_COLUMNS):
        times = [batch.column(name).cast(pa.int64()).to_pylist() for name in (SORT_COLUMN, UPDATED_COLUMN)]
        yield from zip(batch.column(ID_COLUMN).to_pylist(), *times, strict=True)


def open_rows(part: Path) -> dict[str, Instant]:
    """Returns the conversations that were not over when they were read: `created_at` by id. Raises `StoreError`."""
    found: dict[str, Instant] = {}
    for batch in read_batches([part], [ID_COLUMN, SORT_COLUMN, STATUS_COLUMN]):
        rows = batch.filter(pc.is_in(batch.column(STATUS_COLUMN), OPEN_STATUS_ARRAY))
        times = rows.column(SORT_COLUMN).cast(pa.int64()).to_pylist()
        found.update(zip(rows.column(ID_COLUMN).to_pylist(), times, strict=True))
    return found
