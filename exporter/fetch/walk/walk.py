"""Walks a window page by page, from new to old, and proves that every row of it has been read.

A walk is plain data and decisions. It says what to ask (`request`), is given the page (`receive`), and hands back the
rows that are finished. Whatever drives it may stop at any page: rows at or above `settled_from` are then finished.

The dangers that the rules defend against are in source.md, "What is unknown, and what can go wrong". The rules:

- *Every question carries a row that must come back.* The list is in order, and a page is a stretch of it. So nothing is
  missing between the newest and the oldest row of a page, and what a walk reads is whole when each page shares a row
  with the one before, when the first shows a row above the window or the newest of the whole list, and when the last
  shows a row below the window or is shown to be the end. If a row does not come back, the question was misread, and is
  put in other ways (`approach`) until it does: nothing is stepped over (1, 2, 5, 14). Where none can come back,
  because the list is believed to begin there, the answer must show its order (`newest`), whatever others have shown.
- *Served times.* Rows are kept by the time that was served, so a row belongs to one window however the server rounds or
  compares (2).
- *Holding back.* Rows that share the last served time of a page are finished only when an older row has been seen (3).
- *The end* is a row older than the window, or the end of the list: shown by a list of ids without a lower bound that
  ends at the same row as a longer page that began further up. Neither a short page nor an empty one proves it (4, 14).
  It is asked for once more, with a lower bound: that answer must come to the same end, and be longer. A row below the
  end that any other answer has shown, before or after, is asked for again. A few more rows are asked for below the
  window, so that its last page shows an older one and no further page is needed.
- *Groups.* Where no bound tells the rows at the position apart, they are read by slices of `updated_at` (`group`), down
  to a row that is listed below them. What stays in doubt is kept, and reported (3, 4).
- *Any size.* Where rows are huge, each page may be asked for with fewer rows than `request` says, down to one (11): a
  page that is full by its own limit proves nothing.
"""

from collections.abc import Generator, Set
from typing import Final, TypeAlias

from msgspec.structs import replace

from exporter.contract import EPOCH, MAX_PAGE_SIZE, Instant
from exporter.coverage import Interval
from exporter.errors import ContradictionError
from exporter.fetch.walk.descent import AskingForPage, first_below
from exporter.fetch.walk.list_end import ListEnd
from exporter.fetch.walk.rows import Outline, check_order, ids_of, outline, without_repeats
from exporter.fetch.walk.traits import Answer, AskingWhether, Traits, is_longer, rows_by_time
from exporter.fetch.walk.uncut import shown_uncut
from exporter.fetch.walk.window import Settled
from exporter.model import Page, PageRequest, Rows, RowT, Unproven

_ENDS_EARLY: Final = "the API shows older conversations only when it is asked for those after a time, as --since does"
#: A page with more rows than this is longer than a list of the last of them.
_FEW_ROWS: Final = 2
_NULL: Final = "where the list seems to end, the API answers with null in place of conversations"

_Asking: TypeAlias = Generator[PageRequest, Page[RowT], None]


