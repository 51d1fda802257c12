"""Reads several lists as one: a window of each of the lists that make up an export, joined by id.

The API takes one value of a parameter, so a filter of several values is read as a list for each of them. Each is walked
and proven by itself. A stretch of the window is finished when all lists have got below it.

A conversation may go from one list to another while they are read, and be seen in neither. So the lists of a stretch
are looked at once more before it is handed out, in the order in which a conversation goes through them. A look lists
ids alone, from a row above the stretch down to one below it, like a walk. Where it cannot, or where it shows a
conversation that is not in hand, that list is read again; all are looked at until none shows another conversation.
Then, a conversation that was in one of the lists all the while is in hand, unless it went to another list before the
last look, and during that look back to a list that had been looked at already.
"""

from collections.abc import Generator, Iterable, Mapping
from functools import partial
from typing import Final, Generic, TypeAlias

from msgspec.structs import replace

from exporter.contract import BEGINNING, END_OF_TIME, MAX_PAGE_SIZE, SECOND, Instant
from exporter.coverage import Interval
from exporter.fetch.walk.approach import Search
from exporter.fetch.walk.rows import TimedRow, check_order, each_row, ids_of, rows_of
from exporter.fetch.walk.traits import Traits, rows_by_time
from exporter.fetch.walk.two_lists import DoubleWalk, new_walk
from exporter.fetch.walk.uncut import shown_uncut
from exporter.fetch.walk.walk import Walk
from exporter.fetch.walk.window import Settled, WindowProgress
from exporter.fetch.walk.zone import MOST_ZONE_SHIFT
from exporter.model import Page, PageRequest, RowT, Unproven, Values

#: After this many looks, a stretch in which each has shown another conversation is handed out, and named in doubt.
_MOST_LOOKS: Final = 5
_UNSETTLED: Final = "conversations kept going from one value of a filter to another while the lists of each were read"

_Asking: TypeAlias = Generator[PageRequest, Page[RowT], None]
_AskingWhether: TypeAlias = Generator[PageRequest, Page[RowT], bool]
_AskingHowFar: TypeAlias = Generator[PageRequest, Page[RowT], Instant | None]
_AnyWalk: TypeAlias = Walk[RowT] | DoubleWalk[RowT]


def walk_of_lists(
    window: Interval,
    lists: Mapping[Values, Traits],
    page_size: int,
    hidden_status: str | None,
    *,
    prefers_hidden: bool = False,
) -> "_AnyWalk[RowT] | JoinedWalk[RowT]":
    """Returns a walk of all `lists`, as `JoinedWalk` takes them; of only one, the walk is its own.

    If it `prefers_hidden`, only the conversations of `hidden_status` need be read.
    """
    if len(lists) > 1:
        return JoinedWalk(window, lists, page_size, hidden_status)
    [traits] = lists.values()
    return new_walk(window, traits, page_size, hidden_status, is_alone=prefers_hidden)


