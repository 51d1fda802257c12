"""Tests that the walk needs each of its rules: without it, it loses or repeats rows of a small server, or never ends.

Each case is a walk with one rule taken out, and the least server found on which that shows; the whole walk reads it
exactly, names what it cannot prove, or refuses what is not in order.
"""

from collections import Counter
from collections.abc import Callable, Generator, Set
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pytest
from msgspec.structs import replace

from exporter.contract import END_OF_TIME, Instant
from exporter.coverage import Interval
from exporter.errors import ContradictionError
from exporter.fetch.walk import descent as descent_module
from exporter.fetch.walk import group as group_module
from exporter.fetch.walk import walk as walk_module
from exporter.fetch.walk.approach import Approach, Search
from exporter.fetch.walk.rows import rows_of
from exporter.fetch.walk.traits import Traits
from exporter.fetch.walk.walk import Walk
from exporter.fetch.walk.window import Settled
from exporter.model import Page, PageRequest, Rows, Unproven
from tests.fetch.walk.server_model import T0, Behaviour, ServerModel, StoredRow

MOST_REQUESTS = 3_000

Outcome: TypeAlias = Literal["exact", "lost", "twice", "never ends", "refused", "unproven"]
Asking: TypeAlias = Generator[PageRequest, Page[StoredRow], Any]
#: Takes one rule out until the stack is closed.
Mutation: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def replaced(owner: type[Any], name: str, function: Callable[..., Any]) -> Mutation:
    return lambda patch: patch.setattr(owner, name, function)


def believes_the_first_page(self: Walk[StoredRow], approach: Approach, page: Page[StoredRow]) -> bool:
    return len(page) > 0 and (self._position == END_OF_TIME or shows_known(self, approach, page))


def believes_any_page(self: Walk[StoredRow], approach: Approach, page: Page[StoredRow]) -> bool:
    return len(page) > 0 and (self._position < END_OF_TIME or shows_known(self, approach, page))


def believes_one_listed_row(self: Walk[StoredRow], approach: Approach, page: Page[StoredRow]) -> bool:
    self._is_listed = False
    return shows_known(self, approach, page)


def believes_equal_times(self: Walk[StoredRow], approach: Approach, page: Page[StoredRow]) -> bool:
    return shows_known(self, approach, page) or self._begins_among_equals(page)


def takes_nothing_for_the_end(
    self: Walk[StoredRow], search: Search, *, ids_only: bool = False, entire: bool = False
) -> Asking:
    """Makes the walk's own attempts, except that an empty page ends it."""
    steps = attempts(self, search, ids_only=ids_only, entire=entire)
    request = next(steps)
    while True:
        page = yield request
        if not page:
            return None
        try:
            request = steps.send(page)
        except StopIteration as ended:
            return ended.value


def keeps_the_floor(self: Search, least_step: Instant = 0) -> None:
    tried = self.approach
    assert tried is not None
    self.approach = replace(tried, has_floor=False)
    too_low(self, least_step)
    if self.approach is not None:
        self.approach = replace(self.approach, has_floor=tried.has_floor)


def asks_no_further(self: Search, least_step: Instant = 0) -> None:
    too_low(self, least_step)
    if self.approach is not None and self.approach.extra > 0 and not self.approach.is_unbounded:
        self.approach = None


def tries_both_alone(self: Search) -> None:
    too_low(self)
    while self.approach is not None and self.approach.by != "both":
        too_low(self)


def ends_at_short_pages(self: Walk[StoredRow], page: Page[StoredRow]) -> Settled[StoredRow]:
    assert self.request is not None
    limit, ids_only = self.request.limit, self.request.ids_only
    settled = receive(self, page)
    if self.request is None or len(page) >= limit or ids_only:
        return settled
    self._settled += rows_of(self._held.values())
    self.request, self.settled_from = None, self.start
    return Settled(self._settled, settled.unproven)


def ends_where_a_list_ends(self: Walk[StoredRow], seen: Set[str] = frozenset()) -> Asking:
    """Takes any list of ids that ends at the position for the end."""
    self._above = Page(Rows([], [self._anchor], []), 10**9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk_module, "is_longer", lambda page, listing: True)
        page = yield from look_below(self, seen)
    # Nor does it ask whether that list was cut.
    self._end_listing = None
    return page


