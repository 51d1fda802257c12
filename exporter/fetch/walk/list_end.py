"""Looks for rows below where a list seems to end.

An API that leaves rows out of a page after it has limited it shows nothing where it leaves out more rows than a page
holds (source.md, 14). Only what lies below them tells them from the end of the list.

Plain data and decisions, without I/O.
"""

from collections.abc import Generator
from typing import Final

from msgspec.structs import replace

from exporter.contract import DAY, MAX_PAGE_SIZE, SECOND, Instant
from exporter.coverage import Interval
from exporter.fetch.walk.approach import UNBOUNDED
from exporter.fetch.walk.descent import AskingForPage, ids_up_to
from exporter.fetch.walk.passage import Passage
from exporter.fetch.walk.traits import AskingWhether, Traits, rows_by_time
from exporter.model import Page, PageRequest, RowT, Unproven

_LEFT_OUT: Final = "the API leaves rows out of its pages, and shows none in between"
#: A filtered list is searched this far below its last row: its rows are hardly further apart.
_FARTHEST_DOWN: Final = 3650 * DAY


class ListEnd(Passage[RowT]):
    """Goes on below where the list seems to end, and names what may have been left out there."""

    def __init__(self, window: Interval, traits: Traits, page_size: int, status: str | None = None) -> None:
        super().__init__(window, traits, page_size, status)
        self._newest: Instant | None = None

    @property
    def _bottom(self) -> Instant:
        """Returns how far down the list has been read: to the last row, or to where it was finished without one."""
        return min(self._position, self.settled_from)

    @property
    def _is_filtered(self) -> bool:
        return self._traits.is_filtered or self._status is not None

    def _go_on(self, *, entire: bool = False) -> AskingForPage[RowT]:
        """Returns a page that shows a known row, or one above it, and goes on from there; None when nothing is left."""
        page = yield from self._try(self._search(), entire=entire)
        return (yield from self._tell_apart()) if page is None and self._is_stuck else page

    def _ends_at_last_row(self) -> AskingWhether[RowT]:
        """Returns whether the list ends where it seems to: no rows are left out of it, or only before it is limited."""
        if not self._is_filtered:
            return True
        filter_order = self._traits.filter_order
        if self._status is not None or self._traits.reads_updates:
            return False
        if filter_order.is_untried and self._newest is not None:
            lowest = min(self._position, self._newest)
            above = self._newest if self._above is None else self._above.rows.created_at[0]
            for approach in (self._traits.approach, UNBOUNDED):
                if filter_order.is_untried:
                    yield from filter_order.learn(self._ask(approach, MAX_PAGE_SIZE, above), lowest)
        return filter_order.comes_first

    def _look_further_down(self) -> AskingForPage[RowT]:
        """Returns a page from below what may have been left out, where the list seems to end.

        A list is searched there if rows may have been left out of it after it was limited. Of another, a row that some
        answer has shown is asked for again.
        """
        if self.settled_from <= self.start:
            return None
        ends_here = yield from self._ends_at_last_row()
        page = yield from self._look_for_lowest()
        if ends_here or page is not None:
            return page
        nearest = yield from self._first_depth()
        if nearest is None:
            return None
        bottom, distance = nearest
        while distance < _FARTHEST_DOWN and bottom - distance > self.start:
            page = yield ids_up_to(bottom - distance)
            if page and page.rows.created_at[0] < self._position:
                # Where this list has seemed to end before, it may have gone on as well.
                self._traits.filter_order.ends_late = True
                return (yield from self._go_on_after_gap(page))
            distance *= 2
        return None

    def _first_depth(self) -> Generator[PageRequest, Page[RowT], tuple[Instant, Instant] | None]:
        """Returns where to look down from, and how far at first: to where the page ends that may have been left out."""
        seen = self.end if self._newest is None else min(self._position, self._newest)
        asked = self._ask(self._traits.approach, MAX_PAGE_SIZE, seen)
        page = yield replace(asked, created_after=None, filtered=False, ids_only=True)
        times = page.rows.created_at
        if self._newest is None:
            if not times:
                return None
            seen = min(seen, times[0])
            return seen, max(SECOND, seen - times[-1])
        distance = max(SECOND, (self._newest - seen) // 4)
        below = seen - times[-1] if times else 0
        return seen, min(distance, max(SECOND, below))

    def _look_for_lowest(self) -> AskingForPage[RowT]:
        lowest = self._traits.lowest
        # The list of a status need not have it.
        if self._status is not None or not self.start <= lowest < self._bottom:
            return None
        page = yield ids_up_to(lowest + SECOND)
        if page and page.rows.created_at[0] < self._bottom:
            return (yield from self._go_on_after_gap(page))
        return None

    def _go_on_after_gap(self, listing: Page[RowT]) -> AskingForPage[RowT]:
        """Goes on from `listing`, which began below the position, and names what lies between as unproven."""
        top = listing.rows.created_at[0]
        if self._position < self.end:
            self._settle_held()
        since, until = max(top, self.start), min(self._position, self.end - 1)
        if since <= until:
            self._unproven += (Unproven(until, 0, _LEFT_OUT, since),)
        if top < self.start:
            self.settled_from = self.start
            return None
        self._position, self._anchor = min(self._position, top + 1), top
        self.settled_from = min(self.settled_from, top + 1)
        self._known, self._is_listed = rows_by_time(listing.rows, top), True
        return (yield from self._go_on())

    def _name_ends(self, below: Interval) -> None:
        """Names what lies `below` the end of the list, and below earlier ones, if a filter is applied late."""
        filter_order = self._traits.filter_order
        filter_order.take_end(below)
        if filter_order.ends_late:
            self._unproven += tuple(Unproven(one.end - 1, 0, _LEFT_OUT, one.start) for one in filter_order.taken())
