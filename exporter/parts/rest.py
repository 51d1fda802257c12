"""Writes what is left of a part that is no longer of an export, whatever its columns are. Blocking code."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from exporter.parts.reader import open_part
from exporter.parts.writer import PartWriter

_ROW_GROUP_BYTES: Final = 16 * 1024 * 1024


def write_rest(part: Path, staged: Path, table: str, column: str, without: Collection[str]) -> int:
    """Writes the rows of a part that have no such id in a column to a new file, and returns their number; there is no
    file if that is 0. Raises `StoreError`."""
    ids, rows = pa.array(sorted(without), pa.string()), 0
    with open_part(part) as file:
        writer = PartWriter(staged, file.schema_arrow, _ROW_GROUP_BYTES, table)
        try:
            for number in range(file.num_row_groups):
                for batch in file.read_row_group(number, use_threads=False).to_batches():
                    rest = batch.filter(pc.invert(pc.is_in(batch.column(column), ids)))
                    rows += rest.num_rows
                    writer.write(rest)
            if rows:
                writer.close()
            else:
                writer.abort()
        except BaseException:
            writer.abort()
            raise
    return rows
