"""Merging what was read again into a part: which of its rows are others now, and the part that holds them.

Blocking code. Rows are held against one another by `id`. The newer `updated_at` wins, and where they are equal, or not
known, what was read later. A row of which nothing differs but the signature in its `recording_url` has not changed:
the API signs it anew at every reading (api.md, 12).
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import FIELDS, Instant
from exporter.store.columns import complete
from exporter.store.facts import ID_COLUMN
from exporter.store.parts import OPEN_STATUS_ARRAY, SORT_COLUMN, STATUS_COLUMN, Writer
from exporter.store.reader import read_batches

_UPDATED: Final = "updated_at"
_SIGNED: Final = "recording_details"
_SENSITIVE: Final = tuple(field.name for field in FIELDS if field.sensitive)

#: Parts with rows of one reading, which follow one another from new to old.
Reading = Sequence[Path]


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What becomes of one part. `taken`: ids of the rows to take, with the number of the reading to take each from;
    `dropped`: ids of the part's own rows that go. `unchanged`: rows that were read again and are as they were."""

    readings: tuple[Reading, ...]
    taken: Mapping[str, int] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    unchanged: int = 0

    @property
    def changes_nothing(self) -> bool:
        return not (self.taken or self.dropped)

    @property
    def inserted(self) -> int:
        """Rows of which the part holds no older version."""
        return len(self.taken.keys() - self.dropped)

    @property
    def updated(self) -> int:
        return len(self.taken.keys() & self.dropped)

    @property
    def removed(self) -> int:
        """Rows that go without another in their place."""
        return len(self.dropped - self.taken.keys())


@dataclass(slots=True)
class Nulls:
    """Of some rows: how many are null by column, and how many in all the sensitive columns there are."""

    by_column: Counter[str] = field(default_factory=Counter)
    withheld_rows: int = 0

    def count(self, rows: pa.RecordBatch) -> None:
        self.by_column.update({name: rows.column(name).null_count for name in rows.schema.names})
        sensitive = [rows.column(name).is_null() for name in _SENSITIVE if name in rows.schema.names]
        if sensitive:
            self.withheld_rows += reduce(pc.and_, sensitive).true_count


def plan_merge(
    part: Path | None, readings: Sequence[Reading], gone: Collection[str] = (), overruled: Collection[str] = ()
) -> MergePlan:
    """Decides row by row. `readings`: from the earliest to the latest. `gone`: ids of rows to drop, and not to take.
    `overruled`: ids of rows that give way to what was read, though that is older.

    Raises `StoreError`.
    """
    latest = {identity: found for identity, found in _latest(readings).items() if identity not in gone}
    dropped, doubtful = set[str](), set[str]()
    unchanged = 0
    for ids, times in _ids_and_updates([part] if part else []):
        for identity, updated_at in zip(ids, times, strict=True):
            if identity in gone:
                dropped.add(identity)
            elif (found := latest.get(identity)) is not None:
                if updated_at is None or found[0] is None or updated_at == found[0]:
                    doubtful.add(identity)
                elif updated_at < found[0] or identity in overruled:
                    dropped.add(identity)
                else:
                    del latest[identity]
                    unchanged += 1
    if doubtful and part:
        mine = _fingerprints([part], doubtful)
        theirs: dict[str, bytes] = {}
        for number, reading in enumerate(readings):
            theirs |= _fingerprints(reading, {identity for identity in doubtful if latest[identity][1] == number})
        for identity in doubtful:
            if mine[identity] == theirs[identity]:
                del latest[identity]
                unchanged += 1
            else:
                dropped.add(identity)
    taken = {identity: reading for identity, (_, reading) in latest.items()}
    return MergePlan(tuple(readings), taken, frozenset(dropped), unchanged)


def merge(plan: MergePlan, part: Path | None, writer: Writer) -> tuple[Nulls, Nulls]:
    """Carries out the plan for `part`: writes the rows that stay and those that are taken, from new to old.

    Returns what was null in the dropped and in the taken ones. Raises `StoreError`.
    """
    lost, gained = Nulls(), Nulls()
    rows = _staying([part] if part else [], plan.dropped, lost, writer.schema)
    for number, reading in enumerate(plan.readings):
        wanted = [identity for identity, taken_from in plan.taken.items() if taken_from == number]
        rows = _in_order(rows, _picked(reading, wanted, gained))
    for batch in rows:
        writer.write(batch)
    return lost, gained


