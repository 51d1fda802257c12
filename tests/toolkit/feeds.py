"""Reads whole tables and change feeds, and says what a feed must be: the difference of two tables."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio

import exporter
from exporter.jobs.change_feed import ChangeFeed
from exporter.jobs.changes import changes
from exporter.model import CONVERSATIONS, TURNS
from exporter.run.encryption import ReaderKeys
from exporter.store.location import Location

Rows: TypeAlias = dict[str, Any]
#: The rows of each conversation: one in the table `conversations`, any number in `turns`.
Table: TypeAlias = dict[str, list[Rows]]
_OWN = ("_op", "_generation", "_committed_at")
_IDS = {CONVERSATIONS: "id", TURNS: "conversation_id"}


def grouped(rows: Iterable[Rows], table: str) -> Table:
    """Returns rows by conversation, in an order of their own."""
    found: Table = {}
    for row in rows:
        found.setdefault(row[_IDS[table]], []).append(row)
    return {name: sorted(some, key=repr) for name, some in found.items()}


def read_table(root: Path | str, table: str = CONVERSATIONS) -> Table:
    """Returns what a table holds now."""
    return grouped(exporter.open_dataset(root, table).to_table().to_pylist(), table)


def feed_of(
    root: Location, since: int, to: int | None = None, table: str = CONVERSATIONS, keys: ReaderKeys | None = None
) -> ChangeFeed:
    return anyio.run(partial(changes, root, since, to=to, table=table, keys=keys or ReaderKeys({})))


def rows_of(feed: ChangeFeed) -> list[Rows]:
    return [row for batch in feed for row in batch.to_pylist()]


def applied(before: Table, rows: Iterable[Rows], table: str) -> Table:
    """Returns what a consumer makes of a table."""
    after, added = dict(before), dict[str, list[Rows]]()
    for row in rows:
        plain = {name: value for name, value in row.items() if name not in _OWN}
        after.pop(row[_IDS[table]], None)
        if row["_op"] != "delete":
            added.setdefault(row[_IDS[table]], []).append(plain)
    return after | {name: sorted(some, key=repr) for name, some in added.items()}


def check_feed(before: Table, feed: ChangeFeed, after: Table, *, is_exact: bool = True) -> None:
    """Checks that a feed makes one table of another; if it `is_exact`, that it names no row that did not change."""
    rows = rows_of(feed)
    assert applied(before, rows, feed.table) == after
    assert {(row["_generation"], row["_committed_at"]) for row in rows} <= {(feed.to, feed.committed_at)}
    if feed.table != CONVERSATIONS:
        return
    ops = {row["id"]: row["_op"] for row in rows}
    assert len(ops) == len(rows), "an id is there twice"
    counts: Mapping[str, int] = {op: [*ops.values()].count(op) for op in ("insert", "update", "delete")}
    assert list(counts.values()) == [feed.inserts, feed.updates, feed.deletes]
    for row in rows:
        if row["_op"] == "delete":
            known = {name for name, value in row.items() if value is not None}
            assert known == {*_OWN, "id", "created_at"}
            assert row["created_at"] == before[row["id"]][0]["created_at"]
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    expected = {
        **dict.fromkeys(after.keys() - before.keys(), "insert"),
        **dict.fromkeys(before.keys() - after.keys(), "delete"),
        **dict.fromkeys(changed, "update"),
    }
    if is_exact:
        assert ops == expected
    else:
        assert ops.items() >= expected.items()
