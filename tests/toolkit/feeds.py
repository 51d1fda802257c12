"""Remembers what tables held at each generation, and says what a change feed between two of them must be."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pyarrow.parquet as pq

from exporter.errors import ChangesGoneError
from exporter.jobs.change_feed import ChangeFeed
from exporter.jobs.changes import changes
from exporter.keys import DATA_VARIABLE, Keys
from exporter.log.state import State
from exporter.model import CONVERSATIONS, TABLES, TURNS
from exporter.partitions import PARTITION_KEYS
from exporter.store.location import Location
from tests.toolkit.canary_search import OpenParquet

Row: TypeAlias = dict[str, Any]
#: The rows of each conversation: one in the table `conversations`, any number in `turns`.
Table: TypeAlias = dict[str, list[Row]]
_OWN = ("_op", "_generation", "_committed_at")
_IDS = {CONVERSATIONS: "id", TURNS: "conversation_id"}


def feed_of(
    root: Location, since: int, to: int | None = None, table: str = CONVERSATIONS, key: str | None = None
) -> ChangeFeed:
    keys = Keys({} if key is None else {DATA_VARIABLE: key})
    return anyio.run(partial(changes, root, since, to=to, table=table, keys=keys))


def rows_of(feed: ChangeFeed) -> list[Row]:
    return [row for batch in feed for row in batch.to_pylist()]


def _grouped(rows: Iterable[Row], table: str) -> Table:
    found: Table = {}
    for row in rows:
        # A null and a column that was added later are the same, and the key of a partition follows from the time.
        told = {name: value for name, value in row.items() if value is not None and name not in (*_OWN, *_KEYS)}
        found.setdefault(row[_IDS[table]], []).append(told)
    return {name: sorted(some, key=repr) for name, some in found.items()}


_KEYS = frozenset(PARTITION_KEYS)


@dataclass
class Generations:
    """Holds the tables of a destination at each generation that was noted."""

    root: Path
    tables: dict[int, dict[str, Table]] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)

    def note(self, state: State, open_parquet: OpenParquet = pq.ParquetFile) -> None:
        """Reads all parts that are live now, naively."""
        if state.number in self.tables:
            return
        rows: dict[str, list[Row]] = {table: [] for table in TABLES}
        for file in state.files.values():
            if file.table in TABLES:
                with open_parquet(self.root / file.path) as part:
                    rows[file.table] += part.read().to_pylist()
        self.tables[state.number] = {table: _grouped(some, table) for table, some in rows.items()}
        self.states[state.number] = state

    def check(self, since: int, to: int | None = None, *, key: str | None = None, is_exact: bool = False) -> None:
        """Checks the feeds of all tables from one noted generation to another. If it `is_exact`, they name no
        conversation that did not change."""
        head = self.states[max(self.states)]
        after = head if to is None else self.states[to]
        if head.request is None:
            return
        for table in head.request.tables:
            try:
                feed = feed_of(self.root, since, to, table, key)
            except ChangesGoneError as error:
                # Parts of an older generation may be gone, and so may files of changes that it had.
                assert since and (since < head.feed_start or after.number < head.number), error
                continue
            assert since == 0 or since >= after.feed_start
            before = self.tables[since][table] if since else {}
            _check(before, feed, self.tables[after.number][table], bool(after.unsettled), is_exact)

    def check_from_all(self, since: Iterable[int] | None = None, **options: Any) -> None:
        """Checks the feeds from these noted generations, or all, and from 0."""
        for number in (0, *(self.tables if since is None else since)):
            self.check(number, **options)


def _check(before: Table, feed: ChangeFeed, after: Table, is_unsettled: bool, is_exact: bool) -> None:
    rows = rows_of(feed)
    named = {row[_IDS[feed.table]] for row in rows}
    wanted = _grouped((row for row in rows if row["_op"] != "delete"), feed.table)
    applied = {name: some for name, some in before.items() if name not in named} | wanted
    assert applied.keys() == after.keys()
    for name, some in applied.items():
        # What is there twice, until a run settles it, is given once.
        assert some == after[name] or (is_unsettled and all(row in after[name] for row in some)), name
    assert {(row["_generation"], row["_committed_at"]) for row in rows} <= {(feed.to, feed.committed_at)}
    if feed.table == TURNS:
        assert {row["_op"] for row in rows} <= {"replace", "delete"}
        return
    ops = {row["id"]: row["_op"] for row in rows}
    assert len(ops) == len(rows), "an id is there twice"
    counts = [[*ops.values()].count(op) for op in ("insert", "update", "delete")]
    assert counts == [feed.inserts, feed.updates, feed.deletes]
    for row in rows:
        if row["_op"] == "delete":
            assert {name for name, value in row.items() if value is not None} == {*_OWN, "id", "created_at"}
            assert row["created_at"] in [one["created_at"] for one in before[row["id"]]]
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    expected = {
        **dict.fromkeys(after.keys() - before.keys(), "insert"),
        **dict.fromkeys(before.keys() - after.keys(), "delete"),
        **dict.fromkeys(changed, "update"),
    }
    assert ops == expected if is_exact else ops.items() >= expected.items()