def _latest(readings: Sequence[Reading]) -> dict[str, tuple[Instant | None, int]]:
    """By id: the `updated_at` of the version that counts, and the reading that has it."""
    latest: dict[str, tuple[Instant | None, int]] = {}
    for number, reading in enumerate(readings):
        for ids, times in _ids_and_updates(reading):
            for identity, updated_at in zip(ids, times, strict=True):
                known = latest.get(identity)
                if known is None or known[0] is None or updated_at is None or updated_at >= known[0]:
                    latest[identity] = updated_at, number
    return latest


def _ids_and_updates(paths: Iterable[Path]) -> Iterator[tuple[list[str], list[Instant | None]]]:
    for batch in read_batches(paths, [ID_COLUMN, _UPDATED]):
        yield batch.column(ID_COLUMN).to_pylist(), batch.column(_UPDATED).cast(pa.int64()).to_pylist()


def _staying(
    paths: Iterable[Path], dropped: Collection[str], lost: Nulls, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    drop = pa.array(sorted(dropped), pa.string())
    for older in read_batches(paths):
        batch = complete(older, schema)
        goes = pc.is_in(batch.column(ID_COLUMN), drop)
        if goes.true_count:
            lost.count(batch.filter(goes))
            batch = batch.filter(pc.invert(goes))
        yield batch


def _picked(paths: Iterable[Path], wanted: Iterable[str], gained: Nulls) -> Iterator[pa.RecordBatch]:
    pick = pa.array(sorted(wanted), pa.string())
    for batch in read_batches(paths):
        picked = batch.filter(pc.is_in(batch.column(ID_COLUMN), pick))
        gained.count(picked)
        yield picked


def _in_order(older: Iterator[pa.RecordBatch], newer: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Two sequences of rows, each from new to old, as one; a batch of `older` and what falls among it at a time."""
    waiting = next(newer, None)
    for batch in older:
        if not batch.num_rows:
            continue
        among = [batch]
        oldest = batch.column(SORT_COLUMN)[-1]
        while waiting is not None:
            # Times descend: those that are not older come first.
            count = pc.greater_equal(waiting.column(SORT_COLUMN), oldest).true_count
            among.append(waiting.slice(0, count))
            if count < waiting.num_rows:
                waiting = waiting.slice(count)
                break
            waiting = next(newer, None)
        yield _sorted(among)
    while waiting is not None:
        yield waiting
        waiting = next(newer, None)


def _sorted(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    filled = [batch for batch in batches if batch.num_rows]
    if len(filled) == 1:
        return filled[0]
    rows = pa.concat_batches(filled)
    return rows.take(pc.sort_indices(rows, sort_keys=[(SORT_COLUMN, "descending")]))


def _fingerprints(paths: Iterable[Path], wanted: Collection[str]) -> dict[str, bytes]:
    """What rows hold, but for the signature of their recording, by id: a hash each."""
    pick = pa.array(sorted(wanted), pa.string())
    found = {}
    for batch in read_batches(paths) if wanted else ():
        for row in batch.filter(pc.is_in(batch.column(ID_COLUMN), pick)).to_pylist():
            row[_SIGNED] = _unsigned(row.get(_SIGNED))
            # A column that a part was written before is as one that is null.
            values = [(name, value) for name, value in row.items() if value is not None]
            found[row[ID_COLUMN]] = hashlib.blake2b(repr(values).encode(), digest_size=16).digest()
    return found


class _Recording(msgspec.Struct):
    recording_url: str


def _unsigned(text: str | None) -> Any:
    """`recording_details` without the query of its URL; a text that has none is itself."""
    if text is None:
        return None
    try:
        url = msgspec.json.decode(text, type=_Recording).recording_url
        details: dict[str, Any] = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return text
    return details | {"recording_url": url.partition("?")[0]}


def open_rows(part: Path) -> dict[str, Instant]:
    """Conversations that were not over when they were read: `created_at` by id. Raises `StoreError`."""
    found: dict[str, Instant] = {}
    for batch in read_batches([part], [ID_COLUMN, SORT_COLUMN, STATUS_COLUMN]):
        rows = batch.filter(pc.is_in(batch.column(STATUS_COLUMN), OPEN_STATUS_ARRAY))
        times = rows.column(SORT_COLUMN).cast(pa.int64()).to_pylist()
        found.update(zip(rows.column(ID_COLUMN).to_pylist(), times, strict=True))
    return found


def ids_in(parts: Iterable[Path]) -> set[str]:
    """The ids of all rows. Raises `StoreError`."""
    return {identity for batch in read_batches(parts, [ID_COLUMN]) for identity in batch.column(0).to_pylist()}
