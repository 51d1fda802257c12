"""Reads groups: rows that no bound of `created_at` tells apart, though there are more of them than a page holds.

They are asked for by slices of `updated_at` (source.md, 3), each from above the group and down to below it. A slice is
whole when a list of its ids alone names no others than its page, and goes on to what lies below, or ends there and a
longer page that came after it shows that nothing cut it (4). A bound of `updated_at` may also be misread (14). So two
slices must share a row: as long as a later bound is not read as an earlier one, nothing then lies between them. And
together they must hold every row that larger ones showed. In the end, what was updated meanwhile is asked for until
nothing new comes, and then the whole once more.
"""

from collections.abc import Generator, Iterable, Sequence
from math import gcd
from typing import Final, Generic, TypeAlias

import msgspec
from msgspec.structs import replace

from exporter.contract import BEGINNING, DAY, HOUR, MAX_PAGE_SIZE, MILLISECOND, MINUTE, SECOND, STATUSES, Instant
from exporter.fetch.walk.rows import TimedRow, each_row, ids_of
from exporter.fetch.walk.traits import AskingWhether, Traits, is_longer
from exporter.fetch.walk.uncut import shown_uncut
from exporter.model import Page, PageRequest, RowT

Asking: TypeAlias = Generator[PageRequest, Page[RowT], None]
AskingForIds: TypeAlias = Generator[PageRequest, Page[RowT], set[str]]

#: More than it takes to find the rows by halving years of `updated_at`: only servers that ignore bounds unseen get
#: here.
_MOST_REQUESTS: Final = 256
_REQUESTS_PER_ROW: Final = 16
#: Microseconds by which a slice is widened until it shares a row with the next.
_STEPS: Final = (MILLISECOND, SECOND, MINUTE, HOUR, DAY)
#: The number of times that recent updates are asked for: a source that changes faster is never read.
_LAST_LOOKS: Final = 20

_ONE_TIME: Final = "more rows than a page holds, and all with the same updated_at"
_IGNORED: Final = "more rows than a page holds, and the API does not respect updated_after or updated_before"
_MISSING: Final = "more rows than a page holds, and some may lack updated_at, which no filter can ask for"
_COARSE: Final = "more rows than a page holds, and there may be a gap between those updated earlier and later"
_ENDLESS: Final = "more rows than a page holds, and asking for ever smaller parts does not tell them apart"
_RESTLESS: Final = "more rows than a page holds, and they change faster than they can be told apart"
_FILTERS_LATE: Final = "more rows than a page holds, and the API leaves rows out of a page after limiting it"
_CUT: Final = "there is no longer list to show that nothing was cut from theirs"


class _Slice(msgspec.Struct):
    """Bounds of `updated_at`, both inclusive; None is open."""

    after: Instant | None = None
    before: Instant | None = None

    def allows(self, updated_at: Instant) -> bool:
        """Returns whether a row may lie in the slice, whatever zone or precision its bounds are read by."""
        return (self.after is None or updated_at >= self.after - DAY) and (
            self.before is None or updated_at <= self.before + DAY
        )


