"""Every rule of the walk is needed: without it, a small server makes the walk lose rows, repeat them, or never end.

Each case is a walk with one rule taken out, and the least server on which that shows; the whole walk reads it exactly,
or names what it cannot prove.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from operator import neg
from typing import Any, Literal, TypeAlias

import pytest

from exporter.contract import MILLISECOND, SECOND, Instant
from exporter.errors import ContradictionError
from exporter.fetch import walk as walk_module
from exporter.fetch.group import Group, each_row, rows_of
from exporter.fetch.traits import Traits
from exporter.fetch.walk import Settled, Walk
from exporter.model import Interval, Page, PageRequest, Rows
from tests.fetch.server_model import Behaviour, ServerModel, StoredRow
from tests.fetch.test_walk import Limiting, by_limit

T0 = 1_770_000_000 * SECOND
MOST_REQUESTS = 5_000
DAY_BEFORE = T0 - 86_400 * SECOND

Outcome: TypeAlias = Literal["exact", "lost", "twice", "never ends", "refused", "unproven"]
Asking: TypeAlias = Generator[PageRequest, Page[StoredRow], Any]


class NoPaddingAbove(Walk[StoredRow]):
    """Asks for its window alone, at the upper end."""

    def _list(self, before: Instant, cursor: Instant, limit: int | None = None) -> PageRequest:
        return super()._list(min(before, self.end - 1), min(cursor, self.end), limit)


class NoPaddingBelow(Walk[StoredRow]):
    """Asks for its window alone, at the lower end."""

    def _list(self, before: Instant, cursor: Instant, limit: int | None = None) -> PageRequest:
        return replace(super()._list(before, cursor, limit), created_after=self.start)


class NoOverlap(Walk[StoredRow]):
    """Goes on below the last row, as the reference says."""

    def _overlapping(self, limit: int | None = None) -> PageRequest:
        return self._list(self._position - 1, self._position, limit)


class OverlapByNothing(Walk[StoredRow]):
    """Goes on with the last row's served time included, which is not the stored one."""

    def _overlapping(self, limit: int | None = None) -> PageRequest:
        return self._list(self._position, self._position + 1, limit)


class CursorAlone(Walk[StoredRow]):
    """Leaves `created_before` out."""

    def _list(self, before: Instant, cursor: Instant, limit: int | None = None) -> PageRequest:
        return replace(super()._list(before, cursor, limit), created_before=None)


class BoundAlone(Walk[StoredRow]):
    """Leaves `cursor` out."""

    def _list(self, before: Instant, cursor: Instant, limit: int | None = None) -> PageRequest:
        return replace(super()._list(before, cursor, limit), before_cursor=None)


class EndsAtShortPages(Walk[StoredRow]):
    """Believes that a page with fewer rows than asked for is the last one."""

    def receive(self, page: Page[StoredRow]) -> Settled[StoredRow]:
        assert self.request is not None
        limit = self.request.limit
        settled = super().receive(page)
        if self.request is None or len(page) >= limit:
            return settled
        self._settled += rows_of(self._held.values())
        self.request, self.settled_from = None, self.start
        return Settled(self._settled, settled.unproven)


class NoClip(Walk[StoredRow]):
    """Keeps what its padded requests bring."""

    def __init__(self, window: Interval, traits: Traits, page_size: int) -> None:
        super().__init__(Interval(window.start - SECOND, window.end + SECOND), traits, page_size)


class KeepsRepeats(Walk[StoredRow]):
    """Takes every row of a page, though it has had it."""

    def _descend(self, page: Page[StoredRow]) -> None:
        self.settled_from = self.end
        super()._descend(page)


class HoldsNothingBack(Walk[StoredRow]):
    """Takes the rows of a page's last timestamp for all there are."""

    def _descend(self, page: Page[StoredRow]) -> None:
        super()._descend(page)
        if self.settled_from > self.start and self._position < self.end:
            self._settle_held()


