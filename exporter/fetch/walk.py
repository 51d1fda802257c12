"""The walk: pages a window from new to old, and proves that it has read every row of it.

A walk is plain data and decisions. It says what to ask (`request`), is given the page (`receive`), and hands back the
rows that are finished. Whoever drives it may stop at any page: rows at or above `settled_from` are then finished.

What the rules defend against is in api.md, "What is unknown, and what can go wrong"; how they do it:

- *Padding.* A window is asked for with a second to spare on both sides, and rows are kept by the time that was served,
  so a row belongs to one window however the server rounds or compares (2).
- *Overlap.* The next page is asked from the last row's time plus one unit, by `cursor` and `created_before` both: it
  does not matter whether the cursor is strict, or which of the two is ignored (1, 5).
- *Holding back.* Rows that share the last served time of a page are finished only when an older row has been seen (3).
- *The end* is an empty page, or a row older than the window. A short page proves nothing (4). A few more rows than the
  padding brings are asked for below the window, so that its last page shows an older one and no further is needed.
- *Groups.* A page that brings nothing older than the position may hide more rows of that very time. It is asked again
  at the full page size, the group is enumerated (`group`), and the walk steps strictly under it. What stays in doubt
  is kept, and reported (3, 4).
- *Any size.* Each page may be asked for with fewer rows than `request` says, down to one, where rows are huge (11): a
  page that is full by its own limit proves nothing.
"""

from bisect import bisect_right
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from operator import neg
from typing import Final, Generic, TypeAlias

from exporter.contract import END_OF_TIME, MAX_PAGE_SIZE, SECOND, Instant, format_instant
from exporter.errors import ContradictionError
from exporter.fetch.group import Group, TimedRow, each_row, ids_of, rows_of
from exporter.fetch.traits import Traits
from exporter.model import Interval, Page, PageRequest, Rows, RowT, Unproven

_Asking: TypeAlias = Generator[PageRequest, Page[RowT], None]
_AskingWhether: TypeAlias = Generator[PageRequest, Page[RowT], bool]
_AskingForPage: TypeAlias = Generator[PageRequest, Page[RowT], Page[RowT]]

#: A row that is larger than this costs more to be served again than a list of ids does.
_HEAVY_ROW_BYTES: Final = 256 * 1024
#: How much further than its window a walk asks: this part of the time that a page spans, or at first of the window.
_SPARE: Final = 1 / 8


@dataclass(frozen=True, slots=True)
class Settled(Generic[RowT]):
    """What one page has finished: rows from new to old, and the doubts about them."""

    rows: Rows[RowT]
    unproven: tuple[Unproven, ...] = ()


class Windowed:
    """A window that is read from its end towards its start.

    `settled_from`: every row of the window with `created_at` at or above it has been handed out.
    """

    def __init__(self, window: Interval) -> None:
        self.start = window.start
        self.end = window.end
        self.settled_from = window.end
        self.rows_settled = 0

    @property
    def remaining(self) -> Interval | None:
        """What is left of the window if the walk stops now."""
        return Interval(self.start, self.settled_from) if self.start < self.settled_from else None

    def give_away_below(self, instant: Instant) -> Interval:
        """Ends this walk's window at `instant`, and returns what was below it. `start < instant < settled_from`."""
        if not self.start < instant < self.settled_from:
            raise ValueError(f"{instant} is not inside [{self.start}, {self.settled_from})")
        given = Interval(self.start, instant)
        self.start = instant
        return given


