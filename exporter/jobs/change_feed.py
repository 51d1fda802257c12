"""Gives the rows of a change feed, which it reads from the parts of its later generation.

Blocking code, except for `ChangeFeed.__aiter__`.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread

from exporter.contract import Instant, to_datetime
from exporter.jobs.change_survey import Survey, is_among
from exporter.jobs.dataset import partition_value
from exporter.layout import CONVERSATIONS, TURNS
from exporter.log.net_changes import DELETE, INSERT, Placed
from exporter.model import DataFile
from exporter.parts.columns import ID_COLUMNS, SORT_COLUMN, SORT_COLUMNS
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