class NoGroups(Walk[StoredRow]):
    """Takes the rows it has seen for the whole group, and steps under it."""

    def _pass_group(self, page: Page[StoredRow]) -> Asking:
        self._hold(page.rows[: bisect_right(page.rows.created_at, -self._position, key=neg)])
        self._settle_held()
        return (yield from self._step_under())


class StepsAMicrosecond(Walk[StoredRow]):
    """Asks under the served time of a group, and no further, though the server may have rounded it up."""

    def _step_under(self) -> Asking:
        return (yield self._list(self._position - 1, self._position))


class StepsHalfAUnit(Walk[StoredRow]):
    """Steps as far as rounding can reach, though the server may not round."""

    def _step_under(self) -> Asking:
        below = self._position - self._traits.unit // 2 - 1
        return (yield self._list(below, below + 1))


class StepsAUnit(Walk[StoredRow]):
    """Where the microsecond below still shows the group, steps a whole unit, without a search."""

    def _step_under(self) -> Asking:
        page = yield self._list(self._position - 1, self._position)
        if not page or self._brings_older(page):
            return page
        below = self._position - self._traits.unit - 1
        return (yield self._list(below, below + 1))


class TrustsTheListAtTheEnd(Walk[StoredRow]):
    """After a short page, looks whether the list is whole, and not whether the rows at the position are all."""

    def _all_are_held(self) -> Asking:
        listing = yield replace(self._overlapping(1000), ids_only=True)
        if not (listing and self._brings_older(listing)) and not self._traits.proves_uncut(listing):
            return False
        if self._position < self.end:
            self._settle_held()
        return True


class TrustsAnyListAtTheEnd(Walk[StoredRow]):
    """After a short page, looks whether others are listed at the position, and not whether the list may be cut."""

    def _all_are_held(self) -> Asking:
        listing = yield replace(self._overlapping(1000), ids_only=True)
        if self._position < self.end:
            at_position = [row.id for row, time, _ in each_row(listing.rows) if time == self._position]
            if not set(at_position) <= self._held.keys():
                return False
            self._settle_held()
        return True


class TrustsAListThatGoesOnBelow(Walk[StoredRow]):
    """Takes a list that goes on below the window for the end, though it may name others than the rows held."""

    def _all_are_held(self) -> Asking:
        listing = yield replace(self._overlapping(1000), created_after=None, ids_only=True)
        if not listing or listing.rows.created_at[-1] >= self.start:
            return False
        self._settle_held()
        self.settled_from = self.start
        return True


class AnyListing(Group[StoredRow]):
    """Does not compare the listed ids with those of the page."""

    def _is_whole(self, request: PageRequest, page: Page[StoredRow]) -> Asking:
        if not page:
            return True
        if len(page) >= self._traits.most_rows and not self._traits.calibrated:
            yield from self._calibrate()
        listing = yield replace(request, ids_only=True)
        return self._traits.proves_uncut(listing)


class NoListing(Group[StoredRow]):
    """Takes a page that is shorter and smaller than another for whole."""

    def _is_whole(self, request: PageRequest, page: Page[StoredRow]) -> Asking:
        if not page:
            return True
        yield from ()
        return any(rows > len(page) and size > page.size_bytes for rows, size in self._traits._largest)


class ProvesByAnything(Traits):
    def proves_uncut(self, listing: Page[Any]) -> bool:
        return True


class ProvesByRows(Traits):
    """A list that is shorter than a page delivered before, though it may weigh more."""

    def proves_uncut(self, listing: Page[Any]) -> bool:
        return super().proves_uncut(replace(listing, size_bytes=0))


class ProvesByBytes(Traits):
    """A list that is smaller than a page delivered before, though it may have as many rows."""

    def proves_uncut(self, listing: Page[Any]) -> bool:
        return any(size > listing.size_bytes for _, size in self._largest)


class ProvesByFullPages(Traits):
    """A list that has as many rows as it was asked for."""

    def proves_uncut(self, listing: Page[Any]) -> bool:
        return super().proves_uncut(replace(listing, limit=len(listing) + 1))


class UnitByDigits(Traits):
    """Takes six digits for microseconds."""

    def observe_times(self, rows: Rows[Any]) -> None:
        super().observe_times(rows)
        if rows.created_at:
            self.unit = 1


