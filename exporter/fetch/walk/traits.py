"""Keeps what a run has learned of its server, for all its walks."""

import math
from bisect import bisect_right
from collections.abc import Generator
from operator import neg
from typing import Any, Final, Self, TypeAlias

from exporter.contract import BEGINNING, DAY, END_OF_TIME, MILLISECOND, SECOND, Instant
from exporter.coverage import Interval
from exporter.fetch.walk.approach import UNBOUNDED, Approach, nearest, shows_close_bound
from exporter.fetch.walk.filter_order import FilterOrder
from exporter.fetch.walk.rows import LoneRows, ShownRows
from exporter.fetch.walk.zone import LEAST_ZONE_SHIFT, MOST_ZONE_SHIFT, Unshifted
from exporter.model import Page, PageRequest, Rows, RowT

Answer: TypeAlias = tuple[PageRequest, Page[Any]]
AskingWhether: TypeAlias = Generator[PageRequest, Page[RowT], bool]

#: A page of ids is trusted to hold two rows, until this many in a row were cut after one.
_MOST_LONE_ROWS: Final = 50
#: The rows that a walk expects to see above its window: without one, nothing shows that the window's newest are there.
_ROWS_ABOVE: Final = 8
_FARTHEST_ABOVE: Final = 30 * DAY


