"""Writes a part once and hashes it on the way; this is the Parquet edge for writing. Call it from a worker thread.

Row groups are cut by bytes in memory, because a reader holds a row group's column whole. zstd level 2: on JSON like
transcripts it gave the size of level 3 (27 % of memory) at 1.6 times the speed, and 4 % less than level 1.
"""

import hashlib
import io
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from exporter.contract import Instant
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS
from exporter.parts.cipher import current, writing_properties
from exporter.parts.columns import SORT_COLUMNS, are_open, are_recorded, leaf_columns
from exporter.store.disk import fsync, open_private, reporting

_ZSTD_LEVEL = 2
#: The size of a page is checked after this many rows. A page of transcripts stays near 1 MB, so that the page index can
#: lead to one of them; with Arrow's 1024 rows it would be 10 times that. A transcript has a dozen turns.
_ROWS_PER_LOOK: Final = {CONVERSATIONS: 64, TURNS: 1024, RECORDINGS: 1024}
#: Arrow writes each header and page apart, a hundred times a part, and each write that leaves it takes the interpreter.
_BUFFER_BYTES: Final = 256 * 1024
#: A byte in memory becomes this many on disk, until a row group has shown it.
_EXPECTED_RATIO = 0.3

#: Columns with few values: a dictionary makes them nearly free. In others it would be built only to be dropped.
_DICTIONARY: Final = frozenset(
    {
        "organization_id",
        "agent_id",
        "agent_version_id",
        "agent.id",
        "agent.name",
        "web_widget_id",
        "trunk_id",
        "agent_number",
        "direction",
        "channel",
        "status",
        "type",
        "role",
        "tool_name",
        "conversation_id",
        "reason",
        "content_type",
    }
)
#: A dictionary leaves so little of these that 1,000 rows became no smaller by compression, which took a sixth of the
#: time of writing a part without transcripts. 60,000 rows take 0.2 % more without it.
_UNCOMPRESSED: Final = frozenset(
    {"organization_id", "agent_id", "agent.id", "agent.name", "web_widget_id", "trunk_id", "agent_number"}
    | {"direction", "channel"}
)
#: Other texts are short and looked up by value. Minima and maxima of long texts and JSON would help no reader.
_LOOKED_UP: Final = frozenset({"id", "user_id", "conversation_id", "call_id"})


class WrittenPart(msgspec.Struct, frozen=True):
    """Describes a part that is whole and fsynced, still at its staging path. For the counts and `key`, see
    `model.DataFile`."""

    rows: int
    size_bytes: int
    sha256: str
    created_at_min: Instant
    created_at_max: Instant
    open_rows: int
    recorded_rows: int
    unrecorded_rows: int
    key: str


class Writer(Protocol):
    """Takes the rows of a table, which have `schema`, from new to old."""

    @property
    def schema(self) -> pa.Schema: ...

    def write(self, batch: pa.RecordBatch) -> None: ...