class WeighsRows(ServerModel):
    """Every row is listed at its own weight, as ids of different lengths would be."""

    def _size(self, row: StoredRow, request: PageRequest) -> int:
        return row.size


PLAIN = Behaviour()
IGNORED = (frozenset({"cursor"}), frozenset({"created_before"}))


@dataclass(frozen=True)
class Case:
    """A walk without one rule, and a server: rows by offset from T0, with `updated_at` and size where they matter."""

    name: str
    weak: type[Walk[StoredRow]] | type[Group[StoredRow]] | type[Traits]
    fails: Outcome
    rows: tuple[tuple[int, int, int], ...]
    behaviour: Behaviour = PLAIN
    windows: tuple[tuple[int, int], ...] = ((-5 * SECOND, 5 * SECOND),)
    page_size: int = 1000
    seed: int = 0
    model: type[ServerModel] = ServerModel
    fewer: Limiting = by_limit
    whole: Outcome = "exact"

    def server(self) -> ServerModel:
        rows = [
            StoredRow(f"c{number}", T0 + offset, T0 + updated, size)
            for number, (offset, updated, size) in enumerate(self.rows)
        ]
        # Outside of the windows: without them nothing could be proven, for no long page could be had.
        others = [StoredRow(f"o{number}", DAY_BEFORE + number, T0) for number in range(20)]
        return self.model(rows + others, self.behaviour, self.seed)


def at(*offsets: int) -> tuple[tuple[int, int, int], ...]:
    return tuple((offset, 0, 100) for offset in offsets)


def heavy(*offsets: int) -> tuple[tuple[int, int, int], ...]:
    return tuple((offset, 0, 600) for offset in offsets)


def read(case: Case, make_walk: Callable[..., Walk[StoredRow]], traits: Traits) -> Outcome:
    server = case.server()
    found: Counter[str] = Counter()
    doubted: set[Instant] = set()
    for start, end in case.windows:
        walk = make_walk(Interval(T0 + start, T0 + end), traits, case.page_size)
        while walk.request is not None:
            if server.requests > MOST_REQUESTS:
                return "never ends"
            try:
                limit = case.fewer(walk.request, None)
                settled = walk.receive(server.answer(replace(walk.request, limit=limit)))
            except ContradictionError:
                return "refused"
            found.update(row.id for row in settled.rows.rows)
            doubted |= {doubt.created_at for doubt in settled.unproven}
    wanted = {
        row.id: time
        for row in server.rows
        if any(T0 + start <= (time := server.served(row.created_at)) < T0 + end for start, end in case.windows)
    }
    if any(time not in doubted for name, time in wanted.items() if name not in found):
        return "lost"
    if any(times > 1 for times in found.values()) or found.keys() - wanted.keys():
        return "twice"
    return "unproven" if doubted else "exact"


SECONDS = Behaviour(precision=SECOND)
ROUNDED = Behaviour(precision=SECOND, rounding="half_up")
#: One row of 600 a page, or a dozen ids.
NARROW = Behaviour(precision=SECOND, bytes_cap=600)
#: Told apart by `updated_at` alone.
GROUP = tuple((0, number, 400) for number in range(3))

