"""Finds out which rows of a generation are new, or have changed, and counts them: by ids and times alone.

A row is wanted because a commit has touched its id, or because its time was not covered before. Blocking code.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import BEGINNING, Instant
from exporter.coverage import Coverage, Interval
from exporter.log.net_changes import DELETE, INSERT, UPDATE, FoundRow, Placed, Touched
from exporter.log.state import State
from exporter.model import DataFile
from exporter.parts.columns import ID_COLUMN, SORT_COLUMN, UPDATED_COLUMN
from exporter.parts.ids import Hashes, hash_ids
from exporter.parts.rows import PartRows

#: At most this many ids that the table has several times are told apart.
_MOST_REPEATED: Final = 100_000


class Survey:
    """Finds out which rows of the state `after` are new, or have changed: their ids and times, and how many.

    What an interrupted run leaves may be in two places: then one row of each id counts. It was so before if the feed
    `begins_unsettled`: then a commit may have told that one of both went, and not where the other one is.
    """

    def __init__(self, rows: PartRows, after: State, touched: Touched, *, begins_unsettled: bool = False) -> None:
        self.after: Final = after
        self.touched: Final = touched
        #: What the later generation covers, and not the earlier one: unless an id is followed, its rows are new.
        self.fresh: Final = after.coverage - touched.kept
        self.placed: Mapping[str, Placed] = {}
        self._rows = rows
        self._anywhere = (begins_unsettled and bool(touched.balance)) or (
            bool(after.unsettled) and bool(touched.balance or self.fresh)
        )
        self._fresh_rows = 0

    @cached_property
    def conversations(self) -> list[DataFile]:
        """Returns the parts of conversations that may have a wanted row."""
        places = sorted(self.touched.places)
        return [file for file in self._all_parts if self._anywhere or self._may_hold(file, places)]

    @property
    def _all_parts(self) -> list[DataFile]:
        return sorted(self.after.conversations, key=lambda file: (file.window, file.path))

    def _may_hold(self, file: DataFile, places: list[Instant]) -> bool:
        first, last = file.created_at_min, file.created_at_max
        return is_among(places, first, last) or bool(self.fresh_within(first, last))

    def fresh_within(self, first: Instant, last: Instant) -> Coverage:
        """Returns what is fresh between two times, both included."""
        return Coverage([Interval(first, last + 1)]) & self.fresh

    @property
    def inserts(self) -> int:
        return self._fresh_rows + self._count(INSERT)

    @property
    def updates(self) -> int:
        return self._count(UPDATE)

    @property
    def deletes(self) -> int:
        return self._count(DELETE)

    def _count(self, op: str) -> int:
        return sum(one.op == op for one in self.placed.values())

    def take(self) -> None:
        """Looks at ids and times, and decides. Raises `StoreError`."""
        if self._anywhere and self.after.unsettled:
            self.touched.watched.update(self._repeated())
        self.placed = self.touched.decide(self._find())

    @cached_property
    def followed(self) -> pa.Array:
        """Returns the ids of which `placed` knows more than whether they are fresh."""
        return pa.array(self.touched.ids, pa.string())

    def _find(self) -> Iterator[FoundRow]:
        """Yields all rows whose ids are followed, and counts the other rows that are fresh."""
        places = sorted(self.touched.places)
        columns = [ID_COLUMN, SORT_COLUMN, *([UPDATED_COLUMN] if self._anywhere else ())]

        def wants(first: Instant, last: Instant) -> bool:
            return self._anywhere or is_among(places, first, last) or bool(self.fresh_within(first, last))

        for file in self.conversations:
            whole = Interval(file.created_at_min, file.created_at_max + 1)
            if not len(self.followed) and self.fresh_within(whole.start, whole.end - 1) == Coverage([whole]):
                self._fresh_rows += file.rows
                continue
            for batch in self._rows.read(file, columns, wants):
                follows = pc.is_in(batch.column(ID_COLUMN), self.followed)
                fresh = pc.and_(self.are_fresh(batch.column(SORT_COLUMN)), pc.invert(follows))
                self._fresh_rows += fresh.true_count
                if follows.true_count:
                    yield from self._found(batch.filter(follows))

    def _found(self, batch: pa.RecordBatch) -> Iterator[FoundRow]:
        times = batch.column(SORT_COLUMN).cast(pa.int64()).to_pylist()
        updated = [None] * len(times)
        if self._anywhere:
            updated = batch.column(UPDATED_COLUMN).cast(pa.int64()).to_pylist()
        for identity, created_at, updated_at in zip(batch.column(ID_COLUMN).to_pylist(), times, updated, strict=True):
            # What was read last counts, and what has not been settled was.
            is_latest = created_at in self.after.unsettled
            rank = is_latest, BEGINNING if updated_at is None else updated_at, created_at
            yield FoundRow(identity, created_at, rank)

    def are_fresh(self, times: pa.Array) -> pa.BooleanArray:
        """Says of each time, from new to old, whether it is fresh."""
        if not len(times):
            return pa.array([], pa.bool_())
        instants = times.cast(pa.int64())
        first, last = pc.min_max(instants).as_py().values()
        inside = self.fresh_within(first, last)
        if inside == Coverage([Interval(first, last + 1)]):
            return pa.repeat(True, len(times)).cast(pa.bool_())
        found = pa.repeat(False, len(times))
        for interval in inside:
            within = pc.and_(pc.greater_equal(instants, interval.start), pc.less(instants, interval.end))
            found = pc.or_(found, within)
        return found

    def _repeated(self) -> set[str]:
        """Returns all ids that the table has several times, and by chance others."""
        with Hashes() as hashes:
            for ids in self._ids():
                hashes.add(hash_ids(ids))
            suspicious = hashes.repeated(_MOST_REPEATED)
        if not suspicious:
            return set()
        return {one for ids in self._ids() for one in ids.to_pylist() if hash(one) in suspicious}

    def _ids(self) -> Iterator[pa.Array]:
        for file in self._all_parts:
            for batch in self._rows.read(file, [ID_COLUMN], lambda _first, _last: True):
                yield batch.column(0)


def is_among(times: list[Instant], first: Instant, last: Instant) -> bool:
    """Returns whether one of these times, which ascend, is not before `first` and not after `last`."""
    position = bisect_left(times, first)
    return position < len(times) and times[position] <= last
