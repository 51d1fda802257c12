"""Writes rows of tables as CSV or JSON Lines, from which each value can be read back exactly. Pure, except for `Text`.

A time is ISO 8601 in UTC with six digits of the second, a number has as many digits as tell it apart, and a text is as
it is stored, also where it is JSON. In CSV, a text has quotes and a null has none; a struct is a JSON object.
"""

from collections.abc import Iterator
from functools import lru_cache
from gzip import GzipFile
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from exporter.settings import Compression, TextFormat
from exporter.store.disk import reporting

#: How the names of compressed files end.
ENDINGS: Final[dict[Compression, str]] = {"none": "", "gzip": ".gz", "zstd": ".zst"}
#: A level above takes a third longer, for one percent.
_GZIP_LEVEL: Final = 6
#: Rows are taken together up to this size in memory. They need several times as much on the way.
_CHUNK_BYTES: Final = 8 << 20
_T_PLACE: Final = len("2026-02-10")
_encoder: Final = msgspec.json.Encoder()

_Bytes: TypeAlias = bytes | bytearray | pa.Buffer


class Text:
    """Writes rows to `file` as text, compressed or not; `close` writes the rest, and leaves the file open.

    `bytes` counts what the file has got. Raises `StoreError`, which says `where`, if the file fails.
    """

    def __init__(
        self, file: BinaryIO, where: Path, schema: pa.Schema, as_: TextFormat, compression: Compression
    ) -> None:
        self._where = where
        self._format = as_
        self._file = _Counted(file)
        self._stream = _compressed(self._file, compression)
        with reporting(where):
            self._stream.write(header(schema, as_))

    def write(self, batch: pa.RecordBatch) -> None:
        with reporting(self._where):
            for chunk in _chunks(batch):
                self._stream.write(encode(chunk, self._format))

    def close(self) -> None:
        with reporting(self._where):
            self._stream.close()
            self._file.flush()

    @property
    def bytes(self) -> int:
        return self._file.bytes


def header(schema: pa.Schema, as_: TextFormat) -> _Bytes:
    """Returns what stands before the first row."""
    if as_ == "jsonl":
        return b""
    return _csv(pa.RecordBatch.from_arrays([pa.nulls(0, pa.string())] * len(schema), names=schema.names), True)


def encode(batch: pa.RecordBatch, as_: TextFormat) -> _Bytes:
    """Returns rows as text, each with a line feed at its end."""
    if as_ == "csv":
        columns = [_objects(column) if pa.types.is_struct(column.type) else column for column in _spelled(batch)]
        return _csv(pa.RecordBatch.from_arrays(columns, names=batch.schema.names), False)
    row = _row_type(tuple(batch.schema.names))
    columns = [column.to_pylist() for column in _spelled(batch)]
    return _encoder.encode_lines([row(*values) for values in zip(*columns, strict=True)])


def _chunks(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    rows = max(1, batch.num_rows * _CHUNK_BYTES // max(1, batch.nbytes))
    return (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _spelled(batch: pa.RecordBatch) -> Iterator[pa.Array]:
    """Yields the columns, with times and dates as texts."""
    for column in batch.columns:
        if pa.types.is_timestamp(column.type):
            text = column.cast(pa.timestamp("us")).cast(pa.string())
            text = pc.utf8_replace_slice(text, _T_PLACE, _T_PLACE + 1, "T")
            yield pc.binary_join_element_wise(text, "Z", "")
        elif pa.types.is_date(column.type):
            yield column.cast(pa.string())
        else:
            yield column


def _objects(column: pa.Array) -> pa.Array:
    texts = [None if value is None else _encoder.encode(value).decode() for value in column.to_pylist()]
    return pa.array(texts, pa.string())


def _csv(batch: pa.RecordBatch, has_header: bool) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=has_header, quoting_style="needed"))
    return sink.getvalue()


@lru_cache(maxsize=16)
def _row_type(names: tuple[str, ...]) -> type[msgspec.Struct]:
    return msgspec.defstruct("Row", names, gc=False)


def _compressed(file: "_Counted", compression: Compression) -> Any:
    match compression:
        case "gzip":
            return GzipFile(fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)
        case "zstd":
            return pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd")
    return file


class _Counted:
    """Counts what is written to a file, and does not close it."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes = 0

    def write(self, data: _Bytes) -> int:
        self._file.write(data)
        size = memoryview(data).nbytes
        self.bytes += size
        return size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        pass