def takes_all_for_held(self: Walk[StoredRow], seen: Set[str] = frozenset()) -> Asking:
    """Goes on below the position, although the list may name other rows there than were read."""
    search = self._search()
    listing = yield from self._try(search, ids_only=True)
    if listing is None or not self._brings_older(listing):
        return (yield from look_below(self, seen))
    return (yield from self._go_below(listing))


def keeps_what_came_again(self: Walk[StoredRow], page: Page[StoredRow]) -> None:
    self.settled_from = self.end
    descend(self, page)


def holds_nothing_back(self: Walk[StoredRow], page: Page[StoredRow]) -> None:
    descend(self, page)
    if self.settled_from > self.start and self._position < self.end:
        self._settle_held()


def clips_nothing(self: Walk[StoredRow], window: Interval, traits: Traits, page_size: int, status: Any = None) -> None:
    begin(self, Interval(window.start - 10**6, window.end + 10**6), traits, page_size, status)


def asks_by(by: Literal["bound", "cursor"]) -> Callable[..., PageRequest]:
    return lambda self, approach, limit: ask(self, replace(approach, by=by), limit)


def proves_anything(listing: Page[StoredRow], traits: Traits, status: str | None) -> Asking:
    yield from ()
    return True


def proves_by_any_page(patch: pytest.MonkeyPatch) -> None:
    for module in (walk_module, group_module):
        patch.setattr(module, "shown_uncut", proves_anything)


def asks_nothing(*_: object) -> Asking:
    yield from ()


def believes_any_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(descent_module, "check_newest", asks_nothing)


def forgets_nulls(patch: pytest.MonkeyPatch) -> None:
    never = property(lambda self: False, lambda self, has_had: None)
    patch.setattr(Walk, "_has_had_null", never, raising=False)


begin, receive, descend, ask = Walk.__init__, Walk.receive, Walk._descend, Walk._ask
shows_known, attempts, look_below = Walk._shows_known, Walk._try, Walk._look_below
too_low = Search.too_low

MUTATIONS: dict[str, Mutation] = {
    "a row above the window": replaced(Walk, "_shows_known", believes_the_first_page),
    "a known row on the next page": replaced(Walk, "_shows_known", believes_any_page),
    "all the rows that a list has named": replaced(Walk, "_shows_known", believes_one_listed_row),
    "a row of the same time is another row": replaced(Walk, "_shows_known", believes_equal_times),
    "an empty page is no end": replaced(Walk, "_try", takes_nothing_for_the_end),
    "without the lower bound": replaced(Search, "too_low", keeps_the_floor),
    "from further up": replaced(Search, "too_low", asks_no_further),
    "a short page is no end": replaced(Walk, "receive", ends_at_short_pages),
    "a list that ends is no end": replaced(Walk, "_look_below", ends_where_a_list_ends),
    "the rows at the position are in hand": replaced(Walk, "_look_below", takes_all_for_held),
    "drop what is seen again": replaced(Walk, "_descend", keeps_what_came_again),
    "hold back": replaced(Walk, "_descend", holds_nothing_back),
    "clip": replaced(Walk, "__init__", clips_nothing),
    "both: an ignored cursor": replaced(Walk, "_ask", asks_by("cursor")),
    "both: an ignored bound": replaced(Walk, "_ask", asks_by("bound")),
    "a longer page proves": proves_by_any_page,
    "nothing is newer than the newest": believes_any_order,
    "what a filter hides is looked for": replaced(Walk, "_look_further_down", asks_nothing),
    "a page of nulls is no end": forgets_nulls,
}


PLAIN = Behaviour()


@dataclass(frozen=True)
class Case:
    """Holds a server: rows by offset from T0, with `updated_at` (or `None`), size, and tenths of a microsecond.

    `updates` names requests by number, each with the row that gets another `updated_at` before the answer. `left_out`
    holds the numbers of rows that the filter of the export leaves out.
    """

    name: str
    rows: tuple[tuple[int, int | None, int, int], ...]
    behaviour: Behaviour = PLAIN
    windows: tuple[tuple[int, int], ...] = ((-5_000_000, 5_000_000),)
    page_size: int = 1000
    seed: int = 0
    updates: tuple[tuple[int, int, int], ...] = ()
    left_out: frozenset[int] = frozenset()

    def server(self) -> ServerModel:
        rows = [
            StoredRow(
                f"c{number}",
                T0 + offset,
                None if updated is None else T0 + updated,
                size,
                matches=number not in self.left_out,
                tenths=tenths,
            )
            for number, (offset, updated, size, tenths) in enumerate(self.rows)
        ]
        return ServerModel(rows, self.behaviour, self.seed)

    def update(self, server: ServerModel) -> None:
        for request, number, updated in self.updates:
            if request == server.requests:
                server.rows[number] = replace(server.rows[number], updated_at=T0 + updated)


