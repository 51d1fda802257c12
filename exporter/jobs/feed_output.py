"""Writes the rows of a change feed to one file: Parquet, a stream of Arrow's, or a JSON object a line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from anyio import to_thread

from exporter.errors import UsageError
from exporter.jobs.change_feed import ChangeFeed
from exporter.jobs.table_output import new_file
from exporter.jobs.table_text import Text
from exporter.settings import FeedFormat
from exporter.store.disk import reporting

_STDOUT: Final = Path("stdout")
_ROW_GROUP_BYTES: Final = 16 * 1024 * 1024


def choose_format(asked: FeedFormat | None, output: Path | None) -> FeedFormat:
    """Returns the format that was asked for, or that the name of the output ends with; to stdout, which is None, it is
    JSON Lines. Raises `UsageError` for a name that says none, and for Parquet to stdout."""
    if asked is None and output is not None and (ending := output.suffix.removeprefix(".")) in get_args(FeedFormat):
        return cast(FeedFormat, ending)
    if asked is None and output is not None:
        raise UsageError(f"--output {output}: ends with none of .parquet, .arrow and .jsonl. Give --format")
    if asked == "parquet" and output is None:
        raise UsageError("--format parquet: stdout cannot go back to its start. Name a file with --output")
    return asked or "jsonl"


async def write_feed(feed: ChangeFeed, output: Path | BinaryIO, as_: FeedFormat) -> None:
    """Writes all rows to a new file that nobody else can read, or to one that is open.

    Raises `StoreError`, and `UsageError` if there is something of that name by then; then, no file is left.
    """
    opening = new_file(output) if isinstance(output, Path) else _given(output)
    where = output if isinstance(output, Path) else _STDOUT
    with opening as file, _writing(file, where, feed.schema, as_) as write:
        async for batch in feed:
            await to_thread.run_sync(write, batch)


@contextmanager
def _given(file: BinaryIO) -> Iterator[BinaryIO]:
    with reporting(_STDOUT):
        yield file
        file.flush()


@contextmanager
def _writing(
    file: BinaryIO, where: Path, schema: pa.Schema, as_: FeedFormat
) -> Iterator[Callable[[pa.RecordBatch], object]]:
    match as_:
        case "parquet":
            with pq.ParquetWriter(file, schema, compression="zstd") as writer, gathered(writer) as write:
                yield write
        case "arrow":
            with pa.ipc.new_stream(file, schema) as stream:
                yield stream.write_batch
        case "jsonl":
            text = Text(file, where, schema, "jsonl", "none")
            yield text.write
            text.close()


@contextmanager
def gathered(writer: pq.ParquetWriter) -> Iterator[Callable[[pa.RecordBatch], object]]:
    """Yields what writes batches, several of them to a row group."""
    waiting: list[pa.RecordBatch] = []

    def write(batch: pa.RecordBatch | None) -> None:
        waiting.extend([] if batch is None else [batch])
        if waiting and (batch is None or sum(one.nbytes for one in waiting) >= _ROW_GROUP_BYTES):
            writer.write_table(pa.Table.from_batches(waiting))
            waiting.clear()

    yield write
    write(None)
