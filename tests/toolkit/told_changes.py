"""Compares what files of changes tell with the difference of all rows before and after, which is read naively."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from exporter.contract import BEGINNING, END_OF_TIME, Instant
from exporter.coverage import Coverage, Interval
from exporter.log.feed import touches
from exporter.log.fold import apply
from exporter.log.state import Commit, State
from exporter.model import ChangesFile
from exporter.parts.changes import SCHEMA
from tests.toolkit.canary_search import OpenParquet

#: An id, and where a row of it was and is.
Told: TypeAlias = tuple[str, Instant | None, Instant | None]
#: Rows of an id: when they were created, and what is in them.
Rows: TypeAlias = Counter[tuple[Instant, str]]


class Table(NamedTuple):
    """Holds what the table of conversations has at a generation."""

    state: State
    rows: dict[str, Rows]


def table_of(root: Path, state: State, open_parquet: OpenParquet = pq.ParquetFile) -> Table:
    """Reads all conversations of a destination."""
    found: dict[str, Rows] = {}
    for file in state.conversations:
        with open_parquet(root / file.path) as part:
            rows = part.read()
        times = rows.column("created_at").cast(pa.int64()).to_pylist()
        for created_at, row in zip(times, rows.to_pylist(), strict=True):
            said = repr({name: value for name, value in row.items() if value is not None})
            found.setdefault(row["id"], Counter())[created_at, said] += 1
    return Table(state, found)


def read_told(root: Path, files: Iterable[ChangesFile], open_parquet: OpenParquet = pq.ParquetFile) -> list[Told]:
    """Reads files of changes, and checks that they are as their commits say."""
    found: list[Told] = []
    for file in files:
        with open_parquet(root / file.path) as part:
            rows = part.read()
        assert rows.schema.equals(SCHEMA)
        ids, was, is_ = (rows.column(0), *(rows.column(name).cast(pa.int64()) for name in ("was_at", "created_at")))
        assert (len(rows), was.null_count, is_.null_count) == (file.rows, file.inserted, file.deleted)
        assert file.rows == file.inserted + file.updated + file.deleted > 0
        found += zip(ids.to_pylist(), was.to_pylist(), is_.to_pylist(), strict=True)
    assert all(was is not None or created_at is not None for _, was, created_at in found)
    return found


def check_told(
    root: Path, before: Table, after: Table, commits: Sequence[Commit], open_parquet: OpenParquet = pq.ParquetFile
) -> None:
    """Checks that the files of `commits`, which lie between two tables, tell all that differs between them, unless one
    of them is a break."""
    state, is_told = before.state, True
    balance, named = Counter[str](), set[str]()
    everything = Coverage([Interval(BEGINNING, END_OF_TIME)])
    reset = everything - state.coverage
    for commit in commits:
        change = commit.change
        own = [file for file in change.changed if file.in_place_of is None]
        assert len(own) <= 1
        is_break = touches(state.live, commit.kind, change) and not own
        # Such a file is there for nothing else, and only these commands may leave it out.
        assert touches(state.live, commit.kind, change) or not own
        assert not is_break or commit.kind in ("protect", "repair")
        is_told = is_told and not is_break
        state = apply(state, commit)
        paths = [path for path, told in after.state.feed.told.items() if told.number == commit.number]
        is_told = is_told and len(paths) == len(own)
        for identity, was_at, created_at in read_told(root, map(after.state.changes.__getitem__, paths), open_parquet):
            for at, step in ((was_at, -1), (created_at, 1)):
                if at is not None and at not in reset:
                    balance[identity] += step
                    named.add(identity)
        reset |= Coverage(change.uncovers)
    assert state.number == after.state.number
    assert (after.state.feed_start <= before.state.number) == is_told
    for identity in before.rows.keys() | after.rows.keys() if is_told else ():
        was = before.rows.get(identity, Counter())
        rows = after.rows.get(identity, Counter()).items()
        now = Counter({row: count for row, count in rows if row[0] not in reset})
        assert now.total() == was.total() + balance[identity], f"{identity}: {was} became {now}, {balance[identity]}"
        assert was == now or identity in named, f"{identity}: {was} became {now} untold"
