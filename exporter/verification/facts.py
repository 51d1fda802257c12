"""Reads from the files of a destination the facts that `problems` judges. Blocking code.

A file is read from the disk once: right after it was hashed, the two columns that are decoded come from the page cache.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from exporter.contract import Instant
from exporter.layout import CONVERSATIONS, TURNS
from exporter.parts.columns import ID_COLUMN, ID_COLUMNS, INDEX_COLUMN, SORT_COLUMNS, is_of
from exporter.parts.reader import open_part

_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Content:
    """Describes what a part holds.

    `incomplete` counts the rows without id or time; `oldest` and `newest` are None if no row has a time. The rows are
    not looked at if the schema is not the expected one.
    """

    schema: pa.Schema
    rows: int = 0
    incomplete: int = 0
    descends: bool = True
    oldest: Instant | None = None
    newest: Instant | None = None


def read_content(
    path: Path,
    schema: pa.Schema | None,
    take_ids: Callable[[pa.Array], None],
    table: str = CONVERSATIONS,
    batch_rows: int = _BATCH_ROWS,
) -> Content:
    """Decodes ids and times of a part of `table` with `schema`, and gives `take_ids` batches of ids without nulls.

    Raises `UnreadableFileError`.
    """
    with open_part(path) as parquet:
        found = parquet.schema_arrow
        if schema is None or not is_of(found, schema):
            return Content(found)
        columns = [ID_COLUMNS[table], SORT_COLUMNS[table]]
        return _summarize(found, _batches(parquet, columns, batch_rows), take_ids)


def count_misplaced(turns: Path, conversations: Path, batch_rows: int = _BATCH_ROWS) -> int:
    """Returns the number of rows of a part of turns that are out of place. Both parts must have their schemas.

    The turns of each conversation of the other part must lie together, numbered from 0, in the conversations' order.
    Raises `UnreadableFileError`.
    """
    misplaced, last = 0, -1
    before: tuple[str | None, int] = (None, -1)
    with open_part(conversations) as parquet:
        known = parquet.read([ID_COLUMN], use_threads=False).column(0).combine_chunks()
    with open_part(turns) as parquet:
        for ids, numbers in _batches(parquet, [ID_COLUMNS[TURNS], INDEX_COLUMN], batch_rows):
            begins = pc.equal(numbers, 0)
            ids_before = pa.concat_arrays([pa.array([before[0]], pa.string()), ids[:-1]])
            numbers_before = pa.concat_arrays([pa.array([before[1]], pa.int64()), numbers[:-1]])
            follows = pc.and_(pc.equal(ids, ids_before), pc.equal(numbers, pc.add(numbers_before, 1)))
            misplaced += len(ids) - pc.or_kleene(begins, follows).true_count
            places = pc.fill_null(pc.index_in(ids.filter(begins), value_set=known), -1).cast(pa.int64())
            places_before = pa.concat_arrays([pa.array([last], pa.int64()), places[:-1]])
            misplaced += len(places) - pc.greater(places, places_before[: len(places)]).true_count
            before = ids[-1].as_py(), numbers[-1].as_py()
            last = places[-1].as_py() if len(places) else last
    return misplaced


def _batches(parquet: pq.ParquetFile, columns: list[str], rows: int) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Yields two columns, the second one as integers."""
    for batch in parquet.iter_batches(rows, columns=columns, use_threads=False):
        yield batch.column(columns[0]), batch.column(columns[1]).cast(pa.int64())


def _summarize(
    schema: pa.Schema, batches: Iterator[tuple[pa.Array, pa.Array]], take_ids: Callable[[pa.Array], None]
) -> Content:
    rows = incomplete = 0
    descends = True
    oldest: Instant | None = None
    newest: Instant | None = None
    last: Instant | None = None
    for ids, times in batches:
        rows += len(ids)
        incomplete += pc.or_(ids.is_null(), times.is_null()).true_count
        take_ids(ids.drop_null())
        times = times.drop_null()
        if not len(times):
            continue
        bounds = pc.min_max(times).as_py()
        descends = descends and pc.all(pc.less_equal(times[1:], times[:-1])).as_py() is not False
        descends = descends and (last is None or times[0].as_py() <= last)
        last = times[-1].as_py()
        oldest = bounds["min"] if oldest is None else min(oldest, bounds["min"])
        newest = bounds["max"] if newest is None else max(newest, bounds["max"])
    return Content(schema, rows, incomplete, descends, oldest, newest)