def run(case: Case, mutation: Mutation | None) -> Outcome:
    with ExitStack() as stack:
        if mutation is not None:
            mutation(stack.enter_context(pytest.MonkeyPatch.context()))
        return read(case)


def read(case: Case) -> Outcome:
    server, traits = case.server(), Traits()
    traits.is_filtered = len(case.left_out) > 0
    found: Counter[str] = Counter()
    doubts: list[Unproven] = []
    for start, end in case.windows:
        walk: Walk[StoredRow] = Walk(Interval(T0 + start, T0 + end), traits, case.page_size)
        while walk.request is not None:
            if server.requests > MOST_REQUESTS:
                return "never ends"
            case.update(server)
            try:
                settled = walk.receive(server.answer(walk.request))
            except ContradictionError:
                return "refused"
            found.update(row.id for row in settled.rows.rows)
            doubts += settled.unproven
    wanted = {
        row.id: time
        for row in server.rows
        if row.matches
        and row.id not in case.behaviour.nulls
        and any(T0 + start <= (time := server.served(row.created_at)) < T0 + end for start, end in case.windows)
    }
    if any(name not in found and not any(time in one.interval for one in doubts) for name, time in wanted.items()):
        return "lost"
    if any(times > 1 for times in found.values()) or found.keys() - wanted.keys():
        return "twice"
    return "unproven" if doubts else "exact"


