"""Learns from pages what rows take on the wire and at rest."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Final

import pyarrow as pa
from anyio import to_thread
from msgspec import UNSET, Raw

from exporter.contract import RECORDING_FIELD
from exporter.encode.rows import EncodeRow
from exporter.encode.tables import Tables
from exporter.model import CONVERSATIONS, TURNS, Rows
from exporter.parts.writer import size_of_part
from exporter.pipeline.hydration import Hydrator
from exporter.schedule.file_sizes import STEPS, FileSizes

#: Of each small size, about this many files are made of a page.
_FILES_OF_A_SIZE: Final = 4
#: Of what was not seen in n tries, the share is below 3/n in 19 of 20 cases.
_RULE_OF_THREE: Final = 3


@dataclass(slots=True)
class Sizes:
    """Counts what whole rows have shown, `rows` of them: what they took on the wire, and would take at rest.

    `files` are the sizes of files of each table together, by their number of conversations, and `file_seconds` how long
    it took to make one of the smallest. Of the rows, `tied` share their instant with another one; and so many came with
    the field of recordings, have a recording, lack fields that ids bring, and match the filters that have several
    values.
    """

    rows: int = 0
    page_rows: int = 0
    wire_bytes: int = 0
    files: FileSizes = field(default_factory=FileSizes)
    file_seconds: float = 0.0
    tied: int = 0
    round_trips: list[float] = field(default_factory=list)
    encode_seconds: float = 0.0
    with_field: int = 0
    recorded: int = 0
    lacking: int = 0
    matching: int = 0


class Scale:
    """Weighs pages: `sizes` are what they have shown. Rows match if fields of theirs have one of `several` values."""

    def __init__(self, tables: Tables, hydrator: Hydrator | None, several: Mapping[str, tuple[str, ...]]) -> None:
        self.sizes: Final = Sizes()
        self._tables = tables
        self._hydrator = hydrator
        self._several = several

    async def take(self, rows: Rows[EncodeRow]) -> None:
        """Counts the rows of a page, and encodes them as a run would."""
        sizes = self.sizes
        sizes.page_rows = max(sizes.page_rows, len(rows))
        sizes.rows += len(rows)
        sizes.tied += len(rows) - len(set(rows.created_at))
        if self._hydrator is not None and sizes.rows == len(rows):
            await self._hydrator.learn(rows)
        lacking = frozenset() if self._hydrator is None else self._hydrator.fields
        for row in rows.rows:
            recording = getattr(row, RECORDING_FIELD, UNSET)
            sizes.with_field += recording is not UNSET
            sizes.recorded += _has_value(recording)
            sizes.lacking += any(getattr(row, name, None) is UNSET for name in lacking)
            sizes.matching += all(getattr(row, name, None) in values for name, values in self._several.items())
        await to_thread.run_sync(self._encode, rows)

    def _encode(self, rows: Rows[EncodeRow]) -> None:
        began = time.thread_time()
        batch = self._tables.encoder.encode(rows).batch
        self.sizes.encode_seconds += time.thread_time() - began
        sizes = self.sizes.files
        sizes.empty = self._size_of([])
        for number in STEPS:
            # Of small files, no two are alike.
            for start in range(0, batch.num_rows - number + 1, max(number, batch.num_rows // _FILES_OF_A_SIZE)):
                began = time.thread_time()
                sizes.add(number, self._size_of([batch.slice(start, number)]))
                if number == STEPS[0]:
                    self.sizes.file_seconds = time.thread_time() - began
        if batch.num_rows not in STEPS:
            began = time.thread_time()
            sizes.add(batch.num_rows, self._size_of([batch]))
            self.sizes.encode_seconds += time.thread_time() - began

    def _size_of(self, batches: Sequence[pa.RecordBatch]) -> int:
        """Returns the size of a file of each table with these conversations."""
        schemas, turns = self._tables.schemas, self._tables.turns
        size = size_of_part(schemas[CONVERSATIONS], batches, CONVERSATIONS)
        if turns is not None:
            size += size_of_part(schemas[TURNS], [made for each in batches for made in turns.encode(each)], TURNS)
        return size

    def matching(self) -> tuple[float, float, float]:
        """Returns the share of rows that match the filters of several values, which were not sent, and its bounds."""
        rows, matching, pages = self.sizes.rows, self.sizes.matching, len(self.sizes.round_trips)
        if not matching:
            # Rows of a kind come together, so that a page is one observation, and not many.
            return 0.0, 0.0, min(1.0, _RULE_OF_THREE / max(1, pages))
        share = matching / rows
        factor = 1 + 2 * sqrt((1 - share) / matching)
        return share, share / factor, min(1.0, share * factor)


def _has_value(value: Any) -> bool:
    return (
        value is not None and value is not UNSET and not (isinstance(value, Raw) and bytes(value) in (b"null", b"{}"))
    )
