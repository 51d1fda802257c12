"""Writes an answer to a file: CSV, JSON or Parquet, a batch at a time. Blocking code."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from exporter.errors import UsageError
from exporter.jobs.feed_output import gathered
from exporter.query.connection import Answer
from exporter.query.text import objects_of, texts_of
from exporter.settings import QueryFormat
from exporter.store.disk import reporting

#: A batch of transcripts is taken in pieces of this many rows, because its text takes several times its memory.
_PIECE_ROWS: Final = 256


def write_answer(answer: Answer, file: BinaryIO, where: Path, as_: QueryFormat) -> int:
    """Writes all rows of an answer to an open file, and returns their number. Messages name `where` it is.

    JSON is an array with an object a row, a line each. Raises the errors of `Query.stream`; `StoreError` if the file
    fails, and `UsageError` for what the format cannot hold.
    """
    with reporting(where):
        match as_:
            case "csv":
                rows = _write_csv(answer, file)
            case "json":
                rows = _write_json(answer, file)
            case "parquet":
                rows = _write_parquet(answer, file)
        file.flush()
    return rows


def _write_csv(answer: Answer, file: BinaryIO) -> int:
    names, rows = answer.schema.names, 0
    file.write(_csv([pa.nulls(0, pa.string())] * len(names), names, has_header=True))
    file.flush()  # rows may take long to come
    for batch in answer.batches:
        columns = [texts_of(column, name) for name, column in zip(names, batch.columns, strict=True)]
        file.write(_csv(columns, names, has_header=False))
        rows += batch.num_rows
    return rows


def _csv(columns: list[pa.Array], names: list[str], *, has_header: bool) -> Any:
    sink = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=has_header, quoting_style="needed")
    csv.write_csv(pa.RecordBatch.from_arrays(columns, names=names), sink, options)
    return sink.getvalue()


def _write_json(answer: Answer, file: BinaryIO) -> int:
    _check_names(answer.schema)
    rows = 0
    for batch in answer.batches:
        for start in range(0, batch.num_rows, _PIECE_ROWS):
            lines = list(objects_of(batch.slice(start, _PIECE_ROWS)))
            file.write((b",\n" if rows else b"[\n") + b",\n".join(lines))
            rows += len(lines)
    file.write(b"\n]\n" if rows else b"[]\n")
    return rows


def _write_parquet(answer: Answer, file: BinaryIO) -> int:
    _check_names(answer.schema)
    rows = 0
    with (
        _of_parquet(),
        pq.ParquetWriter(file, answer.schema, compression="zstd") as writer,
        gathered(writer) as write,
    ):
        for batch in answer.batches:
            write(batch)
            rows += batch.num_rows
    return rows


@contextmanager
def _of_parquet() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise UsageError(f"Parquet has no type for a column ({error}). Cast it to VARCHAR") from error


def _check_names(schema: pa.Schema) -> None:
    """Raises `UsageError` if columns share a name, which a reader would take for one."""
    name, count = Counter(schema.names).most_common(1)[0]
    if count > 1:
        raise UsageError(f"{count} columns are called {name[:80]}: give them names of their own, with AS")
