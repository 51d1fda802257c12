"""Passes rows that share one time, of which there are more than a page shows.

Plain data and decisions, without I/O.
"""

from collections.abc import Generator
from typing import TypeAlias

from msgspec.structs import replace

from exporter.contract import MAX_PAGE_SIZE, Instant
from exporter.coverage import Interval
from exporter.fetch.walk.approach import UNBOUNDED, Approach, Search
from exporter.fetch.walk.descent import AskingForPage, Descent, first_below
from exporter.fetch.walk.group import Group
from exporter.fetch.walk.rows import TimedRow, rows_of
from exporter.fetch.walk.traits import rows_by_time
from exporter.model import Page, PageRequest, RowT, Unproven

_AskingForRequest: TypeAlias = Generator[PageRequest, Page[RowT], PageRequest]


class Passage(Descent[RowT]):
    """Goes on from rows at the anchor of which there are more than a page shows."""

    def _tell_apart(self) -> AskingForPage[RowT]:
        """Goes on from rows at the anchor of which there are more than a page shows.

        The upper bound is lowered as far as the answer still shows a known one, even below the served precision (2).
        """
        approach = replace(self._traits.approach, has_floor=False)
        search = Search(approach, is_expected=True)
        self._below, self._is_among_equals = None, False
        while (lower := search.approach) is not None and lower.by == approach.by and lower.extra <= approach.extra:
            request = replace(self._ask(lower, MAX_PAGE_SIZE), entire=True)
            page = yield request
            if not self._shows_known(lower, page):
                self._is_among_equals |= self._begins_among_equals(page)
                self._keep_below(request, page)
                search.too_low()
                continue
            if self._brings_older(page):
                return page
            self._hold(page.rows[first_below(page.rows.created_at, self.settled_from) :])
            fresh = rows_by_time(page.rows, self._anchor) - self._known
            self._known |= fresh
            if 2 * len(fresh) >= len(page):
                search = Search(lower, is_expected=True)
            search.too_high(max(self._traits.unit // 2, page.rows.created_at[0] - self._anchor))
        if search.is_ignored:
            raise self._ignored()
        return (yield from self._pass_group(search))

    def _ask_from_above(self) -> _AskingForRequest[RowT]:
        """Returns a question that is answered from above the anchor, and so asks for all rows at it."""
        newest = self._traits.newest.get(self._status)
        first = UNBOUNDED if newest is not None and newest <= self._anchor else self._traits.approach
        search = Search(replace(first, has_floor=False), is_expected=False)
        while (approach := search.approach) is not None and not approach.is_unbounded:
            request = self._ask(approach, MAX_PAGE_SIZE)
            page = yield replace(request, ids_only=True, limit=1)
            if page and page.rows.created_at[0] > self._anchor:
                return request
            search.too_low()
        return self._ask(UNBOUNDED, MAX_PAGE_SIZE)

    def _pass_group(self, search: Search) -> AskingForPage[RowT]:
        """Finishes the rows that no bound tells apart, and returns the page below them."""
        if self._anchor < self.start:
            # The rows were given away in the meantime.
            return None
        if self._below is None:
            lower = Approach(extra=-2 * self._traits.unit, has_floor=False)
            request = self._ask(lower, MAX_PAGE_SIZE)
            self._keep_below(request, (yield request))
        below = self._below
        floor = None if below is None else below.rows.created_at[0]
        is_above = floor is not None and floor >= self.end
        if not is_above and (self._anchor < self.end or not self._is_told_apart(search)):
            question = yield from self._ask_from_above()
            group = Group(self._anchor, question, below, self._traits, self._held, self._known, self._status)
            yield from group.enumerate()
            rows = [row for row in group.rows.values() if self.start <= row[1] < self.settled_from]
            self._held = {row[0].id: row for row in rows if row[1] == floor}
            self._settled += rows_of(sorted((row for row in rows if row[1] != floor), key=_time_of, reverse=True))
            self._doubt(
                group.doubt, floor, sum(row[1] != floor for row in rows), is_told_apart=self._is_told_apart(search)
            )
        if below is None or floor is None:
            self._held = {}
            if self.start < self._anchor:
                self._ended_below = Interval(self.start, min(self._anchor, self.end))
            self.settled_from = self.start
            return None
        if floor < self.start:
            self.settled_from = self.start
            return None
        self.settled_from = min(self.settled_from, floor + 1)
        self._position = self._anchor = floor
        self._known, self._is_listed = rows_by_time(below.rows, floor), False
        self._above = None
        if floor < self.end:
            self._hold(below.rows[: first_below(below.rows.created_at, floor)])
        return below

    def _doubt(self, reason: str, floor: Instant | None, rows: int, *, is_told_apart: bool) -> None:
        """Doubts the rows at the anchor, and down to `floor` unless they are told apart from what lies there."""
        until = min(self._anchor, self.end - 1)
        since = until if is_told_apart else self.start if floor is None else max(floor, self.start)
        if reason and self.start <= since <= until:
            self._unproven += (Unproven(until, rows, reason, since),)

    def _is_told_apart(self, search: Search) -> bool:
        """Returns whether the rows at the anchor are shown to be all between the answers above and below it."""
        is_between = search.ends_within_a_microsecond and not self._is_among_equals and self._below is not None
        return is_between and self._traits.reads_exactly and self._traits.unit == 1


def _time_of(row: TimedRow[RowT]) -> Instant:
    return row[1]
