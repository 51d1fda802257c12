"""Merges what was read again into a part: decides which rows have changed, and writes the part that holds them.

Blocking code. Rows are matched by `id`. What was read later counts, whatever its `updated_at` says, because a time may
lie in the future, stand still or go back (source.md, 15). If one reading has shown a row twice, because `created_at`
changed meanwhile, the one with the newer `updated_at` counts. A row that differs only in the signature of its
`recording_url`, or in when that ends, has not changed: the API signs it again at every reading (source.md, 12).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import BEGINNING, Instant
from exporter.parts.columns import ID_COLUMN, SORT_COLUMN, complete
from exporter.parts.fingerprints import fingerprints
from exporter.parts.ids import ids_in
from exporter.parts.nulls import Nulls
from exporter.parts.reader import read_batches
from exporter.parts.versions import versions_in
from exporter.parts.writer import Writer

#: Parts with rows of one reading, which follow one another from new to old.
PartSequence = Sequence[Path]


class Version(NamedTuple):
    """Tells a row from others with its id: by the number of the reading that has shown it, and by its times.

    The part itself is number 0, and the readings are numbered from 1.
    """

    reading: int
    created_at: Instant
    updated_at: Instant | None

    @property
    def rank(self) -> tuple[int, Instant, Instant]:
        """Returns the rank: a version with a higher one counts more."""
        return self.reading, BEGINNING if self.updated_at is None else self.updated_at, self.created_at


class MergePlan(msgspec.Struct, frozen=True):
    """Says what becomes of one part. `taken` are the rows to take, by id. `dropped` are the ids of the part's own rows
    to remove, and `dropped_rows` counts these. `unchanged` counts rows that were read again and have not changed."""

    readings: tuple[PartSequence, ...]
    taken: Mapping[str, Version] = msgspec.field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    dropped_rows: int = 0
    unchanged: int = 0

    @property
    def changes_nothing(self) -> bool:
        return not (self.taken or self.dropped)

    @property
    def arriving(self) -> set[str]:
        """Returns the ids of the rows to take of which the part holds no older version."""
        return self.taken.keys() - self.dropped

    @property
    def updated(self) -> set[str]:
        """Returns the ids of rows that were read again and take the place of an older version."""
        return {identity for identity in self.taken.keys() & self.dropped if self.taken[identity].reading > 0}

    @property
    def left(self) -> frozenset[str]:
        """Returns the ids of rows that go without another in their place."""
        return self.dropped - self.taken.keys()


def plan_merge(
    part: Path | None,
    readings: Sequence[PartSequence],
    gone: Collection[str] = (),
    repeated: Collection[str] = (),
    kept: Sequence[PartSequence] = (),
) -> MergePlan:
    """Decides row by row. `readings` go from the earliest to the latest. `gone` are ids of rows to drop, never to take.
    `repeated` are ids that the part may have more than once, even if they were not read again; one row of each stays.
    `kept` are, of each reading, the parts with rows that `find_unchanged` has found: the part's own stay.

    Raises `StoreError`.
    """
    own = [part] if part else []
    latest = {identity: found for identity, found in _latest(readings).items() if identity not in gone}
    same = {
        identity
        for number, paths in enumerate(kept, 1)
        for identity in (ids_in(paths) if paths else ())
        if identity in latest and latest[identity].reading == number
    }
    for identity in same:
        del latest[identity]
    there = Counter[str]()
    dropped, doubtful = set[str](), dict[str, Instant]()
    for identity, created_at, updated_at in versions_in(own):
        if identity in gone:
            dropped.add(identity)
        elif (found := latest.get(identity)) is not None:
            if updated_at is None or found.updated_at is None or updated_at == found.updated_at:
                doubtful[identity] = created_at
            else:
                dropped.add(identity)
        elif identity not in repeated:
            continue
        there[identity] += 1
    twice = {identity for identity, count in there.items() if count > 1}
    for identity in twice & doubtful.keys():
        del doubtful[identity]
    alike = _alike(own, readings, doubtful, latest)
    for identity in alike:
        del latest[identity]
    dropped |= (doubtful.keys() - alike) | twice
    if left := twice - latest.keys() - {*gone}:
        latest |= _latest([own], left, first=0)
    rows = sum(there[identity] for identity in dropped)
    return MergePlan(tuple(readings), latest, frozenset(dropped), rows, len(alike) + len(same))


def find_unchanged(part: Path, listed: Path, unlisted: Collection[str]) -> set[str]:
    """Returns the ids of those rows in `listed` that `part` has once, and as they are there except for the `unlisted`
    columns, which the list leaves out.

    Raises `StoreError`.
    """
    found, there, alike = _latest([[listed]]), Counter[str](), dict[str, Instant]()
    for identity, created_at, updated_at in versions_in([part]):
        there[identity] += 1
        known = found.get(identity)
        if known is not None and known.created_at == created_at and known.updated_at == updated_at:
            alike[identity] = created_at
    once = {identity: created_at for identity, created_at in alike.items() if there[identity] == 1}
    mine, theirs = fingerprints(_rows([part], once), unlisted), fingerprints(_rows([listed], once), unlisted)
    return {identity for identity in once if mine[identity] == theirs[identity]}


def merge(
    plan: MergePlan, part: Path | None, writer: Writer, drop: Callable[[pa.RecordBatch], None] | None = None
) -> tuple[Nulls, Nulls]:
    """Carries out the plan for `part`: writes the rows that stay and those that are taken, from new to old; `drop`
    takes those of the part that do not stay.

    Returns what was null in the dropped rows and in the taken ones. Raises `StoreError`.
    """
    lost, gained = Nulls(), Nulls()
    own = [part] if part else []
    rows = _staying(own, plan.dropped, lost, writer.schema, drop)
    for number, reading in enumerate((own, *plan.readings)):
        wanted = {name: taken.created_at for name, taken in plan.taken.items() if taken.reading == number}
        if wanted:
            rows = _in_order(rows, _picked(reading, wanted, gained, writer.schema))
    for batch in rows:
        writer.write(batch)
    return lost, gained


def _latest(
    readings: Sequence[PartSequence], wanted: Collection[str] | None = None, *, first: int = 1
) -> dict[str, Version]:
    """Returns the version that counts, by id; `first` is the number of the first reading."""
    latest: dict[str, Version] = {}
    for number, reading in enumerate(readings, first):
        for identity, created_at, updated_at in versions_in(reading):
            if wanted is None or identity in wanted:
                version = Version(number, created_at, updated_at)
                known = latest.get(identity)
                if known is None or version.rank > known.rank:
                    latest[identity] = version
    return latest


def _staying(
    paths: Iterable[Path],
    dropped: Collection[str],
    lost: Nulls,
    schema: pa.Schema,
    drop: Callable[[pa.RecordBatch], None] | None,
) -> Iterator[pa.RecordBatch]:
    ids = pa.array(sorted(dropped), pa.string())
    for older in read_batches(paths):
        batch = complete(older, schema)
        goes = pc.is_in(batch.column(ID_COLUMN), ids)
        if goes.true_count:
            going = batch.filter(goes)
            lost.count(going)
            if drop is not None:
                drop(going)
            batch = batch.filter(pc.invert(goes))
        yield batch


def _picked(
    paths: Iterable[Path], wanted: Mapping[str, Instant], gained: Nulls, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    for older in _rows(paths, wanted):
        picked = complete(older, schema)
        gained.count(picked)
        yield picked


def _rows(paths: Iterable[Path], wanted: Mapping[str, Instant]) -> Iterator[pa.RecordBatch]:
    """Yields the rows with these ids and `created_at`, each once; reads nothing if none are `wanted`."""
    pick = pa.array(sorted(wanted), pa.string())
    left = set(wanted.items())
    for batch in read_batches(paths) if wanted else ():
        some = batch.filter(pc.is_in(batch.column(ID_COLUMN), pick))
        times = some.column(SORT_COLUMN).cast(pa.int64()).to_pylist()
        keep = []
        for row in zip(some.column(ID_COLUMN).to_pylist(), times, strict=True):
            keep.append(row in left)
            left.discard(row)
        yield some if all(keep) else some.filter(pa.array(keep, pa.bool_()))


def _in_order(older: Iterator[pa.RecordBatch], newer: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Merges two sequences of rows, each from new to old: yields each batch of `older` with what falls into it."""
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
    if waiting is not None:
        yield waiting
        yield from newer


