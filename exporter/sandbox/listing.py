"""Keeps the rows of the server in order, and decides which of them a page holds."""

import random
from bisect import bisect_left, bisect_right, insort_right
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from typing import Final

from exporter.contract import SECOND, Instant
from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.filters import Bound, ParsedQuery, compared
from exporter.sandbox.rows import Row

#: Rows are stored to the tenth of a microsecond.
_TENTHS: Final = 10
#: A time multiplied by the first, modulo the second, lies anywhere.
_FACTOR: Final = 1_311_768_467_294_899_695
_PRIME: Final = (1 << 61) - 1


def _age(row: Row) -> int:
    return row.created_at * _TENTHS + row.tenths


class Listing:
    """Keeps rows by `created_at`; equal ones stay in the order in which they were given, newest first."""

    def __init__(self, rows: Iterable[Row]) -> None:
        #: They run from old to new, so that a page is a reversed slice.
        self._rows = sorted(rows, key=_age, reverse=True)[::-1]
        self._by_id: dict[str, Row] | None = None
        #: The rows that were deleted and have not come back, by id.
        self.deleted: dict[str, Row] = {}
        self._some_hidden = any(row.visible_from is not None for row in self._rows)

    def __iter__(self) -> Iterator[Row]:
        """Yields the rows from new to old."""
        return reversed(self._rows)

    def insert(self, row: Row) -> None:
        insort_right(self._rows, row, key=_age)
        self._some_hidden |= row.visible_from is not None
        if not isinstance(identity := row.facts().get("id"), str):
            return
        self.deleted.pop(identity, None)
        if self._by_id is not None:
            self._by_id[identity] = row

    def delete(self, identity: str) -> Row:
        """Deletes the row with this id, and returns it. Raises `KeyError` if there is none."""
        row = self.deleted[identity] = self._index()[identity]
        self.remove(row)
        return row

    def remove(self, row: Row) -> None:
        position = bisect_left(self._rows, _age(row), key=_age)
        while self._rows[position] is not row:
            position += 1
        del self._rows[position]
        if self._by_id is not None and isinstance(identity := row.facts().get("id"), str):
            del self._by_id[identity]

    def get(self, identity: str, behaviour: Behaviour, now: Instant) -> Row | None:
        row = self._index().get(identity)
        return row if row is not None and _is_visible(row, behaviour, now) else None

    def page(self, query: ParsedQuery, behaviour: Behaviour, now: Instant, rng: random.Random) -> list[Row]:
        """Returns at most `query.limit` rows, in the order in which they are served."""
        start, end = self._bounds(query, behaviour)
        keep = self._keep(query, behaviour, now)
        if keep is None and behaviour.equals == "fixed" and behaviour.order in ("newest", "oldest"):
            if behaviour.order == "oldest":
                return self._rows[start : min(end, start + query.limit)]
            return self._rows[max(start, end - query.limit) : end][::-1]
        found: Iterable[Row] = self._ordered(start, end, behaviour)
        if keep is not None and behaviour.filters == "before-limit":
            found = filter(keep, found)
        if behaviour.equals == "shuffled":
            found = _shuffle_equals(found, rng)
        page = list(islice(found, query.limit))
        if keep is not None and behaviour.filters == "after-limit":
            page = list(filter(keep, page))
        if behaviour.order == "shuffled":
            rng.shuffle(page)
        return page

    def _ordered(self, start: int, end: int, behaviour: Behaviour) -> Iterable[Row]:
        if behaviour.order == "unordered":
            return sorted(self._rows[start:end], key=lambda row: _age(row) * _FACTOR % _PRIME)
        order = range(start, end) if behaviour.order == "oldest" else range(end - 1, start - 1, -1)
        return map(self._rows.__getitem__, order)

    def _bounds(self, query: ParsedQuery, behaviour: Behaviour) -> tuple[int, int]:
        def age(row: Row) -> int:
            return _age(row) if behaviour.compares == "stored" else compared(row.created_at, behaviour) * _TENTHS

        def count(bound: Bound, *, with_its_own: bool) -> int:
            """Counts the rows that are older than a bound, or also those of its own time."""
            return (bisect_right if with_its_own else bisect_left)(self._rows, bound.at * _TENTHS, key=age)

        start = 0 if query.after is None else count(query.after, with_its_own=not query.after.included)
        bounds = [bound for bound in (query.before, query.cursor) if bound is not None]
        ends = [count(bound, with_its_own=bound.included) for bound in bounds]
        end = min(ends, default=len(self._rows))
        return start, max(start, end)

    def _keep(self, query: ParsedQuery, behaviour: Behaviour, now: Instant) -> Callable[[Row], bool] | None:
        """Returns a function that decides row by row, or None if every row within the bounds is served."""
        may_hide = self._some_hidden or behaviour.visible_delay > 0
        hides_token_created = behaviour.hides_token_created and not query.names_status
        if not (query.tests or may_hide or hides_token_created):
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
