"""Reads rows of parts where they lie, on a disk or in an object store, without the row groups that nobody wants.

Blocking code. It copies no part, so that few rows of a large part in an object store cost few requests.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from exporter.contract import Instant
from exporter.errors import UnreadableFileError
from exporter.model import DataFile
from exporter.parts.cipher import Cipher, open_parquet, using
from exporter.parts.columns import SORT_COLUMNS
from exporter.parts.reader import describe_error
from exporter.store.base import Store
from exporter.store.filesystem import open_filesystem
from exporter.store.location import Location, parts_inside

#: Says whether rows of this first and this last time are wanted.
Wants = Callable[[Instant, Instant], bool]

#: Rows of a row group that are decoded at a time. A row group is cut by bytes, so that it fits into memory.
_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class PartRows:
    """Reads parts of the export at `location`; `ciphers` are those by the name of a part's key."""

    location: Location
    filesystem: fs.FileSystem
    prefix: str
    ciphers: Mapping[str, Cipher]

    @classmethod
    def of(cls, store: Store, ciphers: Mapping[str, Cipher]) -> "PartRows":
        return cls(store.location, *open_filesystem(store), ciphers)

    def read(self, file: DataFile, columns: Collection[str] | None, wants: Wants) -> Iterator[pa.RecordBatch]:
        """Yields the rows of the wanted row groups, or these columns of them, as far as the part has them.

        Raises `UnreadableFileError`, `UnreadablePartError` for a part that no key opens, and `StoreError`.
        """
        where = self.location / file.path
        path = f"{self.prefix}{'/'.join(parts_inside(self.location, file.path))}"
        try:
            with self.filesystem.open_input_file(path) as source:
                # What the caller does between two batches must not see this cipher.
                with using(self.ciphers.get(file.key)):
                    part = open_parquet(source, where)
                names = part.schema_arrow.names
                for number in range(part.num_row_groups):
                    if wants(*_times_of(part.metadata.row_group(number), file)):
                        yield from part.iter_batches(
                            _BATCH_ROWS,
                            row_groups=[number],
                            columns=[name for name in names if columns is None or name in columns],
                            use_threads=False,
                        )
        except FileNotFoundError as error:
            raise UnreadableFileError(
                where, "it is no longer there; another command may have replaced it meanwhile"
            ) from error
        except (OSError, MemoryError, pa.ArrowException) as error:
            raise UnreadableFileError(
                where, describe_error(error, where if isinstance(where, Path) else None)
            ) from error


def _times_of(rows: pq.RowGroupMetaData, file: DataFile) -> tuple[Instant, Instant]:
    """Returns the first and the last time of a row group, or those of its part if it does not say."""
    columns = map(rows.column, range(rows.num_columns))
    times = next((one.statistics for one in columns if one.path_in_schema == SORT_COLUMNS[file.table]), None)
    if times is None or not times.has_min_max:
        return file.created_at_min, file.created_at_max
    return times.min_raw, times.max_raw