class Walk(ListEnd[RowT]):
    """Reads `window` of the list, or of that of one `status`. `request` is the page to ask for next; None at the end.

    `receive` raises `ContradictionError` when the server's answers cannot be those of one list.
    """

    def __init__(self, window: Interval, traits: Traits, page_size: int, status: str | None = None) -> None:
        super().__init__(window, traits, page_size, status)
        self._last: Answer | None = None
        self._has_had_null = False
        # The list that was taken for the end because the page before it was longer.
        self._end_listing: Page[Outline] | None = None
        self._steps = self._walk()
        self.request: PageRequest | None = self._of_status(next(self._steps))

    def give_away_below(self, instant: Instant) -> Interval:
        given = super().give_away_below(instant)
        self._open_below = False
        return given

    def receive(self, page: Page[RowT]) -> Settled[RowT]:
        """Takes the answer to `request`, moves on to the next, and returns what this page has finished."""
        if self.request is None:
            raise ValueError("the walk has ended and asked for nothing")
        page = replace(page, limit=min(page.limit, self.request.limit), bounds=self.request.bounds)
        page = without_repeats(self.request, page)
        check_order(self.request, page)
        self._has_had_null |= page.is_null
        self._traits.observe(self.request, page)
        if self._last is not None:
            self._traits.compare(self._last, (self.request, page))
            if self._traits.shows_one_row:
                raise ContradictionError(
                    "the API shows one conversation a page, though asked for more: it cannot be read"
                )
        # A page that is full by its own limit says nothing of the server's.
        self._last = (self.request, outline(page)) if len(page) < page.limit else None
        if page and (self._newest is None or page.rows.created_at[0] > self._newest):
            self._newest = page.rows.created_at[0]
        self._settled, self._unproven = Rows(), ()
        self.foreseen = None
        try:
            self.request = self._of_status(self._steps.send(page))
        except StopIteration:
            self.request = None
            if self._ended_below is not None:
                self._name_ends(self._ended_below)
        settled = Settled(self._settled, self._unproven)
        self._settled = Rows()  # what is handed out is no longer held
        self.rows_settled += len(settled.rows)
        return settled

    def _of_status(self, request: PageRequest) -> PageRequest:
        # A question that is asked to learn about the server has no filter.
        return replace(request, status=self._status) if self._status and request.filtered else request

    def _walk(self) -> _Asking[RowT]:
        page = yield from self._go_on()
        while page is not None or (page := (yield from self._look_further_down())) is not None:
            if not self._brings_older(page):
                page = yield from self._look_below(rows_by_time(page.rows, self._position))
                continue
            self._descend(page)
            if self.settled_from <= self.start:
                return
            is_short = len(page) < min(page.limit, self._traits.most_whole_rows)
            looks_below = is_short or self._is_heavy(page)
            del page  # not held while another is on its way
            page = (yield from self._look_below()) if looks_below else (yield from self._go_on())
        if self.settled_from > self.start:
            until = min(self._position, self.end - 1)
            is_doubtful = not self._has_had_null and (yield from self._is_end_doubtful())
            self._settle_held()
            self._name_ends(Interval(self.start, until + 1))
            if self._has_had_null:
                self._unproven += (Unproven(self.settled_from - 1, 0, _NULL, self.start),)
            elif is_doubtful:
                self._unproven += (Unproven(until, 0, _ENDS_EARLY, self.start),)
            elif not self._is_filtered and self.settled_from > self.start:
                self._traits.end(Interval(self.start, self.settled_from))
            self.settled_from = self.start

    def _look_below(self, seen: Set[str] = frozenset()) -> AskingForPage[RowT]:
        """Finishes the rows at the position where a list of ids shows that all are in hand, and goes on below them.

        After a short page, which hints at the end, this costs a list of ids in place of a page; heavy rows are not
        served again. When the list shows that nothing is left down to the start of the window, all of it is finished.
        `seen` are rows at the position that an answer has shown.
        """
        self.foreseen = self._foresee_end()
        listing = yield from self._try(self._search(), ids_only=True)
        if listing is None:
            return (yield from self._tell_apart()) if self._is_stuck else None
        at_position = rows_by_time(listing.rows, self._position)
        are_all_held = self._position >= self.end or at_position <= self._held.keys()
        if self._brings_older(listing):
            if are_all_held:
                return (yield from self._go_below(listing))
            page = yield from self._go_on(entire=True)
            return page if page is None or self._brings_older(page) else (yield from self._tell_apart())
        is_short = len(listing) < listing.limit and not self._traits.may_be_cut(listing)
        if are_all_held and at_position >= self._known | seen and is_short:
            # The list began further down than the page before, and came to the same end.
            is_end = len(at_position) == 1 and self._above is not None and is_longer(self._above, listing)
            self._end_listing = outline(listing) if is_end else None
            if not is_end and (yield from shown_uncut(listing, self._traits, self._status)):
                again = yield from self._try(self._search(), ids_only=True)
                is_end = again is not None and ids_of(again) == ids_of(listing)
            if is_end:
                if (yield from self._ends_at_last_row()):
                    self._traits.oldest[self._status] = self._position
                return None
        return (yield from self._tell_apart())

    def _go_below(self, listing: Page[RowT]) -> AskingForPage[RowT]:
        """Finishes the rows at the position, and goes on from the next older one that `listing` names."""
        if self._position < self.end:
            self._settle_held()
        times = listing.rows.created_at
        self._anchor = times[first_below(times, self._position)]
        if self._anchor < self.start:
            self.settled_from = self.start
            return None
        self._known, self._is_listed = rows_by_time(listing.rows, self._anchor), True
        return (yield from self._go_on())

    def _is_end_doubtful(self) -> AskingWhether[RowT]:
        """Returns whether more rows than those in hand may lie where this list has ended, or below.

        It is asked for again, from where a longer page began, and with a lower bound, without which an API may show
        less (14). A list that was taken for the end because of a page before it must not have been cut meanwhile, so
        this answer must be longer. It is asked once a run, and again for an end further up; not where all that was
        shown lies below the window, because then the list does not end there.
        """
        bottom = self._bottom
        if not self._asks_for_end():
            return False
        page = yield self._end_request(0 if self._end_listing is None else self._lead())
        below = [time for time in page.rows.created_at if time < bottom]
        at_position = rows_by_time(page.rows, self._position) if self._position < self.end else set[str]()
        if any(time >= self.start for time in below) or at_position - self._held.keys():
            return True
        listing = self._end_listing
        if (
            listing is not None
            and not is_longer(page, listing)
            and not (yield from shown_uncut(listing, self._traits, self._status))
        ):
            return True
        if not below:
            self._traits.proven_end = bottom
        return False

    def _asks_for_end(self) -> bool:
        is_end = self._newest is None or self._newest >= self.start
        return self._status is None and is_end and self._bottom >= self._traits.proven_end

    def _lead(self) -> Instant:
        """Returns how far above the position the page began that came to it from further up."""
        return 0 if self._above is None else self._above.rows.created_at[0] - self._anchor

    def _end_request(self, lead: Instant) -> PageRequest:
        """Returns the question for the end of the list with a lower bound, from `lead` above the position."""
        request = self._ask(replace(self._traits.approach, has_floor=False), MAX_PAGE_SIZE)
        return replace(
            request,
            # This is as far down as any window of the run may lie. An API that refuses to look that far hides nothing.
            created_after=min(EPOCH, self._bottom),
            created_before=None if request.created_before is None else request.created_before + lead,
            before_cursor=None if request.before_cursor is None else request.before_cursor + lead,
            ids_only=True,
            may_be_refused=True,
        )

    def _foresee_end(self) -> PageRequest | None:
        """Returns what is asked after a list of ids that shows the end of the list, or None if it will hardly be that.

        It is not where an answer has shown a lower row. After a page of few rows, more is asked in between.
        """
        above, request = self._above, self._end_request(self._lead())
        is_long = above is not None and len(above) > _FEW_ROWS and above.bounds == request.bounds
        seems_end = self._position <= self._traits.lowest and not self._is_filtered
        return request if is_long and seems_end and self._asks_for_end() else None
