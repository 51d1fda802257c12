"""Descends through a list: asks what lies at and below a row, and applies the answers.

`walk` holds the rules, and decides by these steps. Plain data and decisions, without I/O.
"""

from bisect import bisect_right
from collections.abc import Generator, Sequence
from operator import neg
from typing import Final, Generic, TypeAlias

from msgspec.structs import replace

from exporter.contract import BEGINNING, END_OF_TIME, MAX_PAGE_SIZE, SECOND, Instant, format_instant
from exporter.coverage import Interval
from exporter.errors import ContradictionError
from exporter.fetch.walk.approach import Approach, Search
from exporter.fetch.walk.newest import check_newest
from exporter.fetch.walk.rows import Outline, TimedRow, each_row, ids_of, outline, rows_of
from exporter.fetch.walk.traits import Traits, rows_by_time
from exporter.fetch.walk.window import WindowProgress
from exporter.fetch.walk.zone import MOST_ZONE_SHIFT
from exporter.model import Page, PageRequest, Rows, RowT, Unproven

#: A page to go on with; None when there is nothing more to read.
AskingForPage: TypeAlias = Generator[PageRequest, Page[RowT], Page[RowT] | None]

#: Serving a row larger than this again costs more than a list of ids does.
_HEAVY_ROW_BYTES: Final = 256 * 1024
_MISREAD: Final = "the API has changed how it reads a bound, and may have left rows out at the end of a window"
#: This many rows above a window are read rather than asked around.
_FEW_ROWS: Final = 16
#: A walk asks further than its window by this part of the time that a page spans. At first it asks as far again as the
#: window is long: if the whole window fits on a page, a row below it ends it without another question.
_SPARE: Final = 1 / 8


