"""Groups: every row that was served with one `created_at`, though there may be more of them than a page holds.

A group is asked for by halves: of the created bounds, in microseconds and so below the served precision, then of
`updated_at` (api.md, 3). A part is whole when it is empty, when its page goes on to rows that are older than it, or
when a list of its ids alone names no others, and that list is so much shorter and smaller than a page the server has
delivered that no limit can have cut it (4). Only what is whole counts as proof.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeAlias, cast

from exporter.contract import MAX_PAGE_SIZE, SECOND, STATUSES, Instant
from exporter.fetch.traits import Traits
from exporter.model import Page, PageRequest, Rows, RowT

TimedRow: TypeAlias = tuple[RowT, Instant, Instant | None]
_Asking: TypeAlias = Generator[PageRequest, Page[RowT], None]
_AskingWhether: TypeAlias = Generator[PageRequest, Page[RowT], bool]

#: Far more than it takes to find one row by halves, of a second's microseconds and then of years of `updated_at`:
#: only a server that ignores its bounds, and does so unseen, comes here.
_REQUESTS_PER_ROW: Final = 256
_FEW_ROWS: Final = 10


@dataclass(frozen=True, slots=True)
class _Outline:
    """What is left of a row that has been looked at."""

    id: str

    def detach(self) -> None:
        """There is nothing to let go of."""


class Group(Generic[RowT]):
    """The rows served at `position`, by id. `doubt` says why they may not be all; empty when they are shown to be."""

    def __init__(self, position: Instant, traits: Traits, held: dict[str, TimedRow[RowT]]) -> None:
        self.position = position
        self.rows = dict(held)
        self.doubt = ""
        self._traits = traits
        self._requests = 0
        self._created_splits = True

    def enumerate(self, request: PageRequest, page: Page[RowT]) -> _Asking[RowT]:
        """Finds every row of the group. `page` answers `request`, and holds nothing older than the group."""
        page = self._collect(page)
        if (yield from self._is_whole(request, page)):
            return
        # What is served as the position may be stored up to half a unit below it, or less than a unit above (2).
        unit = self._traits.unit
        after, before = self.position - unit // 2, self.position + unit - 1
        around = PageRequest(
            MAX_PAGE_SIZE, created_after=after, created_before=before, before_cursor=before + 1, entire=True
        )
        page = self._collect((yield around))
        if not (yield from self._is_whole(around, page)):
            yield from self._narrow(around, page)
        if self.doubt:
            # Proves nothing, for new statuses may appear, but may find further rows.
            for status in STATUSES:
                self._collect((yield replace(around, status=status)))

    def _narrow(self, request: PageRequest, page: Page[RowT]) -> _Asking[RowT]:
        """Finds by halves all that `request` asks for; its answer, `page`, may be cut."""
        # The older half first: a row that is updated between the two requests then shows up twice, not never.
        halves = self._halves(request, page)
        self._requests += len(halves)
        if self._requests > _REQUESTS_PER_ROW * (1 + len(self.rows)):
            self._doubts("more of them than a page holds, and asking for ever smaller parts does not tell them apart")
            return
        answers = []
        for half in halves:
            answer = yield half
            answers.append(self._collect(answer))
        if len(answers) == 2 and ids_of(answers[0]) & ids_of(answers[1]):
            if self._created_splits and halves[0].created_before != halves[1].created_before:
                # A bound of created_at is ignored. Those of updated_at may not be.
                self._created_splits = False
                yield from self._narrow(request, page)
            else:
                self._doubts("more of them than a page holds, and the API does not keep to the bounds it is given")
            return
        for half, answer in zip(halves, answers, strict=True):
            if not (yield from self._is_whole(half, answer)):
                yield from self._narrow(half, answer)

    def _halves(self, request: PageRequest, page: Page[RowT]) -> tuple[PageRequest, ...]:
        """Two requests that tile `request`, the older one first; none, and a doubt, when it cannot be split."""
        created_after, created_before = request.created_after, request.created_before
        if (
            created_after is not None
            and created_before is not None
            and created_after < created_before
            and self._created_splits
        ):
            middle = (created_after + created_before) // 2
            return (
                replace(request, created_before=middle, before_cursor=middle + 1),
                replace(request, created_after=middle + 1),
            )
        after, before = request.updated_after, request.updated_before
        known = [time for time in page.rows.updated_at if time is not None]
        # The reference has it on every row. Where it is seen to be missing, rows may hide that cannot be asked for.
        if self._traits.updated_at_missing:
            self._doubts("more of them than a page holds, and some may lack updated_at, which cannot be asked for")
        if not known:
            return ()
        if after is not None and before is not None and after >= before:
            self._doubts("more of them than a page holds, with one updated_at too")
            return ()
        if after is None:
            middle = min(known) - SECOND
        elif before is None:
            middle = max(known) + SECOND
        else:
            middle = (after + before) // 2
        if (after is not None and middle < after) or (before is not None and middle >= before):
            self._doubts("more of them than a page holds, and the API does not keep to updated_after or updated_before")
            return ()
        return replace(request, updated_before=middle), replace(request, updated_after=middle + 1)

    def _is_whole(self, request: PageRequest, page: Page[RowT]) -> _AskingWhether[RowT]:
        """Whether `page` is shown to be all that `request` asks for.

        It is when it goes on to rows that are older than that, or when a list of the ids alone has no others.
        """
        traits = self._traits
        if not page or _goes_on_below(page, request.created_after, traits.unit):
            return True
        if len(page) >= traits.most_rows and traits.calibrated and not traits.lone_row:
            return False
        listing = yield replace(request, ids_only=True)
        if not traits.proves_uncut(listing) and not traits.calibrated:
            yield from self._calibrate()
        return traits.proves_uncut(listing) and ids_of(listing) <= ids_of(page)

    def _calibrate(self) -> _Asking[RowT]:
        """Asks for the longest list of ids there is: the whole range may hold fewer rows than a page can."""
        newest = yield PageRequest(MAX_PAGE_SIZE, filtered=False, ids_only=True)
        self._traits.calibrated = True
        if 1 < len(newest) < _FEW_ROWS:
            # So few ids weigh little more than one: whole rows weigh enough.
            yield PageRequest(MAX_PAGE_SIZE, filtered=False)
        if len(newest) != 1 or not newest.is_narrow:
            return
        time, half = newest.rows.created_at[0], self._traits.unit // 2
        for before, cursor in ((time - 1, time), (time - half - 1, time - half)):
            older = yield PageRequest(
                MAX_PAGE_SIZE, created_before=before, before_cursor=cursor, filtered=False, ids_only=True
            )
            if not older:
                self._traits.lone_row = True
                return

    def _collect(self, page: Page[RowT]) -> Page[RowT]:
        """Keeps the rows of the group. Returns the page without the texts of its rows: many are looked at again."""
        for row in each_row(page.rows):
            if row[1] == self.position:
                row[0].detach()
                self.rows[row[0].id] = row
        outlines = cast(Sequence[RowT], [_Outline(row.id) for row in page.rows.rows])
        return replace(page, rows=replace(page.rows, rows=outlines))

    def _doubts(self, reason: str) -> None:
        self.doubt = self.doubt or reason


def _goes_on_below(page: Page[RowT], created_after: Instant | None, unit: Instant) -> bool:
    return created_after is not None and page.rows.created_at[-1] < created_after - unit


def each_row(rows: Rows[RowT]) -> Iterable[TimedRow[RowT]]:
    """The rows one by one, each with its times."""
    return zip(rows.rows, rows.created_at, rows.updated_at, strict=True)


def rows_of(rows: Iterable[TimedRow[RowT]]) -> Rows[RowT]:
    """The inverse of `each_row`."""
    columns = tuple(zip(*rows, strict=True))
    return Rows(*map(list, columns)) if columns else Rows()


def ids_of(page: Page[RowT]) -> set[str]:
    """The ids on a page."""
    return {row.id for row in page.rows.rows}