#: Each rule with what goes wrong without it, and the least server found on which that happens.
CASES: tuple[tuple[Outcome, Outcome, Case], ...] = (
    ("lost", "unproven", Case("a row above the window", ((0, 0, 100, 0), (1, 0, 100, 0)), Behaviour(before="cut_min"))),
    (
        "lost",
        "exact",
        Case(
            "a known row on the next page",
            ((2826957, 0, 100, 6), (2826957, 0, 100, 7), (2826957, 0, 100, 1), (0, 0, 100, 0)),
            PLAIN,
            page_size=2,
        ),
    ),
    (
        "lost",
        "unproven",
        Case(
            "all the rows that a list has named",
            ((1, 0, 100, 0), (43200000000, 0, 100, 0), (7399814400, 0, 100, 0), (7399814400, 0, 2000, 3)),
            Behaviour(bytes_cap=250),
            windows=((1, 864000000001),),
        ),
    ),
    (
        "lost",
        "unproven",
        Case(
            "a row of the same time is another row",
            (
                (4071826, 0, 100, 5),
                (4071826, 0, 100, 0),
                (4071826, 0, 100, 1),
                (4071826, 0, 100, 4),
                (0, 0, 100, 0),
            ),
            Behaviour(heavy_cap=2),
        ),
    ),
    (
        "lost",
        "exact",
        Case(
            "an empty page is no end",
            ((5000000, 0, 100, 0),),
            Behaviour(cursor_reads="date"),
            windows=((2000000, 12000000),),
        ),
    ),
    (
        "unproven",
        "exact",
        Case(
            "without the lower bound",
            ((1000000, 0, 100, 0), (0, 0, 100, 0)),
            Behaviour(after="hours_more"),
            windows=((1000000, 2000000),),
        ),
    ),
    (
        "lost",
        "exact",
        Case("from further up", ((5000000, 0, 100, 0),), Behaviour(before="london"), windows=((2000000, 12000000),)),
    ),
    ("lost", "exact", Case("a short page is no end", ((5000000, 0, 100, 0),), PLAIN, windows=((2000000, 12000000),))),
    (
        "lost",
        "unproven",
        Case(
            "a list that ends is no end",
            ((0, 0, 2000, 6), (0, 0, 100, 0)),
            Behaviour(bytes_cap=1000, ignores=frozenset({"fields"})),
        ),
    ),
    (
        "lost",
        "exact",
        Case(
            "the rows at the position are in hand",
            ((2843175, 0, 100, 0), (2843175, 0, 100, 0), (2843175, 0, 100, 0), (0, 0, 100, 0)),
            PLAIN,
            page_size=2,
        ),
    ),
    (
        "twice",
        "exact",
        Case(
            "drop what is seen again", ((0, 0, 100, 0), (1, 0, 100, 0), (172800000000, 0, 100, 0)), PLAIN, page_size=2
        ),
    ),
    (
        "lost",
        "exact",
        Case(
            "hold back",
            ((2552134, 0, 100, 0), (2552134, 0, 100, 0), (2552134, 0, 100, 0), (0, 0, 100, 0)),
            PLAIN,
            page_size=2,
        ),
    ),
    ("twice", "exact", Case("clip", ((3000000, 0, 100, 0),), PLAIN, windows=((3000007, 4000007),))),
    (
        "refused",
        "exact",
        Case(
            "both: an ignored cursor",
            ((0, 0, 100, 0), (-9, 0, 100, 0), (-99, 0, 100, 0)),
            Behaviour(ignores=frozenset({"cursor"})),
            page_size=1,
        ),
    ),
    (
        "refused",
        "exact",
        Case(
            "both: an ignored bound",
            ((0, 0, 100, 0), (-9, 0, 100, 0), (-99, 0, 100, 0)),
            Behaviour(ignores=frozenset({"created_before"})),
            page_size=1,
        ),
    ),
    (
        "lost",
        "unproven",
        Case(
            "a longer page proves",
            ((0, 0, 2000, 6), (0, 0, 100, 0)),
            Behaviour(bytes_cap=1000, ignores=frozenset({"fields"})),
        ),
    ),
    (
        "lost",
        "refused",
        Case(
            "nothing is newer than the newest",
            ((0, 0, 100, 0), (-1000000, 0, 100, 0), (-1000000, 0, 100, 0)),
            Behaviour(page_cap=2, oldest_first=True),
        ),
    ),
    (
        "lost",
        "refused",
        Case(
            "nothing is newer than the newest",
            ((0, 0, 100, 0), (400, 0, 100, 0), (3000000, 0, 100, 0)),
            Behaviour(page_cap=1, oldest_first=True, precision=1000000),
        ),
    ),
    (
        "lost",
        "refused",
        Case(
            "nothing is newer than the newest",
            ((0, 0, 100, 0), (0, 0, 100, 0), (1000000, 0, 100, 0), (2000000, 0, 100, 0), (3000000, 0, 100, 0)),
            Behaviour(oldest_after=2, cap_after=(2, 2)),
            page_size=2,
        ),
    ),
    (
        "lost",
        "refused",
        Case(
            "nothing is newer than the newest",
            ((0, 0, 100, 0), (1000000, 0, 100, 0), (2000000, 0, 100, 0), (3000000, 0, 100, 0)),
            Behaviour(oldest_after=2, cap_after=(2, 1), ignores=frozenset({"created_after"})),
            page_size=2,
        ),
    ),
    (
        "lost",
        "unproven",
        Case(
            "what a filter hides is looked for",
            ((0, 0, 100, 0), (-1000000, 0, 100, 0), (-2000000, 0, 100, 0), (-3000000, 0, 100, 0)),
            Behaviour(page_cap=3, filters_late=True),
            left_out=frozenset({1, 2}),
        ),
    ),
    (
        "lost",
        "unproven",
        Case(
            "a page of nulls is no end",
            ((-1, 0, 100, 0), (-2, 0, 100, 0), (-3, 0, 100, 0)),
            Behaviour(page_cap=2, nulls=frozenset({"c0", "c1"})),
        ),
    ),
)


@pytest.mark.parametrize(("fails", "whole", "case"), CASES, ids=lambda value: getattr(value, "name", None))
def test_without_the_rule_the_walk_fails_and_with_it_it_does_not(fails: Outcome, whole: Outcome, case: Case) -> None:
    assert run(case, MUTATIONS[case.name]) == fails
    assert run(case, None) == whole


def test_each_rule_has_its_case() -> None:
    assert {case.name for _, _, case in CASES} == MUTATIONS.keys()
