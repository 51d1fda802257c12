"""Counts the values that rows of parts lack, by which a field that the API has left out is known. Blocking code."""

from collections import Counter
from collections.abc import Collection, Sequence
from functools import reduce
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import FIELDS
from exporter.parts.columns import ID_COLUMN
from exporter.parts.reader import read_batches

_SENSITIVE: Final = tuple(field.name for field in FIELDS if field.sensitive)


class Nulls(msgspec.Struct):
    """Counts the null values of each column, and the rows that are null in every sensitive column."""

    by_column: Counter[str] = msgspec.field(default_factory=Counter)
    withheld_rows: int = 0

    def count(self, rows: pa.RecordBatch) -> None:
        self.by_column.update({name: rows.column(name).null_count for name in rows.schema.names})
        sensitive = [rows.column(name).is_null() for name in _SENSITIVE if name in rows.schema.names]
        if sensitive:
            self.withheld_rows += reduce(pc.and_, sensitive).true_count


def count_values(part: Path, ids: Collection[str], columns: Sequence[str]) -> Counter[str]:
    """Returns, by column, the number of rows with these ids that have a value in it. Raises `StoreError`."""
    pick = pa.array(sorted(ids), pa.string())
    values = Counter[str]()
    for batch in read_batches([part], [ID_COLUMN, *columns]):
        rows = batch.filter(pc.is_in(batch.column(ID_COLUMN), pick))
        values.update(
            {name: len(rows) - rows.column(name).null_count for name in rows.schema.names if name != ID_COLUMN}
        )
    return values


def sighted_rows(part: Path, most: int) -> list[str]:
    """Returns up to `most` ids of rows in which some sensitive field is not null. Raises `StoreError`."""
    found: list[str] = []
    for batch in read_batches([part]):
        sensitive = [batch.column(name).is_valid() for name in _SENSITIVE if name in batch.schema.names]
        if sensitive:
            found += batch.column(ID_COLUMN).filter(reduce(pc.or_, sensitive)).slice(0, most).to_pylist()
        if len(found) >= most:
            break
    return found[:most]
