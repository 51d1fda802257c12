"""Holds which conversations a commit has changed: neither their content nor that of their transcripts. Blocking code.

A row stands for a row of the table that went, came, or was replaced. `was_at` is the `created_at` that it had before
the commit, and null if it was not there; `created_at` is the one that it has afterwards, and null if it is gone. An id
may have several rows, because a conversation may have been in the table twice. Where one of its rows went and another
stayed, there is also a row for the one that stayed, with the same time twice: so the time of each row of the table
that has the id of a change is known, and rows with a `created_at` less those with a `was_at` is how many it has more.

What a commit newly covers has no row here: all that lies there is new, and the parts have it.
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from exporter.parts.cipher import current, writing_properties
from exporter.parts.columns import ID_COLUMN, SORT_COLUMN
from exporter.parts.reader import read_batches
from exporter.parts.writer import HashingFile, abandon
from exporter.store.disk import reporting

WAS_COLUMN: Final = "was_at"
_TIME: Final = pa.timestamp("us", tz="UTC")
SCHEMA: Final = pa.schema(
    [pa.field(ID_COLUMN, pa.string(), nullable=False), pa.field(WAS_COLUMN, _TIME), pa.field(SORT_COLUMN, _TIME)]
)
#: Rows that are held in memory at a time, with ids some 60 bytes each.
_GROUP_ROWS: Final = 2**16


def read_changes(file: Path) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a file of changes, which lies at a local path, with the columns of `SCHEMA`.

    Raises `UnreadableFileError`, and `UnreadablePartError` if no key of the current cipher opens it.
    """
    return read_batches([file])


class ChangesCounts(NamedTuple):
    """Counts the rows of a file that came, were replaced, and went."""

    inserted: int
    updated: int
    deleted: int

    def __str__(self) -> str:
        return f"{self.inserted:,} inserted, {self.updated:,} updated and {self.deleted:,} deleted"


def count_changes(file: Path) -> ChangesCounts:
    """Returns what a file of changes holds. Raises as `read_changes`."""
    inserted = updated = deleted = 0
    for rows in read_changes(file):
        came, went = rows.column(WAS_COLUMN).null_count, rows.column(SORT_COLUMN).null_count
        inserted, updated, deleted = inserted + came, updated + len(rows) - came - went, deleted + went
    return ChangesCounts(inserted, updated, deleted)


class WrittenChanges(msgspec.Struct, frozen=True):
    """Describes a file of changes that is whole and fsynced, still at its staging path. For the counts and `key`, see
    `model.ChangesFile`."""

    rows: int
    inserted: int
    deleted: int
    size_bytes: int
    sha256: str
    key: str

    @property
    def updated(self) -> int:
        return self.rows - self.inserted - self.deleted


class ChangesWriter:
    """Writes changes to a new private file at `staged`; threads may write at once.

    Raises `StoreError` from any method when the disk fails, after which only `abort` is of use. The file is encrypted
    as a part is.
    """

    def __init__(self, staged: Path) -> None:
        self._path = staged
        self._lock = Lock()
        self._gathered: list[pa.RecordBatch] = []
        self._rows = self._inserted = self._deleted = self._gathered_rows = 0
        cipher = current()
        self._key = "" if cipher is None else cipher.key_name
        with reporting(staged):
            self._file = HashingFile(staged)
            try:
                self._writer = pq.ParquetWriter(
                    self._file,
                    SCHEMA,
                    compression="zstd",
                    use_dictionary=False,
                    write_statistics=[WAS_COLUMN, SORT_COLUMN],
                    encryption_properties=writing_properties(SCHEMA),
                )
            except BaseException:
                self._file.discard()
                staged.unlink()
                raise

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows with the columns of `SCHEMA`."""
        if not batch.num_rows:
            return
        with self._lock:
            self._gathered.append(batch)
            self._gathered_rows += batch.num_rows
            self._rows += batch.num_rows
            self._inserted += batch.column(WAS_COLUMN).null_count
            self._deleted += batch.column(SORT_COLUMN).null_count
            if self._gathered_rows >= _GROUP_ROWS:
                self._write_gathered()

    def close(self) -> WrittenChanges:
        """Writes what is gathered and the footer, and fsyncs."""
        with self._lock, reporting(self._path):
            self._write_gathered()
            self._writer.close()
            self._file.finish()
        return WrittenChanges(self._rows, self._inserted, self._deleted, self._file.size, self._file.sha256, self._key)

    def abort(self) -> None:
        """Gives the file up and deletes it; safe at any time, also after an error."""
        self._gathered.clear()
        abandon(self._writer, self._file, self._path)

    def _write_gathered(self) -> None:
        if self._gathered:
            with reporting(self._path):
                self._writer.write_table(pa.Table.from_batches(self._gathered), row_group_size=_GROUP_ROWS)
            self._gathered.clear()
            self._gathered_rows = 0