class JoinedWalk(WindowProgress, Generic[RowT]):
    """Reads `window` of all `lists`, which are in the order of looking; otherwise, it is like `Walk`.

    `lists` are what each is asked for by, with what it has shown so far. Each leaves out the conversations of
    `hidden_status`, if it is given.
    """

    def __init__(
        self, window: Interval, lists: Mapping[Values, Traits], page_size: int, hidden_status: str | None = None
    ) -> None:
        super().__init__(window)
        self._lists = lists
        self._page_size = page_size
        self._statuses = (None,) if hidden_status is None else (hidden_status, None)
        self._new_walk = partial(new_walk, page_size=page_size, hidden_status=hidden_status)
        self._walks: dict[Values, _AnyWalk[RowT]] = {
            values: self._new_walk(window, traits) for values, traits in lists.items()
        }
        # What has been read and is not yet handed out, by id.
        self._waiting: dict[str, TimedRow[RowT]] = {}
        self._unproven: tuple[Unproven, ...] = ()
        # The ids that a look has shown beside those in hand.
        self._sighted: set[str] = set()
        self._steps = self._read()
        self.request: PageRequest | None = next(self._steps)

    def give_away_below(self, instant: Instant) -> Interval:
        given = super().give_away_below(instant)
        for walk in self._walks.values():
            if walk.start < instant < walk.settled_from:
                walk.give_away_below(instant)
        self._waiting = {identity: row for identity, row in self._waiting.items() if row[1] >= instant}
        return given

    def receive(self, page: Page[RowT]) -> Settled[RowT]:
        """Takes the answer to `request`, moves on to the next, and returns what this page has finished."""
        if self.request is None:
            raise ValueError("the walk has ended and asked for nothing")
        before, self._unproven = self.settled_from, ()
        page = replace(page, limit=min(page.limit, self.request.limit), bounds=self.request.bounds)
        try:
            self.request = self._steps.send(page)
        except StopIteration:
            self.request = None
        rows = self._due() if self.settled_from < before else ()
        settled = Settled(rows_of(rows), self._unproven)
        self.rows_settled += len(settled.rows)
        return settled

    def _due(self) -> list[TimedRow[RowT]]:
        """Returns the rows that are finished, from new to old, and lets go of them."""
        due = [row for row in self._waiting.values() if row[1] >= self.settled_from]
        self._waiting = {row[0].id: row for row in self._waiting.values() if row[1] < self.settled_from}
        return sorted(due, key=lambda row: row[1], reverse=True)

    def _read(self) -> _Asking[RowT]:
        while self.settled_from > self.start:
            yield from self._read_on()
            for _ in range(_MOST_LOOKS):
                if not (yield from self._find_more()):
                    break
            else:
                self._unproven += (Unproven(self.settled_from - 1, 0, _UNSETTLED, self._bottom),)
            self.settled_from = self._bottom

    @property
    def _bottom(self) -> Instant:
        """Returns how far down all lists have been read."""
        return max(self.start, *(walk.settled_from for walk in self._walks.values()))

    def _read_on(self) -> _Asking[RowT]:
        """Reads about a page of each list: always of the one that has got least far, until that has had its page."""
        have_read = set[Values]()
        while self._bottom > self.start:
            values, walk = max(self._walks.items(), key=lambda each: each[1].settled_from)
            if values in have_read:
                return
            before = walk.settled_from
            yield from self._step(values, walk)
            if walk.settled_from < before:
                have_read.add(values)

    def _step(self, values: Values, walk: _AnyWalk[RowT]) -> _Asking[RowT]:
        if walk.request is None:
            raise ValueError("a list has ended above the start of its window")
        page = yield _of_list(values, walk.request)
        settled = walk.receive(page)
        self._keep(each_row(settled.rows))
        self._unproven += settled.unproven

    def _keep(self, rows: Iterable[TimedRow[RowT]]) -> None:
        """Takes rows; of two versions of one, the one that was changed later, or that was read later."""
        for row in rows:
            known = self._waiting.get(row[0].id)
            is_newer = known is None or None in (row[2], known[2]) or row[2] >= known[2]  # type: ignore[operator]
            if is_newer and self.start <= row[1] < self.settled_from:
                self._waiting[row[0].id] = row

    def _find_more(self) -> _AskingWhether[RowT]:
        """Looks at each list once more, and returns whether one shows a conversation that was not in hand."""
        in_hand = self._waiting.keys() | set()
        self._sighted.clear()
        for values in self._lists:
            bottom = self._bottom
            if bottom >= self.settled_from:
                break
            is_known = True
            for status in self._statuses:
                is_known = is_known and (yield from self._shows_known_alone(values, status))
            if not is_known:
                again: _AnyWalk[RowT] = self._new_walk(Interval(bottom, self.settled_from), self._lists[values])
                while again.request is not None:
                    yield from self._step(values, again)
        return not in_hand >= self._sighted | self._waiting.keys()

    def _shows_known_alone(self, values: Values, status: str | None) -> _AskingWhether[RowT]:
        """Returns whether a list shows no ids but those in hand, and none can be left out.

        Where it ends within the stretch, it is asked for with a lower bound as well: without one, or with one that is
        misread, an API may show less (14).
        """
        lowest = yield from self._look(values, status)
        if lowest is not None and lowest >= self._bottom > BEGINNING:
            lowest = yield from self._look(values, status, has_floor=True)
        return lowest is not None

    def _look(self, values: Values, status: str | None, *, has_floor: bool = False) -> _AskingHowFar[RowT]:
        """Lists the ids of the stretch, and returns how far down; None if one is not in hand, or some may be left out.

        As in a walk, each page must show a row of the page before, or one above it.
        """
        traits, anchor, known = self._lists[values], self.settled_from - 1, set[str]()
        first = replace(traits.approach_from_above(self.settled_from, status), has_floor=False)
        search = Search(first, is_expected=False)
        while (approach := search.approach) is not None:
            before = None if approach.is_unbounded else anchor + traits.unit - 1 + approach.extra
            request = PageRequest(
                MAX_PAGE_SIZE,
                created_after=self._bottom - SECOND if has_floor else None,
                created_before=None if approach.by == "cursor" else before,
                before_cursor=None if approach.by == "bound" or before is None else before + 1,
                status=status,
                ids_only=True,
            )
            page = yield _of_list(values, request)
            check_order(request, page)
            traits.observe(request, page)
            times = page.rows.created_at
            shown = {row.id for row, time, _ in each_row(page.rows) if self._bottom <= time < self.settled_from}
            if not shown <= self._waiting.keys():
                self._sighted |= shown
                return None
            is_joined = len(times) > 0 and (times[0] > anchor or bool(known & ids_of(page)))
            begins_here = not known and traits.begins_lower(approach, request, page, is_first=approach == first)
            if not (is_joined or begins_here or approach.is_unbounded):
                search.too_low(MOST_ZONE_SHIFT if traits.has_read_closely(request) else 0)
                continue
            lowest = times[-1] if times else END_OF_TIME
            may_be_whole = len(page) < page.limit and not traits.may_be_cut(page)
            if lowest < self._bottom or (may_be_whole and traits.has_had_longer(page)):
                return lowest
            if lowest >= anchor:
                return lowest if may_be_whole and (yield from shown_uncut(page, traits, status)) else None
            anchor, known = times[-1], rows_by_time(page.rows, times[-1])
            search = Search(replace(traits.approach, has_floor=False), is_expected=True)
        return None


def _of_list(values: Values, request: PageRequest) -> PageRequest:
    # A question that is asked to learn about the server has no filter.
    return replace(request, values=values) if request.filtered else request
