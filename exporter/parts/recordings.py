"""Reads and writes parts of recordings. Blocking code.

A part is small: it holds the rows of some minutes, or as many as make it worth reading at once. So it is held whole.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from exporter.coverage import Interval
from exporter.layout import RECORDINGS
from exporter.parts.columns import ID_COLUMNS, SORT_COLUMNS, complete
from exporter.parts.reader import read_batches
from exporter.parts.writer import PartWriter, WrittenPart

_ID: Final = ID_COLUMNS[RECORDINGS]
_TIME: Final = SORT_COLUMNS[RECORDINGS]
#: What tells whether a recording is to be fetched again.
OUTCOME_COLUMNS: Final = (_ID, _TIME, "status", "duration", "url_hash")


class WrittenRecordings(msgspec.Struct, frozen=True):
    """Describes a part of recordings that is whole, still at its staging path; see `model.DataFile`."""

    part: WrittenPart
    statuses: dict[str, int]
    media_files: int
    media_bytes: int


def write_recordings(
    writer: PartWriter, older: Iterable[Path], newer: pa.RecordBatch, without: Collection[str] = ()
) -> WrittenRecordings:
    """Writes the rows of whole parts and `newer` ones to one part, and closes it.

    A newer row counts, and the older one of the same conversation is left out, as are the rows of conversations in
    `without`. Raises as `read_batches` and the writer.
    """
    replaced = pa.concat_arrays([newer.column(_ID), pa.array(sorted(without), pa.string())])
    stays = (
        complete(batch, writer.schema).filter(pc.invert(pc.is_in(batch.column(_ID), replaced)))
        for batch in read_batches(older)
    )
    table = pa.Table.from_batches([newer, *stays], writer.schema).sort_by([(_TIME, "descending")])
    for batch in table.combine_chunks().to_batches():
        writer.write(batch)
    sizes = dict(zip(table.column("path").to_pylist(), table.column("bytes").to_pylist(), strict=True))
    sizes.pop(None, None)
    return WrittenRecordings(
        part=writer.close(),
        statuses=dict(sorted(Counter(table.column("status").to_pylist()).items())),
        media_files=len(sizes),
        media_bytes=sum(size or 0 for size in sizes.values()),
    )


def recording_ids(part: Path) -> pa.Array:
    """Returns the ids of the conversations in a part of recordings. Raises `StoreError`."""
    return pa.chunked_array([batch.column(0) for batch in read_batches([part], [_ID])], pa.string()).combine_chunks()


def media_in(part: Path) -> set[str]:
    """Returns the paths of the media that the rows of a part name. Raises `StoreError`."""
    return {path for batch in read_batches([part], ["path"]) for path in batch.column(0).drop_null().to_pylist()}


def read_outcomes(parts: Sequence[Path], within: Interval) -> pa.Table:
    """Returns `OUTCOME_COLUMNS` of the rows whose conversations were created `within`. Raises `StoreError`."""
    found = []
    for batch in read_batches(parts, OUTCOME_COLUMNS):
        times = batch.column(_TIME).cast(pa.int64())
        inside = pc.and_(pc.greater_equal(times, within.start), pc.less(times, within.end))
        found.append(batch.filter(inside).select(list(OUTCOME_COLUMNS)))
    schema = pa.schema(
        [
            (_ID, pa.string()),
            (_TIME, pa.timestamp("us", "UTC")),
            ("status", pa.string()),
            ("duration", pa.float64()),
            ("url_hash", pa.string()),
        ]
    )
    return pa.Table.from_batches(found, schema)