class Group(Generic[RowT]):
    """Holds the rows that `question` brings above those of the page `below`, by id.

    `position` is the time of most of them, and `known` are ids of these. `question` is bounded from above only. `below`
    is known to be listed below the group, None if nothing is. `status` is that of the list, if it is the list of one.
    `doubt` says why rows may be missing, if they may.
    """

    def __init__(
        self,
        position: Instant,
        question: PageRequest,
        below: Page[RowT] | None,
        traits: Traits,
        held: dict[str, TimedRow[RowT]],
        known: Iterable[str],
        status: str | None,
    ) -> None:
        self._position = position
        self._status = status
        self.rows = dict(held)
        self.doubt = ""
        self._question = replace(question, limit=MAX_PAGE_SIZE, created_after=None, entire=True, ids_only=False)
        self._floor = None if below is None else below.rows.created_at[0]
        self._beneath: set[str] = set() if below is None else ids_of(below)
        self._traits = traits
        self._requests = 0
        # Ids of rows that are known or that a question has brought or listed, and ids that whole slices brought.
        self._brought = set(known) if self._floor is None or position > self._floor else set()
        self._shown: set[str] = set()
        # The distance by which two slices reach over the update at which they meet.
        self._margin = 1
        # Divides all times of update that were served, which may be compared more exactly.
        self._unit: Instant = SECOND
        # The longest list that ended at the end of all: one that came after it must be longer.
        self._longest: Page[RowT] | None = None

    def enumerate(self) -> Asking[RowT]:
        """Finds every row of the group."""
        yield from self._read(_Slice())
        is_split = self._requests > 2
        if is_split and not self.doubt and not (yield from self._filters_first()):
            self._doubts(_FILTERS_LATE)
        if not self.doubt:
            yield from self._read_again()
        if self.doubt:
            # This proves nothing, because new statuses may appear, but it may find further rows.
            unit = self._traits.unit
            before = self._position + unit - 1
            around = replace(
                self._question,
                created_after=self._position - unit // 2,
                created_before=before,
                before_cursor=before + 1,
            )
            for status in STATUSES:
                self._collect((yield replace(around, status=status)))

    def _read(self, part: _Slice) -> AskingForIds[RowT]:
        """Finds the rows of `part`, and returns the ids on the pages of its whole slices."""
        request = self._request(part)
        page = yield request
        self._requests += 1
        before = len(self.rows)
        self._collect(page)
        rows = [row for row in each_row(page.rows) if row[2] is not None]
        own = [row for row in rows if self._floor is None or row[1] > self._floor]
        known = sorted(updated_at for _, _, updated_at in own or rows if updated_at is not None)
        if not all(part.allows(updated_at) for _, _, updated_at in rows if updated_at is not None):
            self._doubts(_IGNORED)
        elif (yield from self._is_whole(request, page)):
            self._shown |= self._ids(page)
            return ids_of(page)
        elif self._traits.cuts_at_random and len(self.rows) == before:
            # None of its parts will be whole either.
            self._doubts(_CUT)
        elif self._requests > _MOST_REQUESTS + _REQUESTS_PER_ROW * len(self.rows):
            self._doubts(_ENDLESS)
        elif self._traits.updated_at_missing or not known:
            # The reference has it on every row. If one comes without it, others may be hidden, and cannot be asked for.
            self._doubts(_MISSING)
        elif (seam := self._seam(part, known)) is None:
            self._doubts(_ONE_TIME if known[0] == known[-1] else _COARSE)
        else:
            return (yield from self._read_both(part, *seam, most=known[-1]))
        return set()

    def _seam(self, part: _Slice, known: Sequence[Instant]) -> tuple[Instant, Instant] | None:
        """Returns where the older slice of `part` ends and the newer begins, so that they share a row; None if nowhere.

        They meet at one of the `known` times of update, which are in order. They do not where one of them would then be
        no less than `part`: the rows of that time are in the other.
        """
        self._unit = gcd(self._unit, *known)
        margin = max(self._margin, self._unit - 1)
        apart = [time for time in known if known[0] < time - margin and time + margin < known[-1]] or known
        middle = apart[len(apart) // 2]
        end, start = middle + margin, middle - margin
        is_all_older = part.before is not None and end >= part.before
        is_all_newer = part.after is not None and start <= part.after
        if is_all_older and is_all_newer:
            return None
        if is_all_older:
            end = start - 1
        elif is_all_newer:
            start = end + 1
        is_outside = (part.before is not None and start > part.before) or (part.after is not None and end < part.after)
        return None if is_outside else (end, start)

    def _read_both(self, part: _Slice, end: Instant, start: Instant, *, most: Instant) -> AskingForIds[RowT]:
        """Reads `part` up to `end` and from `start` on, and reaches further up until both have shown one row.

        `most` is the latest known update in `part`; a slice that reached up to there would be no less.
        """
        older = yield from self._read(_Slice(part.after, end))
        if self.doubt in (_IGNORED, _ENDLESS):
            return older
        # Rows that were updated meanwhile are in the newer one.
        newer = yield from self._read(_Slice(start, part.before))
        for step in _STEPS:
            if self.doubt or older & newer or end + step >= most:
                break
            older = yield from self._read(_Slice(part.after, end + step))
            if end >= start and older & newer:
                self._margin = step
        if not older & newer:
            self._doubts(_COARSE)
        return older | newer

    def _request(self, part: _Slice) -> PageRequest:
        floor = None if self._floor is None else max(BEGINNING, self._floor - SECOND)
        return replace(self._question, created_after=floor, updated_after=part.after, updated_before=part.before)

    def _is_whole(self, request: PageRequest, page: Page[RowT]) -> AskingWhether[RowT]:
        """Returns whether `page` is shown to hold all rows of the group that `request` asks for."""
        listing = yield replace(request, created_after=None, ids_only=True)
        self._requests += 1
        self._brought |= self._ids(listing)
        if not self._leading(listing) <= ids_of(page) or not self._ids(page) <= ids_of(listing):
            return False
        if ids_of(listing) & self._beneath or (listing and listing.rows.created_at[-1] < (self._floor or BEGINNING)):
            return True
        # A page of ids is trusted to hold two rows where two were asked for.
        is_shorter = len(listing) < listing.limit and (len(listing) <= 1 or self._traits.has_had_longer(listing))
        if not is_shorter or self._traits.may_be_cut(listing):
            return False
        if self._longest is None or len(listing) > len(self._longest):
            self._longest = listing
        return True

    def _leading(self, listing: Page[RowT]) -> set[str]:
        """Returns the ids that are listed before any row that is known to lie below the group."""
        ids = [row.id for row, time, _ in each_row(listing.rows) if self._floor is None or time >= self._floor]
        first = next((number for number, identity in enumerate(ids) if identity in self._beneath), len(ids))
        return set(ids[:first])

    def _ids(self, page: Page[RowT]) -> set[str]:
        return {row.id for row, time, _ in each_row(page.rows) if self._floor is None or time > self._floor}

    def _filters_first(self) -> AskingWhether[RowT]:
        """Returns whether a page of one row shows a row of a slice that has others, but not the first row of all.

        An API that limits a page before filtering it shows nothing there, and of each slice what the first page of all
        has (14).
        """
        first = yield replace(self._question, limit=1, ids_only=True)
        self._requests += 1
        times = [updated_at for _, _, updated_at in self.rows.values() if updated_at is not None]
        if not first or (own := first.rows.updated_at[0]) is None or min(times) == max(times):
            return True
        if max(times) - own > own - min(times):
            part = _Slice(after=(own + max(times)) // 2 + 1)
        else:
            part = _Slice(before=(own + min(times)) // 2)
        page = yield replace(self._request(part), created_after=None, limit=1, ids_only=True)
        self._requests += 1
        return len(page) > 0

    def _read_again(self) -> Asking[RowT]:
        """Asks for what was updated since the group was begun, and then for all, until nothing new comes."""
        for _ in range(_LAST_LOOKS):
            before = self._versions()
            newest = max((time for _, _, time in self.rows.values() if time is not None), default=None)
            if newest is not None:
                yield from self._read(_Slice(after=newest - SECOND))
            page = yield replace(self._question, ids_only=True)
            self._requests += 1
            self._brought |= self._ids(page)
            if self.doubt:
                return
            if self._versions() == before and self._ids(page) <= self.rows.keys():
                if not self._brought <= self._shown:
                    self._doubts(_IGNORED)
                if not (yield from self._is_uncut(page)):
                    self._doubts(_CUT)
                return
            if not self._ids(page) <= self.rows.keys():
                yield from self._read(_Slice())
        self._doubts(_RESTLESS)

    def _is_uncut(self, page: Page[RowT]) -> AskingWhether[RowT]:
        """Returns whether slices that ended at the end of all were not cut. `page` is a list that came after them."""
        if self._longest is None or is_longer(page, self._longest):
            return True
        return (yield from shown_uncut(self._longest, self._traits, self._status))

    def _versions(self) -> set[tuple[str, Instant | None]]:
        return {(identity, updated_at) for identity, (_, _, updated_at) in self.rows.items()}

    def _collect(self, page: Page[RowT]) -> None:
        floor = BEGINNING if self._floor is None else self._floor
        for row in each_row(page.rows):
            if row[1] >= floor:
                row[0].detach()
                self.rows[row[0].id] = row
        self._brought |= self._ids(page)

    def _doubts(self, reason: str) -> None:
        self.doubt = self.doubt or reason