def _sorted(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    filled = [batch for batch in batches if batch.num_rows]
    if len(filled) == 1:
        return filled[0]
    rows = pa.concat_batches(filled)
    return rows.take(pc.sort_indices(rows, sort_keys=[(SORT_COLUMN, "descending")]))


def _alike(
    own: PartSequence, readings: Sequence[PartSequence], doubtful: Mapping[str, Instant], latest: Mapping[str, Version]
) -> set[str]:
    """Returns those of the `doubtful` ids whose rows, which have these `created_at`, were read again unchanged."""
    mine = fingerprints(_rows(own, doubtful))
    theirs: dict[str, bytes] = {}
    for number, reading in enumerate(readings, 1):
        wanted = {name: latest[name].created_at for name in doubtful if latest[name].reading == number}
        theirs |= fingerprints(_rows(reading, wanted))
    return {identity for identity in doubtful if mine[identity] == theirs[identity]}


def count_rest(part: Path, plan: MergePlan) -> Nulls:
    """Counts what is null in the rows of the part that were not read again, and stay. Raises `StoreError`."""
    rest, read = Nulls(), ids_in([path for reading in plan.readings for path in reading])
    gone = pa.array(sorted(read | plan.dropped), pa.string())
    for batch in read_batches([part]):
        rest.count(batch.filter(pc.invert(pc.is_in(batch.column(ID_COLUMN), gone))))
    # Of several rows with one id that were not read again, one stays.
    for batch in _rows([part], {name: taken.created_at for name, taken in plan.taken.items() if not taken.reading}):
        rest.count(batch)
    return rest