class Descent(WindowProgress, Generic[RowT]):
    """Keeps what has been read of a window, and what the next answer must show: a known row, or one above it."""

    def __init__(self, window: Interval, traits: Traits, page_size: int, status: str | None = None) -> None:
        super().__init__(window)
        self._status = status
        self._open_below = window.open_below
        self._traits = traits
        self._page_size = page_size
        # The served time of the oldest row seen. Rows at it are held until it is known that they are all there.
        self._position = END_OF_TIME
        self._held: dict[str, TimedRow[RowT]] = {}
        # What the next answer must show: one of these rows, or one above them. At first, any row above the window.
        self._anchor = window.end - 1
        self._known: set[str] = set()
        # The known rows have only been listed: all of them are still to come.
        self._is_listed = False
        # The page that came to the position from further up, without its rows' texts.
        self._above: Page[Outline] | None = None
        # An answer began at the anchor's time, with none of the known rows.
        self._is_among_equals = False
        # The latest search has ended among rows that no approach gets past.
        self._is_stuck = False
        # The answer with the newest rows, of those that began below the anchor.
        self._below: Page[RowT] | None = None
        self._spare = window.end - window.start
        # Where the list was taken to have ended above, because nothing was listed below a group.
        self._ended_below: Interval | None = None
        self._settled: Rows[RowT] = Rows()
        self._unproven: tuple[Unproven, ...] = ()

    # Questions.

    def _ask(self, approach: Approach, limit: int, anchor: Instant | None = None) -> PageRequest:
        """Returns the question of what lies at the anchor and below it."""
        anchor = self._anchor if anchor is None else anchor
        has_floor = approach.has_floor and not self._open_below
        request = PageRequest(limit, created_after=self.start - max(SECOND, self._spare) if has_floor else None)
        if approach.is_unbounded:
            return request
        # By either parameter alone, the rows at the anchor come again. One microsecond less for the inclusive one keeps
        # a large group one unit above, which is finished, from filling the page.
        before = anchor + self._traits.unit - 1 + approach.extra
        return replace(
            request,
            created_before=None if approach.by == "cursor" else before,
            before_cursor=None if approach.by == "bound" else before + 1,
        )

    def _search(self) -> Search:
        if self._position < END_OF_TIME:
            return Search(self._traits.approach, is_expected=True)
        return Search(self._traits.approach_from_above(self.end, self._status), is_expected=False)

    def _try(self, search: Search, *, ids_only: bool = False, entire: bool = False) -> AskingForPage[RowT]:
        """Asks by one approach after another, until a page shows a known row or one above it; None when none does."""
        first = search.approach
        self._below, self._is_stuck = None, False
        # Nothing has been listed from here down.
        is_bare = False
        limit = MAX_PAGE_SIZE if ids_only or entire else self._page_size
        while (approach := search.approach) is not None:
            request = replace(self._ask(approach, limit), ids_only=ids_only, entire=entire)
            if ids_only:
                request = replace(request, created_after=None)
            page = yield request
            if (gap := self._traits.assumed_empty(page)) is not None:
                yield from self._look_again(gap, page)
            if approach.is_unbounded:
                self._traits.newest[self._status] = page.rows.created_at[0] if page else BEGINNING
            is_known = self._position < END_OF_TIME
            if is_known and self._begins_among_equals(page) and not self._shows_known(approach, page):
                # There are more of them than a page holds.
                self._is_stuck = True
                return None
            if not self._shows_known(approach, page):
                if not is_known and not page and self.end <= self._traits.oldest.get(self._status, BEGINNING):
                    return None
                is_shown = len(page) > 0 or approach.is_unbounded or not is_bare
                if is_shown and self._may_begin_lower(approach, request, page, is_first=approach == first):
                    # Enough of the whole list to show its order.
                    rows = MAX_PAGE_SIZE if approach.is_unbounded else _FEW_ROWS
                    below = replace(request, limit=rows, created_after=None, ids_only=True)
                    top = page if page else (yield below)
                    if top and top.rows.created_at[-1] < self.end:
                        longer = below if page and not approach.is_unbounded else None
                        yield from check_newest(top, self._highest, longer)
                        return (yield from self._begin_at(top, page, is_newest=approach.is_unbounded))
                    is_bare = not top
                    if is_bare and approach.is_unbounded:
                        return None
                self._keep_below(request, page)
                is_close = not is_known and self._traits.has_read_closely(request)
                search.too_low(MOST_ZONE_SHIFT if is_close else 0)
            elif self._is_cut_above(request, page):
                search.too_high(page.rows.created_at[0] - self._anchor)
            else:
                is_shown_again = len(self._known & ids_of(page)) > 0
                if approach != first and is_shown_again:
                    self._learn(approach)
                if not is_shown_again and page.rows.created_at[0] <= self._anchor:
                    # The whole list is believed to begin below what is known.
                    yield from check_newest(page, self._highest)
                return page
        if search.is_ignored:
            raise self._ignored()
        self._is_stuck = search.was_high
        return None

    @property
    def _highest(self) -> Instant:
        """Returns the time of the latest row that an answer has shown; rows may leave the list of a status."""
        return self._traits.highest if self._status is None else BEGINNING

    def _look_again(self, gap: Interval, page: Page[RowT]) -> Generator[PageRequest, Page[RowT], None]:
        """Asks for the rows of `page` that lie in `gap`, in the way that the window ending there was asked for.

        They may have become visible in the meantime. If they are not shown, bounds are no longer read as they were.
        """
        newest = next(time for time in page.rows.created_at if time < gap.end)
        again = yield ids_up_to(gap.end + SECOND, _FEW_ROWS)
        if not again or again.rows.created_at[0] < newest:
            self._doubt_assumed(gap)

    def _doubt_assumed(self, *more: Interval) -> None:
        gaps = (*self._traits.misread(), *more)
        self._unproven += tuple(Unproven(gap.end - 1, 0, _MISREAD, gap.start) for gap in gaps)

    def _may_begin_lower(self, approach: Approach, request: PageRequest, page: Page[RowT], *, is_first: bool) -> bool:
        """Returns whether a list that shows no row above the window is believed to begin in it, or below.

        The whole list is, and so is one by bounds that are read as they are meant.
        """
        if request.ids_only or self._position < END_OF_TIME:
            return False
        if approach.is_unbounded and approach.has_floor:
            return True
        return self._traits.begins_lower(approach, request, page, is_first=is_first)

    def _begin_at(self, top: Page[RowT], page: Page[RowT], *, is_newest: bool) -> AskingForPage[RowT]:
        """Begins with `page`, or if it is empty, with the newest row that `top`, a list of ids, names.

        `is_newest` means that `top` begins with the newest row of the whole list.
        """
        times = top.rows.created_at
        newest = times[first_below(times, self.end)]
        if is_newest:
            self._traits.newest[self._status] = times[0]
        else:
            self._traits.assume(max(newest, self.start), self.end)
        if page:
            return page
        if newest < self.start:
            return None
        self._position, self._anchor = self.end, newest
        self._known, self._is_listed = rows_by_time(top.rows, newest), True
        return (yield from self._try(self._search()))

    def _learn(self, approach: Approach) -> None:
        """Remembers what has brought a known row back. Bounds that it shows to be misread are no longer trusted."""
        if approach.by != self._traits.approach.by or approach.extra > SECOND:
            self._doubt_assumed()
        self._traits.approach = approach

    def _ignored(self) -> ContradictionError:
        return ContradictionError(
            f"the API keeps answering with {format_instant(self._anchor)} and newer when it is asked for older "
            "conversations: it ignores cursor and created_before, and cannot be paged"
        )

    def _shows_known(self, approach: Approach, page: Page[RowT]) -> bool:
        times = page.rows.created_at
        if not times:
            return False
        if approach.is_unbounded or times[0] > self._anchor:
            return True
        return self._known <= ids_of(page) if self._is_listed else bool(self._known & ids_of(page))

    def _begins_among_equals(self, page: Page[RowT]) -> bool:
        return len(page) > 0 and page.rows.created_at[0] == self._anchor

    def _is_cut_above(self, request: PageRequest, page: Page[RowT]) -> bool:
        """Returns whether the page ends above the anchor: it was cut before it came to a row that is there.

        A walk knows of no row above its window. A few are read there, rather than asked around.
        """
        times = page.rows.created_at
        if times[-1] <= self._anchor or self._position < END_OF_TIME:
            return times[-1] > self._anchor
        before = request.created_before
        is_full = len(page) >= max(_FEW_ROWS, min(request.limit, self._traits.most_whole_rows))
        return is_full or (before is not None and times[0] > before + self._traits.unit)

    def _keep_below(self, request: PageRequest, page: Page[RowT]) -> None:
        newest = page.rows.created_at[0] if page and not request.ids_only else self._anchor
        if newest < self._anchor and (self._below is None or self._below.rows.created_at[0] < newest):
            self._below = page

    # Answers.

    def _brings_older(self, page: Page[RowT]) -> bool:
        return page.rows.created_at[-1] < self._position

    def _descend(self, page: Page[RowT]) -> None:
        """Finishes what lies above the oldest row of `page`, and holds back the rows at its time."""
        rows, times = page.rows, page.rows.created_at
        oldest = times[-1]
        self._spare = round((times[0] - oldest) * _SPARE)
        fresh = first_below(times, self.settled_from)
        if self._held:
            again = first_below(times, self.settled_from - 1)
            self._hold(rows[fresh:again])
            self._settled += rows_of(self._held.values())
            fresh = again
        if oldest < self.start:
            self._settled += rows[fresh : first_below(times, self.start)]
            self.settled_from = self.start
            return
        last = max(fresh, first_below(times, oldest + 1))
        self._settled += rows[fresh:last]
        self._held = {}
        self._hold(rows[last:])
        for row, _, _ in self._held.values():
            row.detach()
        self._position = self._anchor = oldest
        self._known, self._is_listed = rows_by_time(rows, oldest), False
        self._above = outline(page)
        self.settled_from = min(self.settled_from, oldest + 1)

    def _hold(self, rows: Rows[RowT]) -> None:
        for row in each_row(rows):
            self._held[row[0].id] = row

    def _is_heavy(self, page: Page[RowT]) -> bool:
        return page.size_bytes > _HEAVY_ROW_BYTES * len(page) and not self._traits.fields_ignored

    def _settle_held(self) -> None:
        self._settled += rows_of(self._held.values())
        self._held = {}
        self.settled_from = min(self.settled_from, self._position)


def ids_up_to(instant: Instant, limit: int = MAX_PAGE_SIZE) -> PageRequest:
    """Returns the question for the ids of the newest rows up to `instant`, by both parameters, with no lower bound."""
    return PageRequest(limit, created_before=instant, before_cursor=instant + 1, ids_only=True)


def first_below(descending: Sequence[Instant], instant: Instant) -> int:
    return bisect_right(descending, -instant, key=neg)