class Traits:
    """Holds the finest time the server has shown, how it reads its bounds, and how dense and long its pages are.

    - `unit` (microseconds) divides every served `created_at`, so it is never finer than the precision that is served:
      by value, not by digits, since `.123000` may be milliseconds written long (source.md, 2).
    - `approach` is the one by which a known row last came back.
    - `newest` is where each list began when it was last seen whole, by the status it is asked for; `oldest` is where it
      was shown to end, and `lowest` and `highest` are the earliest and the latest row of the unfiltered list that an
      answer has shown. Below `proven_end`, none was shown with a lower bound either.
    - `reads_closely` means that a row within a second of a bound came back that the bound, cut or rounded to minutes,
      would have left out; `reads_exactly`, the same for seconds and milliseconds.
    - `expects_close_bounds` means that the question which shows that is under way: until it is answered, windows are
      begun as if they were.
    - `is_filtered` means that rows are left out of the list, `filter_order` when.
    - `cuts_at_random` means that the server has cut a page, and then delivered a longer one.
    - `shown` tells whether the rows of all lists are more than one.
    """

    def __init__(self, newest: Instant | None = None) -> None:
        self.unit: Instant = SECOND
        self.approach = Approach()
        self.newest: dict[str | None, Instant] = {} if newest is None else {None: newest}
        self.oldest: dict[str | None, Instant] = {}
        self.lowest = END_OF_TIME
        self.highest = BEGINNING
        self.proven_end = BEGINNING
        self.most_whole_rows = 0
        self.reads_closely = False
        self.expects_close_bounds = False
        self.is_filtered = False
        self.filter_order = FilterOrder()
        self.unshifted = Unshifted()
        self.reads_exactly = False
        self.cuts_at_random = False
        self.updated_at_missing = False
        self.fields_ignored = False
        self.shown = ShownRows()
        # The longest stretch of time that was asked for by bounds of which the upper one was read closely.
        self._close_span: Instant = 0
        # Taken as read because bounds were read closely, until one is not.
        self._assumed: list[Interval] = []
        # Lists have ended here: no row lies in these intervals.
        self._ended: list[Interval] = []
        # Since when a row of the list that is being read was updated; None: at any time.
        self._updated_since: Instant | None = None
        self._was_misread = False
        # A row that was shown may have left the list.
        self._loses_rows = False
        self._gap = 0.0
        self._lone_rows = LoneRows()
        # The largest pages that the server has delivered, none of which has as many rows and bytes as another.
        self._largest: list[Page[Any]] = []
        # The least of the pages that the server has cut, or whose lower bound it has misread; and of those that had no
        # lower bound.
        self._cut: list[Page[Any]] = []
        self._surely_cut: list[Page[Any]] = []

    @classmethod
    def of_a_part(cls) -> Self:
        """Returns the traits of one of several lists, from which rows go to others, before anything is known of it."""
        traits = cls()
        traits.is_filtered = traits._loses_rows = True
        return traits

    def expect(self, newest: Instant | None, density: float | None) -> None:
        """Takes what the first question has shown: where the list begins, and rows per microsecond; None: unknown."""
        if newest is not None:
            self.newest[None] = newest
        if density is not None:
            self._gap = 1 / density

    def observe(self, request: PageRequest, page: Page[Any]) -> None:
        """Learns from a page that is in order."""
        times, ids_only = page.rows.created_at, request.ids_only
        before = request.created_before
        if times and before is not None and request.before_cursor is not None and shows_close_bound(before, times[0]):
            self.reads_closely = not self._was_misread
            self._close_span = max(self._close_span, _span(request))
            grids = (MILLISECOND, SECOND)
            self.reads_exactly = self.reads_exactly or all(nearest(before, grid) < times[0] for grid in grids)
        if before is not None and request.before_cursor is not None and times and times[0] <= before:
            self.unshifted.note(before, times[0])
        self.unit = math.gcd(self.unit, *times)
        self.note_shown(request, page)
        self.updated_at_missing = self.updated_at_missing or None in page.rows.updated_at
        alike = [one for one in self._largest if one.bounds == page.bounds]
        if not any(len(one) >= len(page) and one.size_bytes >= page.size_bytes for one in alike):
            less = [one for one in alike if len(one) <= len(page) and one.size_bytes <= page.size_bytes]
            self._largest = [one for one in self._largest if one not in less]
            self._largest.append(Page(Rows([None] * len(page)), page.size_bytes, bounds=page.bounds))
        if not self._loses_rows:
            self._lone_rows.note(request, page, self.lowest)
        if ids_only:
            self.fields_ignored = self.fields_ignored or (len(page) > 0 and not page.is_narrow)
        else:
            self.most_whole_rows = max(self.most_whole_rows, len(page))
        if any(is_longer(page, cut) for cut in self._surely_cut if cut.is_narrow == page.is_narrow):
            self.cuts_at_random = True
        if len(page) > 1 and times[0] > times[-1]:
            self._gap = (times[0] - times[-1]) / (len(page) - 1)

    def begin_list(self, updated_since: Instant | None) -> None:
        """Forgets where the list ends, unless the one that is read next leaves out the same rows."""
        if updated_since != self._updated_since:
            self.lowest, self.proven_end = END_OF_TIME, BEGINNING
            self.highest = BEGINNING
            self.oldest.clear()
            self._ended.clear()
        self._updated_since = updated_since

    @property
    def reads_updates(self) -> bool:
        """Returns whether only what was updated since some time is read."""
        return self._updated_since is not None

    @property
    def oldest_row(self) -> Instant:
        """Returns the time of the oldest row: the beginning of time until one is known, the end if there is none."""
        if self.newest.get(None) == BEGINNING:
            return END_OF_TIME
        return min(self.oldest.values()) if None in self.oldest else BEGINNING

    def note_shown(self, request: PageRequest, page: Page[Any]) -> None:
        """Remembers the lowest and the highest row that any answer of the unfiltered list has shown, and whether
        several were shown."""
        self.shown.note(request, page)
        if request.is_plain and page.rows.created_at:
            self.lowest = min(self.lowest, page.rows.created_at[-1])
            # From a part of a list, rows go without being deleted.
            self.highest = BEGINNING if self._loses_rows else max(self.highest, page.rows.created_at[0])

    def has_read_closely(self, request: PageRequest) -> bool:
        """Returns whether bounds as far apart as those of `request` have been read closely."""
        return self.reads_closely and _span(request) <= self._close_span

    def begins_lower(self, approach: Approach, request: PageRequest, page: Page[Any], *, is_first: bool) -> bool:
        """Returns whether a list whose rows all lie below the bound is believed to begin with those of `page`.

        So it is if bounds have just been read as they were meant. But if its newest row lies so far below that a zone's
        change of clocks may hide others, it must have been asked for from further up.
        """
        before = request.created_before
        if before is None or not self.has_read_closely(request):
            return False
        if approach.extra >= MOST_ZONE_SHIFT:
            return True
        is_near = len(page) > 0 and before - page.rows.created_at[0] < LEAST_ZONE_SHIFT
        return is_first and (is_near or self.unshifted.covers(before))

    def assume(self, newest: Instant, end: Instant) -> None:
        """Assumes that no row lies between `newest` and `end`, because bounds have been read closely so far."""
        self._assumed.append(Interval(newest, end))

    def end(self, below: Interval) -> None:
        """Takes it that no row lies in `below`, because the list has ended above it."""
        self._ended.append(below)

    def assumed_empty(self, page: Page[Any]) -> Interval | None:
        """Returns where a row of `page`, which is in order, lies though none was assumed to lie there, once for each
        place."""
        times = page.rows.created_at
        for gaps in (self._assumed, self._ended):
            for gap in gaps:
                below = bisect_right(times, -gap.end, key=neg)
                if below < len(times) and times[below] > gap.start:
                    gaps.remove(gap)
                    return gap
        return None

    def misread(self) -> list[Interval]:
        """Notes that a bound was misread. Returns what was assumed until now; nothing will be from now on."""
        self._was_misread, self.reads_closely = True, False
        assumed, self._assumed = self._assumed, []
        return assumed

    def compare(self, earlier: Answer, later: Answer) -> None:
        """Learns that the server has cut a page, from another that shows rows that should have been on it."""
        page, (request, newer) = earlier[1], later
        if not page or len(page) >= page.limit or not _includes(earlier[0], request):
            return
        oldest, after = page.rows.created_at[-1], earlier[0].created_after
        least = oldest if after is None else after + self.unit
        was_cut = any(least < time < oldest or (after is None and time < oldest) for time in newer.rows.created_at)
        if not was_cut and _is_no_higher(request, earlier[0]):
            was_cut = bool(rows_by_time(newer.rows, oldest) - rows_by_time(page.rows, oldest))
        if was_cut and after is None and not _any_covers(self._surely_cut, page):
            self._surely_cut.append(page)
        if was_cut and not self.may_be_cut(page):
            self._cut.append(page)

    @property
    def shows_one_row(self) -> bool:
        """Returns whether the server shows one row a page, though ids alone were asked for, and more of them."""
        return self._lone_rows.count >= _MOST_LONE_ROWS

    def has_had_longer(self, listing: Page[Any]) -> bool:
        """Returns whether the server has delivered a page so long that no limit of its kind can cut `listing`."""
        return any(is_longer(page, listing) for page in self._largest)

    def may_be_cut(self, listing: Page[Any]) -> bool:
        """Returns whether `listing` may have been cut, as a page that was no longer and no larger has been."""
        return self.cuts_at_random or _any_covers(self._cut, listing)

    def approach_from_above(self, end: Instant, status: str | None) -> Approach:
        """Returns how to ask for a window that ends at `end`, so that a row above it is likely to come as well."""
        above = max(2 * SECOND, min(_FARTHEST_ABOVE, round(_ROWS_ABOVE * self._gap)))
        if self.reads_closely or self.expects_close_bounds:
            is_unshifted = above < LEAST_ZONE_SHIFT or self.unshifted.covers(end)
            above = 2 * SECOND if is_unshifted else MOST_ZONE_SHIFT
        newest = self.newest.get(status)
        if newest is not None and end + above > newest:
            return UNBOUNDED
        return Approach(self.approach.by, max(0, self.approach.extra) + above, self.approach.has_floor)


