"""The rows of the server in order, and which of them a page holds."""

import random
from bisect import bisect_left, bisect_right, insort_right
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice

from exporter.contract import SECOND, Instant
from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.filters import Query
from exporter.sandbox.render import served_instant
from exporter.sandbox.rows import Row


def _age(row: Row) -> Instant:
    return row.created_at


class Listing:
    """Rows by `created_at`; equal ones stay in the order in which they were given, newest first."""

    def __init__(self, rows: Iterable[Row]) -> None:
        #: From old to new, so that a page is a reversed slice.
        self._rows = sorted(rows, key=_age, reverse=True)[::-1]
        self._by_id: dict[str, Row] | None = None
        self._some_hidden = any(row.visible_from is not None for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        """From new to old."""
        return reversed(self._rows)

    def insert(self, row: Row) -> None:
        insort_right(self._rows, row, key=_age)
        self._some_hidden |= row.visible_from is not None
        if self._by_id is not None and isinstance(identity := row.facts().get("id"), str):
            self._by_id[identity] = row

    def delete(self, identity: str) -> Row:
        """The row that is gone. Raises `KeyError`."""
        row = self._index().pop(identity)
        position = bisect_left(self._rows, row.created_at, key=_age)
        while self._rows[position] is not row:
            position += 1
        del self._rows[position]
        return row

    def get(self, identity: str, behaviour: Behaviour, now: Instant) -> Row | None:
        row = self._index().get(identity)
        return row if row is not None and _is_visible(row, behaviour, now) else None

    def page(self, query: Query, behaviour: Behaviour, now: Instant, rng: random.Random) -> list[Row]:
        """At most `query.limit` rows, in the order in which they are served."""
        start, end = self._bounds(query, behaviour)
        oldest_first = behaviour.order == "oldest"
        keep = self._keep(query, behaviour, now)
        if keep is None and behaviour.equals == "fixed":
            if oldest_first:
                return self._rows[start : min(end, start + query.limit)]
            page = self._rows[max(start, end - query.limit) : end][::-1]
        else:
            order = range(start, end) if oldest_first else range(end - 1, start - 1, -1)
            found: Iterable[Row] = map(self._rows.__getitem__, order)
            if keep is not None:
                found = filter(keep, found)
            if behaviour.equals == "shuffled":
                found = _shuffle_equals(found, rng)
            page = list(islice(found, query.limit))
        if behaviour.order == "shuffled":
            rng.shuffle(page)
        return page

    def _bounds(self, query: Query, behaviour: Behaviour) -> tuple[int, int]:
        def age(row: Row) -> Instant:
            if behaviour.compares == "stored":
                return row.created_at
            return served_instant(row.created_at, behaviour.precision, behaviour.rounding)

        start = 0 if query.after is None else bisect_left(self._rows, query.after, key=age)
        end = len(self._rows) if query.before is None else bisect_right(self._rows, query.before, key=age)
        if query.cursor is not None:
            bisect = bisect_left if behaviour.cursor == "strict" else bisect_right
            end = min(end, bisect(self._rows, query.cursor, key=age))
        return start, max(start, end)

    def _keep(self, query: Query, behaviour: Behaviour, now: Instant) -> Callable[[Row], bool] | None:
        """What decides row by row; None when every row within the bounds is served."""
        may_hide = self._some_hidden or behaviour.visible_delay > 0
        hides_token_created = behaviour.hides_token_created and not query.names_status
        if not (query.narrows or may_hide or hides_token_created):
            return None
        return lambda row: (
            (not may_hide or _is_visible(row, behaviour, now))
            and not (hides_token_created and row.facts().get("status") == "token_created")
            and query.matches(row)
        )

    def _index(self) -> dict[str, Row]:
        if self._by_id is None:
            self._by_id = {identity: row for row in self._rows if isinstance(identity := row.facts().get("id"), str)}
        return self._by_id


def _is_visible(row: Row, behaviour: Behaviour, now: Instant) -> bool:
    if row.visible_from is not None and now < row.visible_from:
        return False
    return not behaviour.visible_delay or now >= row.created_at + int(behaviour.visible_delay * SECOND)


def _shuffle_equals(rows: Iterable[Row], rng: random.Random) -> Iterator[Row]:
    for _, equals in groupby(rows, key=_age):
        group = list(equals)
        rng.shuffle(group)
        yield from group
