"""Finds which ids are where, and whether any occurs twice, among more ids than fit into memory.

Ids become hashes of 64 bits; hashes are sorted in runs of bounded length and put aside in a private temporary file.
Then they are compared by their leading bits, a small part of every run at a time. Equal hashes only raise a suspicion:
among 10 million different ids there is one in some hundred thousand times.
"""

import shutil
import tempfile
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import IO, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from exporter.model import CONVERSATIONS
from exporter.parts.columns import ID_COLUMN, ID_COLUMNS
from exporter.parts.reader import read_batches
from exporter.store.disk import reporting
from exporter.store.local.scratch import temporary_directory

#: Hashes in a run take 16 MiB, and a few times that while it is sorted.
_RUN_LENGTH: Final = 2**21
_BYTES: Final = 8
#: The hashes are cut here into parts of about equal size. A part of a thousand million hashes is 32 MB.
_CUTS: Final = tuple(range(-(2**63), 2**63, 2**56))


class Span(msgspec.Struct):
    """Spans some ids from the least to the greatest. In many APIs ids grow, so that old parts have none in between."""

    least: str | None = None
    greatest: str | None = None

    def widen(self, ids: pa.Array) -> None:
        found = pc.min_max(ids).as_py()
        if found["min"] is not None:
            self.least = found["min"] if self.least is None else min(self.least, found["min"])
            self.greatest = found["max"] if self.greatest is None else max(self.greatest, found["max"])

    def meets(self, rows: pq.RowGroupMetaData) -> bool:
        """Returns whether a row group may have an id inside."""
        if self.least is None or self.greatest is None:
            return False
        columns = map(rows.column, range(rows.num_columns))
        statistics = next((one.statistics for one in columns if one.path_in_schema == ID_COLUMN), None)
        if statistics is None or not statistics.has_min_max:
            return True
        return bool(statistics.min <= self.greatest and self.least <= statistics.max)


def read_ids(part: Path, within: Span | None = None, table: str = CONVERSATIONS) -> Iterator[pa.Array]:
    """Yields the ids of the conversations in a part of `table`, a row group's at a time.

    With `within`, row groups that cannot have an id inside it are skipped. Raises `StoreError`.
    """
    for batch in read_batches([part], [ID_COLUMNS[table]], within.meets if within else lambda _: True):
        yield batch.column(0)


def ids_in(parts: Iterable[Path], wanted: Collection[str] | None = None) -> set[str]:
    """Returns the ids of all rows, or those in `wanted`; no others are held in memory. Raises `StoreError`."""
    if wanted is None:
        return {identity for part in parts for ids in read_ids(part) for identity in ids.to_pylist()}
    pick, within = pa.array(sorted(wanted), pa.string()), Span()
    within.widen(pick)
    return set[str]().union(*(ids_among(part, pick, within) for part in (parts if wanted else ())))


def ids_among(part: Path, wanted: pa.Array, within: Span) -> set[str]:
    """Returns those of `wanted` that a part has; `within` is their span. Raises `StoreError`."""
    found = set[str]()
    for ids in read_ids(part, within):
        found.update(ids.filter(pc.is_in(ids, wanted)).to_pylist())
    return found


def hash_ids(ids: pa.Array) -> "array[int]":
    """Returns the hashes of ids, none of them null. They differ from process to process, so that none can be forged."""
    return array("q", map(hash, ids.to_pylist()))


class Hashes:
    """Holds any number of hashes. Threads may add at once. It is a context manager, which deletes the file.

    A temporary file is used beyond `run_length`; if the machine has no directory for such files, it lies below
    `destination`. Raises `StoreError` if it cannot be written, and `UsageError` if there is no place for it.
    """

    def __init__(self, run_length: int = _RUN_LENGTH, destination: Path | None = None) -> None:
        self._run_length: Final = run_length
        self._destination: Final = destination
        self._gathered = array("q")
        self._runs: list[list[int]] = []
        self._length = 0
        self._lock: Final = Lock()
        self._spool: IO[bytes] = BytesIO()
        self._disk: Path | None = None

    def __enter__(self) -> "Hashes":
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def __len__(self) -> int:
        return self._length + len(self._gathered)

    def add(self, hashes: "array[int]") -> None:
        with self._lock:
            self._gathered.extend(hashes)
            if len(self._gathered) >= self._run_length:
                self._put_aside()

    def repeated(self, at_most: int) -> frozenset[int]:
        """Returns the hashes that were added more than once, or `at_most` of them."""
        found: set[int] = set()
        with self._lock:
            if not self._runs:
                return frozenset(_repeated([_to_arrow(memoryview(self._gathered))])[:at_most])
            self._put_aside()
            for part in range(len(_CUTS)):
                if len(found) >= at_most:
                    break
                found.update(self._repeated_in(part)[: at_most - len(found)])
        return frozenset(found)

    def _put_aside(self) -> None:
        if not self._gathered:
            return
        ordered = _to_arrow(memoryview(self._gathered)).sort().buffers()[1]
        hashes = memoryview(ordered)[: len(self._gathered) * _BYTES].cast("B").cast("q")
        self._gathered = array("q")
        cuts = [bisect_left(hashes, cut) for cut in _CUTS]
        if self._disk is None and self._length + len(hashes) > self._run_length:
            self._leave_memory()
        with reporting(self._disk or Path()):
            self._spool.seek(self._length * _BYTES)
            self._spool.write(hashes.cast("B"))
        self._runs.append([self._length + cut for cut in (*cuts, len(hashes))])
        self._length += len(hashes)

    def _leave_memory(self) -> None:
        gathered = self._spool
        self._disk = temporary_directory(self._destination)
        with gathered, reporting(self._disk):
            self._spool = tempfile.TemporaryFile(dir=self._disk)  # noqa: SIM115 - closed by `__exit__`
            gathered.seek(0)
            shutil.copyfileobj(gathered, self._spool)

    def _repeated_in(self, part: int) -> list[int]:
        pieces = []
        for run in self._runs:
            start, end = run[part], run[part + 1]
            if start < end:
                with reporting(self._disk or Path()):
                    self._spool.seek(start * _BYTES)
                    pieces.append(_to_arrow(memoryview(self._spool.read((end - start) * _BYTES))))
        return _repeated(pieces) if pieces else []


class Suspects:
    """Finds, part by part, which of the ids with `suspicious` hashes, which occurred more than once, are repeated."""

    def __init__(self, suspicious: frozenset[int]) -> None:
        self._suspicious = suspicious
        self._found: dict[str, Counter[str]] = {}

    def look_into(self, part: str, ids: Iterable[pa.Array]) -> None:
        """Counts the suspects among `ids`, which are all ids of `part`, none of them null."""
        for some in ids:
            for identity in some.to_pylist():
                if hash(identity) in self._suspicious:
                    self._found.setdefault(identity, Counter())[part] += 1

    def repeated(self) -> Mapping[str, Mapping[str, int]]:
        """Returns how often each repeated id occurs, by id and part."""
        return {identity: places for identity, places in self._found.items() if places.total() > 1}


def _repeated(pieces: list[pa.Array]) -> list[int]:
    hashes = pa.concat_arrays(pieces).sort()
    repeated: list[int] = hashes[1:].filter(pc.equal(hashes[1:], hashes[:-1])).unique().to_pylist()
    return repeated


def _to_arrow(hashes: memoryview) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), hashes.nbytes // _BYTES, [None, pa.py_buffer(hashes)])