class Walk(Windowed, Generic[RowT]):
    """Reads `window`. `request` is the page to ask for next, or None when the window is read.

    Raises `ContradictionError` from `receive` when the server's answers cannot be those of one list.
    """

    def __init__(self, window: Interval, traits: Traits, page_size: int) -> None:
        super().__init__(window)
        self._open_below = window.open_below
        self._traits = traits
        self._page_size = page_size
        # The served time of the oldest row seen. Rows at it are held until it is known that they are all there.
        self._position = END_OF_TIME
        self._held: dict[str, TimedRow[RowT]] = {}
        self._spare = round((window.end - window.start) * _SPARE)
        self._settled: Rows[RowT] = Rows()
        self._unproven: tuple[Unproven, ...] = ()
        self._steps = self._walk()
        self.request: PageRequest | None = next(self._steps)

    def give_away_below(self, instant: Instant) -> Interval:
        given = super().give_away_below(instant)
        self._open_below = False
        return given

    def receive(self, page: Page[RowT]) -> Settled[RowT]:
        """Takes the answer to `request`, moves on to the next, and returns what this page has finished."""
        if self.request is None:
            raise ValueError("the walk has ended and asked for nothing")
        if page.limit > self.request.limit:
            page = replace(page, limit=self.request.limit)
        page = _without_repeats(self.request, page)
        self._observe(self.request, page)
        self._settled, self._unproven = Rows(), ()
        try:
            self.request = self._steps.send(page)
        except StopIteration:
            self.request = None
        settled = Settled(self._settled, self._unproven)
        self._settled = Rows()  # what is handed out is held no more
        self.rows_settled += len(settled.rows)
        return settled

    def _observe(self, request: PageRequest, page: Page[RowT]) -> None:
        times = page.rows.created_at
        if len(page) > page.limit:
            raise ContradictionError(f"{_asked(request)}, the API answered {len(page)} rows to limit={page.limit}")
        if list(times) != sorted(times, reverse=True):
            raise ContradictionError(f"{_asked(request)}, the API did not answer newest first")
        self._traits.observe_times(page.rows)
        if times and request.created_before is not None and times[0] > request.created_before + self._traits.unit:
            raise ContradictionError(
                f"{_asked(request)}, the API answered with {format_instant(times[0])}: "
                "it ignores both cursor and created_before, and cannot be paged"
            )
        self._traits.observe_size(page, ids_only=request.ids_only)

    def _walk(self) -> _Asking[RowT]:
        page = yield self._list(self.end + SECOND - 1, self.end + SECOND)
        while page:
            if self._brings_older(page):
                self._descend(page)
                if self.settled_from <= self.start:
                    return
                is_short = len(page) < min(page.limit, self._traits.most_whole_rows)
                asks_for_ids = is_short or self._is_heavy(page)
                del page  # not held while another is on its way
                if asks_for_ids and (yield from self._all_are_held()):
                    if self.settled_from <= self.start:
                        return
                    page = yield from self._step_under()
                else:
                    page = yield self._overlapping()
            else:
                page = yield from self._pass_group(page)
        self._settled += rows_of(self._held.values())
        self.settled_from = self.start

    def _list(self, before: Instant, cursor: Instant, limit: int | None = None) -> PageRequest:
        after = None if self._open_below else self.start - max(SECOND, self._spare)
        return PageRequest(limit or self._page_size, created_after=after, created_before=before, before_cursor=cursor)

    def _overlapping(self, limit: int | None = None) -> PageRequest:
        beyond = self._position + self._traits.unit
        # By either parameter alone the rows at the position come again. One microsecond less for the inclusive one
        # keeps a large group of the unit above, which is finished, from filling the page.
        return self._list(beyond - 1, beyond, limit)

    def _brings_older(self, page: Page[RowT]) -> bool:
        return page.rows.created_at[-1] < self._position

    def _descend(self, page: Page[RowT]) -> None:
        """Finishes what lies above the oldest row of `page`, and holds the rows at it back."""
        rows, times = page.rows, page.rows.created_at
        oldest = times[-1]
        self._spare = round((times[0] - oldest) * _SPARE)
        fresh = _first_below(times, self.settled_from)
        if self._held:
            again = _first_below(times, self.settled_from - 1)
            self._hold(rows[fresh:again])
            self._settled += rows_of(self._held.values())
            fresh = again
        if oldest < self.start:
            self._settled += rows[fresh : _first_below(times, self.start)]
            self.settled_from = self.start
            return
        last = max(fresh, _first_below(times, oldest + 1))
        self._settled += rows[fresh:last]
        self._held = {}
        self._hold(rows[last:])
        for row, _, _ in self._held.values():
            row.detach()
        self._position = oldest
        self.settled_from = min(self.settled_from, oldest + 1)

    def _hold(self, rows: Rows[RowT]) -> None:
        for row in each_row(rows):
            self._held[row[0].id] = row

    def _is_heavy(self, page: Page[RowT]) -> bool:
        return page.size_bytes > _HEAVY_ROW_BYTES * len(page) and not self._traits.fields_ignored

    def _all_are_held(self) -> _AskingWhether[RowT]:
        """Whether a list of ids shows that the rows held are all at the position: it goes on below, or cannot be cut.

        If so they are finished, and not served again: after a short page, which hints at the end, for the price of a
        list of ids in place of a page; where rows are heavy, too. When the list shows that nothing is left down to the
        start of the window, all of it is finished.
        """
        listing = yield replace(self._overlapping(MAX_PAGE_SIZE), created_after=None, ids_only=True)
        if not (listing and self._brings_older(listing)) and not self._traits.proves_uncut(listing):
            return False
        times = listing.rows.created_at
        under = _first_below(times, self._position)
        if self._position < self.end:
            last = listing.rows[_first_below(times, self._position + 1) : under]
            if not {row.id for row in last.rows} <= self._held.keys():
                return False
            self._settle_held()
        if under < len(times) and times[under] < self.start:
            self.settled_from = self.start
        return True

    def _settle_held(self) -> None:
        self._settled += rows_of(self._held.values())
        self._held = {}
        self.settled_from = self._position

    # Groups: a page that brings nothing older than the position.

    def _pass_group(self, page: Page[RowT]) -> _AskingForPage[RowT]:
        """Finishes the rows at the position, and returns a page that brings older ones, or an empty one."""
        request = replace(self._overlapping(MAX_PAGE_SIZE), entire=True)
        if page.limit < MAX_PAGE_SIZE:
            page = yield request
            if not page or self._brings_older(page):
                return page
        # Above the window nothing is handed out, but it takes a group's rows to know how the server rounds.
        group = Group(self._position, self._traits, self._held)
        yield from group.enumerate(request, page)
        if self._position < self.end:
            self._held = group.rows
            self._settle_held()
            if group.doubt:
                self._unproven += (Unproven(self._position, len(group.rows), group.doubt),)
        return (yield from self._step_under())

    def _step_under(self) -> _AskingForPage[RowT]:
        """Asks strictly under the position, whose rows are finished.

        A server that rounds shows rows as the position though they are stored up to half a unit below. Where the answer
        holds nothing else, the last microsecond that is still shown as the position is searched for: it is the only one
        that is stepped over, and whatever is stored there is shown as the position too. Where a row has come to be
        shown there meanwhile, the search goes on under it.
        """
        bottom, beyond = self._position - self._traits.unit - 1, self._position - 1
        page = yield self._list(beyond, beyond + 1)
        if not page or self._brings_older(page):
            return page
        while beyond > bottom:
            below = bottom
            while beyond - below > 1:
                middle = (below + beyond) // 2
                newest = yield replace(self._list(middle, middle + 1, limit=1), ids_only=True)
                if newest and not self._brings_older(newest):
                    beyond = middle
                else:
                    below = middle
            page = yield self._list(below, below + 1)
            if not page or self._brings_older(page):
                return page
            beyond = below
        raise ContradictionError(
            f"the API answers with {format_instant(self._position)} again and again, though asked for older "
            "conversations: it ignores cursor and created_before"
        )


def _first_below(descending: Sequence[Instant], instant: Instant) -> int:
    return bisect_right(descending, -instant, key=neg)


def _without_repeats(request: PageRequest, page: Page[RowT]) -> Page[RowT]:
    ids = ids_of(page)
    if len(ids) == len(page):
        return page
    kept: dict[str, TimedRow[RowT]] = {}
    for row in each_row(page.rows):
        if kept.setdefault(row[0].id, row) != row:
            raise ContradictionError(f"{_asked(request)}, the API answered one id twice, with different content")
    return replace(page, rows=rows_of(kept.values()))


def _asked(request: PageRequest) -> str:
    before = request.created_before
    return "asked for the newest" if before is None else f"asked for conversations up to {format_instant(before)}"