def _span(request: PageRequest) -> Instant:
    """Returns how far apart the bounds are, which an API may hold against each other (source.md, 14)."""
    lower = BEGINNING if request.created_after is None else request.created_after
    return (END_OF_TIME if request.created_before is None else request.created_before) - lower


def _any_covers(cut: list[Page[Any]], listing: Page[Any]) -> bool:
    """Returns whether one of the cut pages was no longer than `listing`, and no larger than it with one more row."""
    most_bytes = listing.size_bytes + _next_row_bytes(listing)
    alike = [page for page in cut if page.is_narrow == listing.is_narrow]
    return any(len(page) <= len(listing) and page.size_bytes <= most_bytes for page in alike)


def is_longer(page: Page[Any], listing: Page[Any]) -> bool:
    """Returns whether `page` has more rows than `listing`, and more bytes than `listing` would have with one more row.

    It counts only where the same bounds were asked for: each kind of question may have a limit of its own.
    """
    if page.bounds != listing.bounds:
        return False
    return len(page) > len(listing) and page.size_bytes > listing.size_bytes + _next_row_bytes(listing)


def _next_row_bytes(listing: Page[Any]) -> float:
    """Returns what one more row might weigh.

    Rows of ids alone are nearly of one size. Where the API ignores `fields`, they are not, and the next row is trusted
    not to be twenty times as large as these.
    """
    mean_bytes = listing.size_bytes / max(1, len(listing))
    return 2 * mean_bytes + 64 if listing.is_narrow else 20 * mean_bytes


def _includes(earlier: PageRequest, later: PageRequest) -> bool:
    """Returns whether `later` asks, as far as it is not newer or older, for part of what `earlier` asked for."""
    is_whole = earlier.updated_after is None and earlier.updated_before is None
    are_alike = (earlier.status, earlier.filtered, earlier.extra) == (later.status, later.filtered, later.extra)
    return is_whole and are_alike


def _is_no_higher(later: PageRequest, earlier: PageRequest) -> bool:
    pairs = ((later.created_before, earlier.created_before), (later.before_cursor, earlier.before_cursor))
    return all(above is None or (bound is not None and bound <= above) for bound, above in pairs)


def rows_by_time(rows: Rows[Any], instant: Instant) -> set[str]:
    """Returns the ids of the rows that were served with this `created_at`."""
    return {row.id for row, time in zip(rows.rows, rows.created_at, strict=True) if time == instant}
