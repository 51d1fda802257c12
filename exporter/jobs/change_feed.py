"""Reads the rows of a change feed from the parts of its later generation: counts them first, and then gives them.

A row is wanted because a commit has touched its id, or because its time was not covered before. Blocking code, except
for `ChangeFeed.__aiter__`.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread

from exporter.contract import BEGINNING, Instant, to_datetime
from exporter.coverage import Coverage, Interval
from exporter.jobs.dataset import partition_value
from exporter.layout import CONVERSATIONS, TURNS
from exporter.log.net_changes import DELETE, INSERT, UPDATE, FoundRow, Placed, Touched
from exporter.log.state import State
from exporter.model import DataFile
from exporter.parts.columns import ID_COLUMN, ID_COLUMNS, SORT_COLUMN, SORT_COLUMNS, UPDATED_COLUMN
from exporter.parts.ids import Hashes, hash_ids
from exporter.parts.rows import PartRows, Wants

REPLACE: Final = "replace"
OP_COLUMN: Final = "_op"
GENERATION_COLUMN: Final = "_generation"
COMMITTED_COLUMN: Final = "_committed_at"
_TIME: Final = pa.timestamp("us", "UTC")
_OWN_COLUMNS: Final = (
    pa.field(OP_COLUMN, pa.string(), nullable=False),
    pa.field(GENERATION_COLUMN, pa.int64(), nullable=False),
    pa.field(COMMITTED_COLUMN, _TIME, nullable=False),
)
#: Rows without content in a batch.
_BATCH_ROWS: Final = 65_536
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


class ChangeFeed:
    """Gives the net changes of a table from generation `since` to generation `to`, which was `committed_at`.

    Iterate over it to get them as record batches of `schema`, as often as you like; no row is read before. That blocks:
    in an event loop, use `async for`, or a thread. `inserts`, `updates` and `deletes` count conversations, whatever the
    table.

    Each iteration raises `StoreError` if a part cannot be read, or is gone because another command has replaced it
    meanwhile: then ask again.
    """

    def __init__(self, rows: PartRows, survey: Survey, *, since: int, table: str, columns: pa.Schema) -> None:
        after = survey.after
        if after.committed_at is None:
            raise ValueError("a generation has a commit")
        self.table: Final = table
        self.since: Final = since
        self.to: Final = after.number
        self.committed_at: Final[datetime] = to_datetime(after.committed_at)
        self.inserts: Final = survey.inserts
        self.updates: Final = survey.updates
        self.deletes: Final = survey.deletes
        # A row that says that another is gone lacks all else.
        self.schema: Final = pa.schema([*_OWN_COLUMNS, *(pa.field(one.name, one.type) for one in columns)])
        self._rows = rows
        self._survey = survey

    @property
    def counts(self) -> dict[str, int]:
        """Returns what `exporter changes --json` prints: from and to which generation, and how many changes of each
        kind."""
        return {
            "from": self.since,
            "to": self.to,
            "inserts": self.inserts,
            "updates": self.updates,
            "deletes": self.deletes,
        }

    def to_reader(self) -> pa.RecordBatchReader:
        """Returns the batches as Arrow's reader, which DuckDB, Polars and pandas take."""
        return pa.RecordBatchReader.from_batches(self.schema, iter(self))

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._conversations() if self.table == CONVERSATIONS else self._turns()

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        batches = iter(self)
        while (batch := await to_thread.run_sync(next, batches, None)) is not None:
            yield batch

    def _conversations(self) -> Iterator[pa.RecordBatch]:
        for file in self._survey.conversations:
            for batch, placed in self._picked(file):
                ops = pa.array([INSERT if one is None else one.op for one in placed], pa.string())
                yield self._dressed(batch, ops, file)
        gone = [(name, one.created_at) for name, one in self._survey.placed.items() if one.op == DELETE]
        yield from self._without_content(gone)

    def _turns(self) -> Iterator[pa.RecordBatch]:
        seen: set[str] = set()
        for file in self._survey.conversations:
            for turns in self._survey.after.turns_beside(file):
                for batch, placed in self._picked(turns):
                    ids = batch.column(ID_COLUMNS[TURNS]).to_pylist()
                    seen.update(name for name, one in zip(ids, placed, strict=True) if one is not None)
                    yield self._dressed(batch, pa.repeat(REPLACE, batch.num_rows), turns)
        # One that has no turn any more may have had some.
        yield from self._without_content([(name, None) for name in self._survey.placed if name not in seen])

    def _picked(self, file: DataFile) -> Iterator[tuple[pa.RecordBatch, list[Placed | None]]]:
        """Yields the wanted rows of a part, each with what became of its conversation; None if it is just fresh."""
        survey, id_column, time_column = self._survey, ID_COLUMNS[file.table], SORT_COLUMNS[file.table]
        for batch in self._rows.read(file, None, self._wants):
            follows = pc.is_in(batch.column(id_column), survey.followed)
            wanted = pc.or_(survey.are_fresh(batch.column(time_column)), follows)
            some = batch.filter(wanted)
            if not some.num_rows:
                continue
            ids, times = some.column(id_column).to_pylist(), some.column(time_column).cast(pa.int64()).to_pylist()
            followed = follows.filter(wanted).to_pylist()
            placed = [survey.placed.get(one) if is_ else None for one, is_ in zip(ids, followed, strict=True)]
            keep = [
                not is_ or (one is not None and one.op != DELETE and one.created_at == created_at)
                for is_, one, created_at in zip(followed, placed, times, strict=True)
            ]
            if not all(keep):
                some = some.filter(pa.array(keep, pa.bool_()))
                placed = [one for one, kept in zip(placed, keep, strict=True) if kept]
            if placed:
                yield some, placed

    @cached_property
    def _wants(self) -> Wants:
        placed = self._survey.placed.values()
        times = sorted({one.created_at for one in placed if one.op != DELETE})
        fresh_within = self._survey.fresh_within
        return lambda first, last: is_among(times, first, last) or bool(fresh_within(first, last))

    def _dressed(self, batch: pa.RecordBatch, ops: pa.Array, file: DataFile) -> pa.RecordBatch:
        """Returns rows with the columns of the feed. A column that was added after the part was written is null."""
        names, rows = batch.schema.names, batch.num_rows

        def column(field: pa.Field) -> pa.Array:
            if field.name in names:
                return batch.column(field.name)
            if field.name in file.partition:
                return pa.repeat(partition_value(file.partition, field), rows)
            return pa.nulls(rows, field.type)

        return self._batch(ops, column)

    def _without_content(self, rows: Iterable[tuple[str, Instant | None]]) -> Iterator[pa.RecordBatch]:
        """Yields a row that says delete for each of these ids, with its time if there is one."""
        ordered = sorted(rows)
        names = {ID_COLUMNS[self.table]: 0, **({SORT_COLUMN: 1} if self.table == CONVERSATIONS else {})}
        for start in range(0, len(ordered), _BATCH_ROWS):
            some = ordered[start : start + _BATCH_ROWS]

            def column(field: pa.Field, some: list[tuple[str, Instant | None]] = some) -> pa.Array:
                if field.name not in names:
                    return pa.nulls(len(some), field.type)
                return pa.array([row[names[field.name]] for row in some], field.type)

            yield self._batch(pa.repeat(DELETE, len(some)), column)

    def _batch(self, ops: pa.Array, column: Callable[[pa.Field], pa.Array]) -> pa.RecordBatch:
        rows, own = len(ops), len(_OWN_COLUMNS)
        columns = [
            ops,
            pa.repeat(pa.scalar(self.to, pa.int64()), rows),
            pa.repeat(pa.scalar(self.committed_at, _TIME), rows),
            *map(column, list(self.schema)[own:]),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def is_among(times: list[Instant], first: Instant, last: Instant) -> bool:
    """Returns whether one of these times, which ascend, is not before `first` and not after `last`."""
    position = bisect_left(times, first)
    return position < len(times) and times[position] <= last