class PartWriter:
    """Writes record batches of one `schema` to a new private file at `staged`, in the descending order of `table`.

    `row_group_bytes` are bytes in memory; a row group is closed before it would be larger. Raises `StoreError` from any
    method when the disk fails, after which only `abort` is of use; `ValueError` for rows out of order. The part is
    encrypted if there is a cipher where the writer is made (`cipher.using`).
    """

    def __init__(self, staged: Path, schema: pa.Schema, row_group_bytes: int, table: str = CONVERSATIONS) -> None:
        self.schema: Final = schema
        self._path = staged
        self._row_group_bytes = row_group_bytes
        self._sort_column = SORT_COLUMNS[table]
        self._gathered: list[pa.RecordBatch] = []
        self._gathered_bytes = 0
        self._written_bytes = 0
        self._rows = 0
        self._open_rows = self._recorded_rows = self._unrecorded_rows = 0
        self._counts = table == CONVERSATIONS
        cipher = current()
        self._key = "" if cipher is None else cipher.key_name
        self._newest: Instant | None = None
        self._oldest: Instant | None = None
        with reporting(staged):
            self._file = HashingFile(staged)
            try:
                self._stream = pa.BufferedOutputStream(pa.PythonFile(self._file, "w"), _BUFFER_BYTES)
                self._writer = _open(self._stream, schema, table, writing_properties(schema))
            except BaseException:
                self._file.discard()
                staged.unlink()
                raise

    @property
    def size_bytes(self) -> int:
        """Returns the bytes on disk, plus an estimate of what the gathered rows will add."""
        ratio = self._file.size / self._written_bytes if self._written_bytes else _EXPECTED_RATIO
        return self._file.size + round(self._gathered_bytes * ratio)

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows, none of them newer than the last row before."""
        if batch.num_rows == 0:
            return
        self._note_order(batch)
        # Only the bytes of the slice count: a page's batch is cut at partitions, and its parts share buffers.
        size = batch.nbytes
        if self._gathered and self._gathered_bytes + size > self._row_group_bytes:
            self._write_gathered()
        self._gathered.append(batch)
        self._gathered_bytes += size
        self._rows += batch.num_rows
        if self._counts:
            self._count(batch)
        # If as much again would not fit, which is to be expected of the next batch, this one need not wait for it.
        if self._gathered_bytes + size > self._row_group_bytes:
            self._write_gathered()

    def close(self) -> WrittenPart:
        """Writes what is gathered and the footer, and fsyncs. Raises `ValueError` for a part without rows: abort it."""
        if self._newest is None or self._oldest is None:
            raise ValueError("a part needs a row")
        self._write_gathered()
        with reporting(self._path):
            self._writer.close()
            self._stream.flush()
            self._file.finish()
        return WrittenPart(
            rows=self._rows,
            size_bytes=self._file.size,
            sha256=self._file.sha256,
            created_at_min=self._oldest,
            created_at_max=self._newest,
            open_rows=self._open_rows,
            recorded_rows=self._recorded_rows,
            unrecorded_rows=self._unrecorded_rows,
            key=self._key,
        )

    def abort(self) -> None:
        """Gives the part up and deletes its file; safe at any time, also after an error and after `abort`."""
        self._gathered.clear()
        abandon(self._writer, self._file, self._path)

    def _write_gathered(self) -> None:
        if not self._gathered:
            return
        table = pa.Table.from_batches(self._gathered)
        # One batch alone may be larger than a row group.
        row_groups = -(-self._gathered_bytes // self._row_group_bytes)
        with reporting(self._path):
            self._writer.write_table(table, row_group_size=max(1, -(-table.num_rows // row_groups)))
            self._stream.flush()
        self._written_bytes += self._gathered_bytes
        self._gathered.clear()
        self._gathered_bytes = 0

    def _count(self, batch: pa.RecordBatch) -> None:
        open_, recorded = are_open(batch), are_recorded(batch)
        self._open_rows += open_.true_count
        self._recorded_rows += recorded.true_count
        self._unrecorded_rows += batch.num_rows - pc.or_(open_, recorded).true_count

    def _note_order(self, batch: pa.RecordBatch) -> None:
        times = batch.column(self._sort_column).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        newest, oldest = times[0].as_py(), times[-1].as_py()
        descends = pc.all(pc.less_equal(times[1:], times[:-1])).as_py() is not False
        if not descends or times.null_count or (self._oldest is not None and newest > self._oldest):
            # The file says that it is sorted; readers that believe it would lose rows.
            raise ValueError(f"{self._sort_column} must descend")
        if self._newest is None:
            self._newest = newest
        self._oldest = oldest


def _open(file: Any, schema: pa.Schema, table: str, encryption: Any = None) -> pq.ParquetWriter:
    return pq.ParquetWriter(file, schema, **_layout_of(schema, table), encryption_properties=encryption)


@lru_cache(maxsize=8)
def _layout_of(schema: pa.Schema, table: str) -> dict[str, Any]:
    """Returns how the columns of a table are written, as `pq.ParquetWriter` takes it."""
    leaves = leaf_columns(schema)
    compressed = [path for path, _ in leaves if path not in _UNCOMPRESSED]
    return {
        "compression": {path: "zstd" if path in compressed else "none" for path, _ in leaves},
        "compression_level": dict.fromkeys(compressed, _ZSTD_LEVEL),
        "use_dictionary": [path for path, _ in leaves if path in _DICTIONARY],
        "write_statistics": [path for path, type_ in leaves if _worth_statistics(path, type_)],
        "write_page_index": True,
        "write_batch_size": _ROWS_PER_LOOK[table],
        "sorting_columns": pq.SortingColumn.from_ordering(schema, [(SORT_COLUMNS[table], "descending")]),
    }


def size_of_part(schema: pa.Schema, batches: Iterable[pa.RecordBatch], table: str = CONVERSATIONS) -> int:
    """Returns how many bytes a part with these rows would take; it is written in memory alone."""
    file = io.BytesIO()
    with _open(file, schema, table) as writer:
        writer.write_table(pa.Table.from_batches(batches, schema))
    return file.getbuffer().nbytes


class HashingFile:
    """Gives Arrow a new private file to write to. After `discard`, it swallows what is still written."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def closed(self) -> bool:
        return False

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        length = len(left)
        if self._descriptor is not None:
            while left:
                written = os.write(self._descriptor, left)
                self._hash.update(left[:written])
                self.size += written
                left = left[written:]
        return length

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Does nothing, because nothing is held back."""

    def finish(self) -> None:
        if self._descriptor is not None:
            fsync(self._descriptor)
            self.discard()

    def discard(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def close(self) -> None:
        """Does nothing: Arrow closes what it has written to, but `finish` and `discard` decide here."""


def _worth_statistics(path: str, type_: pa.DataType) -> bool:
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    return not is_text or path in _DICTIONARY or path in _LOOKED_UP


def abandon(writer: pq.ParquetWriter, file: HashingFile, staged: Path) -> None:
    """Gives up what `writer` writes to `file`, and deletes it from `staged`. Raises `StoreError`."""
    file.discard()
    # Arrow wants to write a footer, which goes nowhere now. After a failed write it may refuse to.
    with suppress(OSError, pa.ArrowException):
        writer.close()
    writer.is_open = False
    with reporting(staged):
        staged.unlink(missing_ok=True)