CASES = (
    Case("padding above", NoPaddingAbove, "lost", at(1, -SECOND), SECONDS, windows=((-SECOND, 1),)),
    Case("padding below", NoPaddingBelow, "lost", at(-1, 1), ROUNDED, windows=((0, 1),)),
    Case("overlap", NoOverlap, "lost", at(0, 0, -1), page_size=1),
    Case("overlap by a unit", OverlapByNothing, "lost", at(2, 1, -SECOND), SECONDS, page_size=1),
    Case("unit by value", UnitByDigits, "lost", at(2, 1), Behaviour(precision=MILLISECOND), page_size=1),
    Case("both: an ignored cursor", CursorAlone, "refused", at(0, -9, -99), Behaviour(ignores=IGNORED[0]), page_size=1),
    Case("both: an ignored bound", BoundAlone, "refused", at(0, -9, -99), Behaviour(ignores=IGNORED[1]), page_size=1),
    Case("a short page is no end", EndsAtShortPages, "lost", heavy(0, -1, -2), Behaviour(page_cap=2)),
    Case("clip", NoClip, "twice", at(0), windows=((0, SECOND), (-SECOND, 0))),
    Case("drop what is seen again", KeepsRepeats, "twice", at(0, -1, -2), page_size=2),
    Case("hold back", HoldsNothingBack, "lost", at(2, 1, 0, 0, -1), page_size=3),
    Case("enumerate groups", NoGroups, "lost", at(0, 0, 0), Behaviour(page_cap=2), whole="unproven"),
    Case("step under what is rounded up", StepsAMicrosecond, "never ends", at(-1), ROUNDED),
    Case("step no further than need be", StepsHalfAUnit, "lost", heavy(-1, -SECOND - 1), NARROW),
    Case("search the microsecond", StepsAUnit, "lost", heavy(-1, -SECOND), replace(NARROW, rounding="half_up")),
    # The row of 1000 does not fit onto the page with another one.
    Case(
        "ids of the last rows",
        TrustsTheListAtTheEnd,
        "lost",
        ((2, 0, 100), (1, 0, 100), (0, 0, 100), (0, 1, 1000)),
        Behaviour(bytes_cap=1000),
        seed=5,
    ),
    Case(
        "ids of the last rows above the window's start",
        TrustsAListThatGoesOnBelow,
        "lost",
        ((2, 0, 100), (1, 0, 100), (0, 0, 100), (0, 1, 1000)),
        Behaviour(bytes_cap=1000),
        seed=5,
    ),
    Case(
        "ids among the page's",
        AnyListing,
        "lost",
        ((0, 0, 100), (0, 1, 100), (-1, 0, 100)),
        Behaviour(heavy_cap=1),
        seed=1,
    ),
    # The row of 5000 does not fit onto the page with the one of 40, which is shorter and smaller than the page before.
    Case(
        "a page proves nothing",
        NoListing,
        "lost",
        ((1, 0, 300), (0, 0, 40), (0, 1, 5000)),
        Behaviour(bytes_cap=2000),
        seed=2,
    ),
    Case("a listing may be cut", ProvesByAnything, "lost", GROUP, Behaviour(page_cap=2)),
    # Five ids of 100 do not fit onto a page, though more of 10 did.
    Case(
        "shorter is not enough",
        ProvesByRows,
        "lost",
        (*((0, number, 100) for number in range(5)), *((number, 0, 10) for number in range(5, 10))),
        Behaviour(bytes_cap=400),
        model=WeighsRows,
        seed=1,
    ),
    Case("smaller is not enough", ProvesByBytes, "lost", GROUP, Behaviour(page_cap=2)),
    Case(
        "full is not enough",
        ProvesByFullPages,
        "lost",
        (*at(*range(9 * SECOND, 10 * SECOND, SECOND // 9)), *GROUP),
        windows=((9 * SECOND, 10 * SECOND), (0, 5)),
        fewer=lambda request, _: 1 if (request.created_before or 0) < T0 + 5 * SECOND else request.limit,
        whole="unproven",
    ),
    # Rows that are heavy, and are asked for one by one.
    Case(
        "a list at the end may be cut",
        TrustsAnyListAtTheEnd,
        "lost",
        ((0, 0, 600_000), (0, 1, 600_000)),
        fewer=lambda request, _: min(request.limit, 1 if (request.created_before or T0) >= T0 else 20),
        whole="unproven",
    ),
)


def run_whole(case: Case) -> Outcome:
    return read(case, Walk, Traits())


def run_weak(case: Case) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        if issubclass(case.weak, Traits):
            return read(case, Walk, case.weak())
        if issubclass(case.weak, Walk):
            return read(case, case.weak, Traits())
        patch.setattr(walk_module, "Group", case.weak)
        return read(case, Walk, Traits())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_without_the_rule_the_walk_fails_and_with_it_it_does_not(case: Case) -> None:
    assert run_weak(case) == case.fails
    assert run_whole(case) == case.whole
