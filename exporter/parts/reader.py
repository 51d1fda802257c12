"""Reads the rows of whole parts; this is the Parquet edge for reading. Blocking code.

A part is opened as a file, never by a text that Arrow would take apart: what looks like a URI may be a directory. That
a part cannot be opened, read or decoded says nothing about its bytes; `integrity` alone judges those.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from exporter.errors import UnreadableFileError
from exporter.parts.cipher import open_parquet
from exporter.parts.columns import complete
from exporter.parts.writer import Writer
from exporter.store.disk import open_patiently
from exporter.store.oserrors import describe

#: An error of Arrow's is cut here, because it may quote a file at length.
_SAID_CHARACTERS = 200


@contextmanager
def open_part(path: Path) -> Iterator[pq.ParquetFile]:
    """Opens a part for the block. Raises `UnreadableFileError`, also if the block fails to read it, and
    `UnreadablePartError` if the part is encrypted and no key of the current cipher opens it."""
    try:
        with BufferedReader(open_patiently(path)) as file, open_parquet(file, path) as part:
            yield part
    except (OSError, MemoryError, pa.ArrowException) as error:
        raise UnreadableFileError(path, describe_error(error, path)) from error


def read_batches(
    parts: Iterable[Path],
    columns: Sequence[str] | None = None,
    wants: Callable[[pq.RowGroupMetaData], bool] = lambda _: True,
) -> Generator[pa.RecordBatch, None, None]:
    """Yields the rows of whole parts, or these columns of them, by row group. `wants` says whether a row group is read.

    Raises as `open_part`.
    """
    for path in parts:
        with open_part(path) as part:
            for number in range(part.num_row_groups):
                if wants(part.metadata.row_group(number)):
                    yield from part.read_row_group(number, columns=columns, use_threads=False).to_batches()


def copy_rows(sources: Iterable[Path], writer: Writer) -> None:
    """Writes the rows of whole parts, given from new to old. Raises as `read_batches`, and as the writer."""
    for batch in read_batches(sources):
        writer.write(complete(batch, writer.schema))


def describe_error(error: BaseException, path: Path | None) -> str:
    """Returns what went wrong with a file, and why at `path`, if it lies on a disk."""
    if isinstance(error, OSError) and error.errno is not None:
        return describe(error, path)
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    said = str(error).strip().partition("\n")[0][:_SAID_CHARACTERS]
    return f"Arrow fails to decode it ({said or type(error).__name__})"
