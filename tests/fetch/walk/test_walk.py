"""Tests the walk against a modelled server: it hands out what is stored, or names the doubt."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.contract import BEGINNING, DAY, END_OF_TIME, HOUR, MILLISECOND, MINUTE, SECOND, Instant
from exporter.coverage import Interval
from exporter.errors import ContradictionError
from exporter.fetch.walk.approach import close_question
from exporter.fetch.walk.traits import Traits
from exporter.fetch.walk.walk import Walk
from exporter.model import Page, PageRequest, Rows
from tests.fetch.walk.reader import HEAVY_UNIT_BYTES, Limiting, Reader, by_bytes, by_whim, check, expected
from tests.fetch.walk.server_model import (
    FILTER,
    PARAMETERS,
    READS,
    SUMMER_TIME,
    T0,
    Behaviour,
    Reads,
    ServerModel,
    StoredRow,
)
from tests.toolkit.sizes import size_of

EXAMPLES = size_of(100, 250, "EXPORTER_WALK_EXAMPLES")

many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


STATUSES = {"c": "completed", "t": "token_created"}
OFFSETS = st.one_of(
    st.sampled_from([0, 1, 2, 499, 500, 501, 999, 1000, 1500, 499_999, 500_000, 500_001, 999_999, SECOND]),
    st.integers(0, 5 * SECOND),
    st.integers(0, 5).map(lambda seconds: seconds * SECOND),
)
GROUPS = st.tuples(
    OFFSETS,
    st.sampled_from([1, 1, 1, 2, 3, 7, 12]),
    st.sampled_from([0, 0, 1, 400, 2 * SECOND]),
    st.sampled_from([(100,), (60, 400), (100, 100, 2000)]),
    st.booleans(),
)


@st.composite
def odd_reads(draw: st.DrawFn) -> dict[str, Any]:
    """Draws how a server may misread bounds and cursor: all in the same way, or each in its own."""
    names = ("before", "after", "cursor_reads")
    ways = st.sampled_from(READS)
    alike = ways.map(lambda way: dict.fromkeys(names, way))
    apart = st.fixed_dictionaries({name: st.sampled_from(("exact", "exact", *READS)) for name in names})
    return {
        **draw(st.one_of(alike, apart)),
        "excludes": draw(st.sets(st.sampled_from(("created_before", "created_after"))).map(frozenset)),
        "compares": draw(st.sampled_from(("stored", "served"))),
        "cap_after": draw(st.none() | st.tuples(st.integers(2, 30), st.sampled_from((2, 4)))),
        "fickle": draw(st.sampled_from((False, False, False, True))),
    }


@st.composite
def servers(draw: st.DrawFn, *, ignores: bool = False, reads: bool = False) -> ServerModel:
    behaviour = Behaviour(
        **(draw(odd_reads()) if reads else {}),
        cursor=draw(st.sampled_from(["strict", "inclusive"])),
        precision=draw(st.sampled_from([1, MILLISECOND, SECOND])),
        rounding=draw(st.sampled_from(["cut", "half_up", "half_even"])),
        # Taken on trust: a page can hold two rows.
        page_cap=draw(st.sampled_from([2, 3, 5, 8, 1000])),
        bytes_cap=draw(st.sampled_from([None, None, 250, 1000])),
        heavy_cap=draw(st.sampled_from([None, None, 2, 4])),
        hides=draw(st.sampled_from([None, None, None, "token_created"])),
        ignores=draw(
            st.sets(
                st.sampled_from(PARAMETERS),
                max_size=2,
            ).map(frozenset)
        )
        if ignores
        else frozenset(),
    )
    rows: list[StoredRow] = []
    statuses = draw(st.sampled_from(["c", "tc", "tcctc", "t"]).map(lambda text: [STATUSES[one] for one in text]))
    dated = draw(st.sampled_from([True, True, True, False]))
    for offset, count, spread, sizes, some_filtered_out in draw(st.lists(GROUPS, max_size=6)):
        for number in range(count):
            at = T0 + offset
            updated_at = at + spread * number if dated else None
            matches = not (some_filtered_out and number % 2)
            status = statuses[len(rows) % len(statuses)]
            rows.append(StoredRow(f"c{len(rows)}", at, updated_at, sizes[number % len(sizes)], matches, status))
    return ServerModel(rows, behaviour, seed=draw(st.integers(0, 1000)))


@st.composite
def windows(draw: st.DrawFn) -> Interval:
    edges = st.sampled_from([-SECOND, 0, 1, 500, 1000, 500_000, SECOND, 2 * SECOND, 3 * SECOND + 7, 6 * SECOND])
    start = draw(st.one_of(edges.map(lambda edge: T0 + edge), st.just(BEGINNING)))
    length = draw(st.sampled_from([1, 1000, SECOND, 10 * SECOND]))
    return Interval(start, (T0 if start == BEGINNING else start) + length)


@many
@given(servers(), windows(), st.sampled_from([1, 2, 3, 1000]))
def test_hands_out_every_row_of_the_window_once(server: ServerModel, window: Interval, page_size: int) -> None:
    reader = Reader(server, page_size)
    reader.read(window)
    check(reader, window)
    event(f"unproven: {bool(reader.unproven)}")


@many
@given(servers(ignores=True), windows(), st.sampled_from([1, 3, 1000]))
def test_a_server_that_ignores_parameters_is_read_exactly_or_refused_aloud(
    server: ServerModel, window: Interval, page_size: int
) -> None:
    reader = Reader(server, page_size)
    try:
        reader.read(window)
    except ContradictionError:
        event("refused")
        assert {"cursor", "created_before"} <= server.behaviour.ignores
        return
    check(reader, window)


@many
@given(servers(reads=True), windows(), st.sampled_from([2, 3, 1000]))
def test_however_bounds_are_read_all_rows_are_handed_out_or_the_doubt_is_named(
    server: ServerModel, window: Interval, page_size: int
) -> None:
    reader = Reader(server, page_size)
    try:
        reader.read(window)
    except ContradictionError:
        event("refused")
        return
    check(reader, window)
    event(f"unproven: {bool(reader.unproven)}")


@many
@given(servers(), windows(), st.sampled_from([1, 2, 3, 1000]), st.integers(1, 20), st.booleans())
def test_a_list_that_turns_while_it_is_read_is_refused_or_nothing_is_lost(
    server: ServerModel, window: Interval, page_size: int, turns_at: int, reads_closely: bool
) -> None:
    server.behaviour = dataclasses.replace(server.behaviour, oldest_after=turns_at, cap_after=(turns_at, 2))
    reader = Reader(server, page_size)
    question = close_question(sorted((server.served(row.created_at) for row in server.rows), reverse=True))
    if reads_closely and question is not None:
        reader.traits.observe(question, server.answer(question))
    end = window.end + 3 * SECOND
    try:
        for part in (Interval(window.end, end), window):
            reader.read(part)
    except ContradictionError:
        event("refused")
        return
    check(reader, Interval(window.start, end))
    event(f"unproven: {bool(reader.unproven)}")


#: Bounds that are merely coarse, shifted, or exclusive; none of them may cost a row, or even cause a doubt.
HARMLESS: dict[str, dict[str, Any]] = {
    **{
        f"{reads}, alike": {"before": reads, "after": reads, "cursor_reads": reads}
        for reads in READS
        if reads != "date"
    },
    **{f"{reads}, {name} alone": {name: reads} for reads in READS for name in ("before", "after", "cursor_reads")},
    "exclusive": {"excludes": frozenset({"created_before", "created_after"})},
    "exclusive before": {"excludes": frozenset({"created_before"})},
    "served": {"compares": "served", "precision": MILLISECOND},
}


@pytest.mark.parametrize("behaviour", HARMLESS.values(), ids=HARMLESS)
def test_a_bound_that_is_read_otherwise_costs_nothing_but_requests(behaviour: dict[str, Any]) -> None:
    rows = rows_at(*(T0 - number * 1_234_567 for number in range(3000)))
    server = ServerModel(rows, Behaviour(page_cap=200, **behaviour))
    reader = Reader(server, traits=Traits(T0))
    window = Interval(T0 - 3600 * SECOND, T0 - 300 * SECOND)
    reader.read(window)
    reader.read(Interval(window.end, T0 + SECOND))
    assert not reader.unproven
    assert Counter(row.id for row in reader.rows) == expected(server, Interval(window.start, T0 + SECOND))


def test_equals_that_are_updated_while_they_are_told_apart_are_all_found() -> None:
    """A row that has not been seen moves from one slice of `updated_at` into another that has been read."""
    chance = random.Random(7)
    rows = [StoredRow(f"g{number}", T0, T0 + number * SECOND) for number in range(2500)]
    server = ServerModel([*rows, *rows_at(T0 - SECOND, T0 + SECOND)], Behaviour())
    reader = Reader(server)
    walk = reader.walk(Interval(T0 - 5 * SECOND, T0 + 5 * SECOND))
    for request in range(1000):
        if walk.request is None:
            break
        if request < 60:
            at = chance.randrange(len(rows))
            server.rows[at] = replace(server.rows[at], updated_at=T0 + (3000 + request) * SECOND)
        reader.step(walk)
    assert walk.request is None
    assert not reader.unproven
    assert {row.id for row in reader.rows} == {row.id for row in server.rows}


def test_an_answer_that_is_oldest_first_is_refused_though_each_page_bears_one_time() -> None:
    times = [T0 + number // 10 * SECOND for number in range(40)]

    def answer(request: PageRequest) -> Page[StoredRow]:
        found = [time for time in times if (request.created_after or BEGINNING) <= time]
        found = [time for time in found if time <= (request.created_before or END_OF_TIME)]
        page = sorted(found)[: min(10, request.limit)]
        return Page(Rows([StoredRow(f"c{time}", time) for time in dict.fromkeys(page)][:1], page[:1], [None]), 500)

    walk: Walk[StoredRow] = Walk(Interval(T0 - SECOND, T0 + 60 * SECOND), Traits(T0 + 3 * SECOND), 10)
    with pytest.raises(ContradictionError):
        for _ in range(500):
            assert walk.request is not None
            walk.receive(answer(walk.request))


@many
@given(servers(), windows(), st.sampled_from([1, 3, 1000]), st.integers(0, 10**6))
def test_windows_that_stop_resume_and_give_half_away_tile_the_range(
    server: ServerModel, window: Interval, page_size: int, seed: int
) -> None:
    chance = random.Random(seed)
    reader = Reader(server, page_size)
    walks = [reader.walk(window)]
    moves_left = 12
    while walks := [walk for walk in walks if walk.request is not None]:
        walk = chance.choice(walks)
        left, move = walk.remaining, chance.random() if moves_left else 1.0
        moves_left -= move < 0.2
        if move < 0.1 and left is not None:
            walks.remove(walk)
            walks.append(reader.walk(left))
        elif move < 0.2 and left is not None and len(walks) < 5 and left.end - left.start > 1:
            floor = max(left.start, min(T0 - 2 * SECOND, left.end - 2))
            walks.append(reader.walk(walk.give_away_below(chance.randrange(floor + 1, left.end))))
        else:
            reader.step(walk)
        assert server.requests < 100_000
    check(reader, window)


@many
@given(servers(), windows(), st.sampled_from([1, 3, 1000]), st.integers(0, 10**6))
def test_rows_that_come_to_be_shown_meanwhile_hide_no_others(
    server: ServerModel, window: Interval, page_size: int, seed: int
) -> None:
    chance = random.Random(seed)
    there = ServerModel(list(server.rows), server.behaviour)
    reader = Reader(server, page_size)
    walk = reader.walk(window)
    times = sorted({row.created_at for row in server.rows}) or [T0]
    while walk.request is not None:
        if len(server.rows) < len(there.rows) + 20 and chance.random() < 0.3:
            at = chance.choice(times) + chance.choice(
                (0, 1, -1, 500, -400_000, 400_000, chance.randint(-SECOND, SECOND))
            )
            server.rows.append(StoredRow(f"n{len(server.rows)}", at, T0 + 10 * SECOND))
        reader.step(walk)
        assert server.requests < 100_000
    reader.server = there
    reader.rows = [row for row in reader.rows if row.id.startswith("c")]
    check(reader, window)


LIMITINGS = st.one_of(
    st.integers(0, 10**6).map(lambda seed: by_whim(random.Random(seed))), st.sampled_from([99, 250, 1500]).map(by_bytes)
)
UNITS = st.sampled_from([1, HEAVY_UNIT_BYTES])


@many
@given(servers(), windows(), st.sampled_from([1, 3, 1000]), LIMITINGS, UNITS)
def test_however_few_rows_a_page_is_asked_for_nothing_is_lost(
    server: ServerModel, window: Interval, page_size: int, limiting: Limiting, unit_bytes: int
) -> None:
    reader = Reader(server, page_size, limiting=limiting, unit_bytes=unit_bytes)
    reader.read(window)
    check(reader, window)


def test_a_huge_row_is_delivered_once() -> None:
    huge = [StoredRow(f"h{number}", T0 + number * SECOND, T0, size=30_000_000) for number in range(5)]
    small = [StoredRow(f"s{number}", T0 + (9 + number) * SECOND, T0) for number in range(50)]
    window = Interval(T0 - SECOND, T0 + 60 * SECOND)
    reader = Reader(ServerModel(huge + small, Behaviour()), limiting=by_bytes(40_000_000))
    delivered: Counter[str] = Counter()
    walk = reader.walk(window)
    while walk.request is not None:
        page = reader.ask(walk.request)
        delivered.update(row.id for row in page.rows.rows if row.size > 100 and not walk.request.ids_only)
        reader.take(walk, page)
    check(reader, window)
    assert not reader.unproven
    assert set(delivered.values()) == {1}


def reader_of(server: ServerModel) -> Reader:
    """Returns a reader that knows where the list begins, like a run that has asked for it."""
    return Reader(server, traits=Traits(max(server.served(row.created_at) for row in server.rows)))


def rows_at(*times: Instant, updated: Instant | None = T0) -> list[StoredRow]:
    return [StoredRow(f"c{number}", time, updated) for number, time in enumerate(times)]


def test_a_plain_list_costs_its_pages_and_two_requests_for_the_end() -> None:
    server = ServerModel(rows_at(*(T0 + number * SECOND for number in range(5000))), Behaviour())
    reader = reader_of(server)
    reader.read(Interval(T0 - 60 * SECOND, T0 + 5000 * SECOND))
    assert len(reader.rows) == 5000
    # 1000 rows, then 999 new ones a page, since one row comes again; then the list of ids that shows the end, and the
    # question whether there is more where a lower bound is given.
    assert server.requests == 6 + 2


def test_a_million_rows_in_one_hour() -> None:
    """A row exists every 3.6 ms and is served in seconds: each second is a group of 277 or 278 equals."""
    step, count = 3600 * SECOND // 1_000_000, 1_000_000

    def answer(request: PageRequest) -> Page[StoredRow]:
        before = request.created_before
        newest = count - 1 if before is None else min(count - 1, (before - T0) // step)
        oldest = 0 if request.created_after is None else max(0, -((T0 - request.created_after) // step))
        numbers = range(newest, max(oldest, newest - request.limit + 1) - 1, -1)
        rows = [StoredRow(f"c{number}", T0 + number * step, T0) for number in numbers]
        return Page(Rows(rows, [row.created_at // SECOND * SECOND for row in rows], [T0] * len(rows)), 100 * len(rows))

    window = Interval(T0 + 1, T0 + 3600 * SECOND)
    walk: Walk[StoredRow] = Walk(window, Traits(T0 + 3600 * SECOND), 1000)
    found, requests = 0, 0
    while walk.request is not None:
        found += len(walk.receive(answer(walk.request)).rows)
        requests += 1
    # The window begins inside the first second, which is served as older.
    assert found == count - -(-SECOND // step)
    # A page ends in the middle of a second, and the next begins at the end of it.
    assert requests < 1.6 * count / 1000


@pytest.mark.parametrize("precision", [1, SECOND])
def test_one_row_a_year(precision: int) -> None:
    years = 55
    rows = rows_at(*(T0 - year * 31_556_952 * SECOND + 1 for year in range(years)))
    reader = reader_of(ServerModel(rows, Behaviour(precision=precision)))
    reader.read(Interval(BEGINNING, T0 + SECOND))
    assert sorted(row.id for row in reader.rows) == sorted(row.id for row in rows)
    assert not reader.unproven
    assert reader.server.requests < 7


def filtered_reader(rows: list[StoredRow], behaviour: Behaviour) -> Reader:
    """Returns a reader of what a filter leaves, which has read down to the end of the list."""
    reader = Reader(ServerModel(rows, behaviour), page_size=50)
    reader.traits.is_filtered = True
    reader.traits.filter_order.filters = (FILTER,)
    reader.read(Interval(T0 - DAY, T0 + 300 * DAY))
    return reader


@pytest.mark.parametrize("days_below", [2, 20, 200])
def test_a_window_below_the_end_of_a_filtered_list_costs_a_few_requests(days_below: int) -> None:
    """It need not find that end by itself, from ever further above."""
    rows = [StoredRow(f"c{number}", T0 + number * HOUR, matches=number % 3 > 0) for number in range(500)]
    reader = filtered_reader(rows, Behaviour())
    before = reader.server.requests
    reader.read(Interval(T0 - 2 * days_below * DAY, T0 - days_below * DAY))
    assert reader.server.requests <= before + 4
    assert (len(reader.rows), reader.unproven) == (333, [])


def test_a_filtered_list_that_ends_at_a_gap_is_read_on_below_it_in_the_next_window() -> None:
    """A whole page that is left out after it was limited looks like the end, and no row of it is known."""
    rows = [StoredRow(f"c{number}", T0 + number * HOUR) for number in range(100)]
    rows += [StoredRow(f"x{number}", T0 - DAY - number * HOUR, matches=False) for number in range(60)]
    rows += [StoredRow(f"d{number}", T0 - 10 * DAY - number * HOUR) for number in range(100)]
    reader = filtered_reader(rows, Behaviour(filters_late=True, page_cap=20))
    assert len(reader.rows) == 100
    below = Interval(T0 - 30 * DAY, T0 - DAY)
    reader.read(below)
    check(reader, Interval(below.start, T0 + 300 * DAY))
    assert len(reader.rows) > 100


def test_a_window_inside_the_data_costs_its_pages_alone() -> None:
    server = ServerModel(rows_at(*(T0 + number * 10 * SECOND for number in range(5000))), Behaviour())
    reader = reader_of(server)
    reader.read(Interval(T0 + 25_000 * SECOND, T0 + 50_000 * SECOND))
    assert len(reader.rows) == 2500
    assert server.requests == 3


def test_a_window_whose_last_rows_are_followed_by_a_gap_costs_a_list_of_ids_and_one_foreseen_in_vain() -> None:
    server = ServerModel(rows_at(T0 - 86_400 * SECOND, *(T0 + n * SECOND for n in range(2500))), Behaviour())
    reader = reader_of(server)
    reader.read(Interval(T0 - 3600 * SECOND, T0 + 5000 * SECOND))
    assert len(reader.rows) == 2500
    assert server.requests == 3 + 1 + 1


BOTH_EXCLUDED = frozenset({"updated_after", "updated_before"})


@pytest.mark.parametrize("excludes", [frozenset(), frozenset({"updated_after"}), BOTH_EXCLUDED])
@pytest.mark.parametrize("step", [1, 1000, 250_000, SECOND // 2])
@pytest.mark.parametrize("reads", READS)
def test_however_bounds_of_updated_at_are_read_equals_are_handed_out_or_named(
    reads: Reads, step: Instant, excludes: frozenset[str]
) -> None:
    rows = [StoredRow(f"e{number}", T0, T0 + number * step) for number in range(40)]
    others = [StoredRow(f"c{number}", T0 - number * SECOND, T0 - number * SECOND) for number in range(1, 30)]
    server = ServerModel([*rows, *others], Behaviour(page_cap=8, updated_reads=reads, excludes=excludes))
    for server.seed in range(4):
        reader, window = reader_of(server), Interval(T0 - 60 * SECOND, T0 + SECOND)
        reader.read(window)
        check(reader, window)
        # A page holds the rows of some of the units that are told apart.
        if step >= {"exact": 1, "cut_ms": 1000, "cut_s": SECOND // 2}.get(reads, SECOND):
            assert not reader.unproven


@pytest.mark.parametrize(
    ("reads", "page_cap", "rows"),
    [
        ("cut_s", 3, [(0, 250_000), (-1, 1_000_000), (0, 3_250_000), (-6, 1_750_000), (0, 1_500_000)]),
        (
            "round_s",
            4,
            [
                (0, 2_500_000),
                (-1, 1_000_000),
                (0, 2_500_000),
                (-4, 6_500_000),
                (0, 500_000),
                (0, 2_500_000),
                (2_000_000, 4_500_000),
            ],
        ),
    ],
)
def test_slices_of_updated_at_share_a_row(reads: Reads, page_cap: int, rows: list[tuple[int, int]]) -> None:
    """Bounds that are both cut and exclusive leave a second between two slices that overlap by less."""
    stored = [
        StoredRow(f"c{number}", T0 + created, T0 + SECOND + updated) for number, (created, updated) in enumerate(rows)
    ]
    server = ServerModel(stored, Behaviour(page_cap=page_cap, updated_reads=reads, excludes=BOTH_EXCLUDED))
    for server.seed in range(20):
        reader, window = Reader(server), Interval(T0 - 5 * SECOND, T0 + 5 * SECOND)
        reader.read(window)
        check(reader, window)


def test_rows_of_one_time_and_one_update_among_later_updates_are_soon_seen_to_be_inseparable() -> None:
    group = [StoredRow(f"g{number}", T0, T0) for number in range(5)]
    others = [StoredRow(f"c{number}", T0 + number * SECOND, T0 + number * 4_000_000 * SECOND) for number in range(1, 9)]
    reader = reader_of(ServerModel([*group, *others], Behaviour(page_cap=3)))
    reader.read(Interval(T0 - SECOND, T0 + SECOND))
    assert [doubt.created_at for doubt in reader.unproven] == [T0]
    assert reader.server.requests < 80


@pytest.mark.parametrize("cursor", ["strict", "inclusive"])
@pytest.mark.parametrize("precision", [1, MILLISECOND, SECOND])
@pytest.mark.parametrize("rounding", ["cut", "half_up", "half_even"])
def test_a_group_of_equals_longer_than_pages_is_enumerated_by_updated_at(
    cursor: str, precision: int, rounding: str
) -> None:
    group = [StoredRow(f"g{number}", T0 + 2 * SECOND + 1234, T0 + number * SECOND) for number in range(3500)]
    others = rows_at(*(T0 + number * 1003 for number in range(1500)))
    server = ServerModel(group + others, Behaviour(cursor=cursor, precision=precision, rounding=rounding))  # type: ignore[arg-type]
    reader = Reader(server)
    reader.read(Interval(T0 - SECOND, T0 + 10 * SECOND))
    assert not reader.unproven
    check(reader, Interval(T0 - SECOND, T0 + 10 * SECOND))


def test_equals_that_nothing_tells_apart_are_kept_and_named() -> None:
    server = ServerModel(rows_at(*([T0] * 1500), T0 - SECOND, T0 + SECOND), Behaviour())
    reader = Reader(server)
    reader.read(Interval(T0 - 5 * SECOND, T0 + 5 * SECOND))
    assert [doubt.created_at for doubt in reader.unproven] == [T0]
    assert "updated_at" in reader.unproven[0].reason
    assert reader.unproven[0].rows >= 1000
    assert {"c1500", "c1501"} <= {row.id for row in reader.rows}


def test_the_only_row_of_an_organization_is_proven() -> None:
    reader = Reader(ServerModel(rows_at(T0), Behaviour(precision=SECOND)))
    reader.read(Interval(T0 - SECOND, T0 + SECOND))
    assert len(reader.rows) == 1
    assert not reader.unproven


def test_the_only_row_of_a_range_is_proven_by_a_longer_page_from_outside() -> None:
    reader = Reader(ServerModel(rows_at(T0, T0 + 86_400 * SECOND, T0 + 86_401 * SECOND), Behaviour()))
    reader.read(Interval(T0 - SECOND, T0 + SECOND))
    assert [row.id for row in reader.rows] == ["c0"]
    assert not reader.unproven


def rows_of(row: StoredRow) -> Rows[StoredRow]:
    return Rows([row], [row.created_at], [row.updated_at])


@pytest.mark.parametrize("lie", ["order", "limit", "twice"])
def test_lies_are_refused(lie: str) -> None:
    server = ServerModel(rows_at(T0, T0 + SECOND), Behaviour())
    walk: Walk[StoredRow] = Walk(Interval(T0 - SECOND, T0 + 5 * SECOND), Traits(), 2)
    assert walk.request is not None
    page = server.answer(walk.request)
    rows = page.rows
    if lie == "order":
        rows = replace(rows, rows=rows.rows[::-1], created_at=rows.created_at[::-1])
    elif lie == "limit":
        rows = rows + rows_of(StoredRow("c2", T0 - SECOND))
    else:
        rows = rows[:1] + rows_of(replace(rows.rows[0], size=7, updated_at=T0 + 9))
    with pytest.raises(ContradictionError):
        walk.receive(replace(page, rows=rows))


class TwistedServer(ServerModel):
    """Takes each question for another one. `is_steady` keeps rows of equal times in one order."""

    twist: Callable[[PageRequest], PageRequest]
    is_steady = False

    def answer(self, request: PageRequest) -> Page[StoredRow]:
        number = self.requests
        self.requests *= not self.is_steady
        page = super().answer(self.twist(request))
        self.requests = number + 1
        return replace(page, limit=request.limit)


def test_a_limit_of_a_kind_of_question_proves_nothing_of_another() -> None:
    """Lists that are bounded from above are cut sooner than others."""
    group = [StoredRow(f"g{number:02}", T0, T0 + number * SECOND) for number in range(60)]
    newer = [StoredRow(f"c{number:02}", T0 + number * HOUR, T0 + number * HOUR) for number in range(1, 20)]
    for seed in range(4):
        server = TwistedServer([*newer, *group], Behaviour(), seed=seed)
        server.is_steady = True
        server.twist = lambda asked: replace(asked, limit=min(asked.limit, 5 if any(asked.bounds) else 30))
        reader, window = reader_of(server), Interval(BEGINNING, T0 + DAY)
        reader.read(window)
        check(reader, window)
        assert not reader.unproven


@pytest.mark.parametrize("start", [T0 - 100 * DAY, T0 - 40 * DAY])
def test_bounds_that_are_held_against_each_other(start: Instant) -> None:
    """If they are far apart, the upper one is lowered: a bound that was read closely by itself is no evidence."""

    def lowered(asked: PageRequest) -> PageRequest:
        if asked.created_after is None or asked.created_before is None:
            return asked
        lower = min(asked.created_before, asked.created_after + 31 * DAY)
        return replace(asked, created_before=lower, before_cursor=None)

    server = TwistedServer(rows_at(*(T0 + 20 * SECOND - number * HOUR for number in range(2000))), Behaviour())
    server.twist = lowered
    reader, middle = reader_of(server), T0 - 20 * DAY
    question = close_question([row.created_at for row in server.rows[:100]])
    assert question is not None
    near = replace(question, created_after=T0 - DAY)
    for asked in (question, near):
        reader.traits.observe(asked, server.answer(asked))
    assert reader.traits.has_read_closely(near)
    assert not reader.traits.has_read_closely(question)
    for window in (Interval(middle, T0 + MINUTE), Interval(start, middle)):
        reader.read(window)
    check(reader, Interval(start, T0 + MINUTE))


def test_a_list_that_ends_early_where_it_is_not_bounded_from_below() -> None:
    """The list then shows the last 30 days; a question with a lower bound has shown that more rows exist."""
    server = TwistedServer(rows_at(*(T0 - number * DAY for number in range(60))), Behaviour())
    server.twist = lambda asked: (
        asked if asked.created_after is not None else replace(asked, created_after=T0 - 30 * DAY)
    )
    reader, window = reader_of(server), Interval(BEGINNING, T0 + 1)
    early = PageRequest(1, T0 - 200 * DAY, T0 - 50 * DAY, T0 - 50 * DAY + 1, ids_only=True)
    reader.traits.observe(early, server.answer(early))
    reader.read(window)
    check(reader, window)
    assert reader.unproven


def test_a_list_that_ends_early_in_one_window_is_not_believed_to_end_in_the_next() -> None:
    """Without a lower bound the API shows 90 days; all that is left is below the window that has reached the end."""
    server = TwistedServer(
        rows_at(*(T0 - first * DAY - number * MINUTE for first in (2, 300) for number in range(40))), Behaviour()
    )

    def look_back(asked: PageRequest) -> PageRequest:
        until = T0 if asked.created_before is None else asked.created_before
        return asked if asked.created_after is not None else replace(asked, created_after=until - 90 * DAY)

    server.twist = look_back
    reader, middle = reader_of(server), T0 - 100 * DAY
    reader.read(Interval(middle, T0 + 1))
    reader.read(Interval(BEGINNING, middle))
    check(reader, Interval(BEGINNING, T0 + 1))
    assert reader.unproven


@pytest.mark.parametrize("shown_at", [45, 55])
def test_an_end_is_held_against_every_row_that_was_shown(shown_at: int) -> None:
    """The API leaves twenty rows of its list out, after it has limited a page to ten."""
    rows = rows_at(*(T0 - number * HOUR for number in range(60)))
    rows = [replace(row, matches=not 20 <= number < 40) for number, row in enumerate(rows)]
    server = ServerModel(rows, Behaviour(page_cap=10, filters_late=True))
    reader, window = reader_of(server), Interval(BEGINNING, T0 + 1)
    before = rows[shown_at].created_at
    shown = PageRequest(1, created_before=before, before_cursor=before + 1)
    reader.traits.observe(shown, server.answer(shown))
    reader.read(window)
    check(reader, window)
    assert rows[40] not in reader.rows
    assert {*rows[shown_at + 1 :]} <= {*reader.rows}


@pytest.mark.parametrize("is_end", [True, False], ids=["below an end", "between two rows"])
@pytest.mark.parametrize("shows_again", [False, True])
def test_what_was_taken_for_empty_is_held_against_every_row_that_is_shown_later(
    shows_again: bool, is_end: bool
) -> None:
    """If the row is shown where the end was, it came late, and a sync reads it."""
    server, ended = (
        TwistedServer(rows_at(*(T0 - number * HOUR for number in range(10))), Behaviour()),
        T0 - 150 * MINUTE,
    )

    def twist(asked: PageRequest) -> PageRequest:
        is_again = asked.created_before == ended + SECOND
        return replace(asked, created_after=ended) if is_again and not shows_again else asked

    server.twist = twist
    reader = reader_of(server)
    if is_end:
        reader.traits.end(Interval(BEGINNING, ended))
    else:
        reader.traits.assume(BEGINNING, ended)
    reader.read(Interval(T0 - 2 * HOUR, T0 + HOUR))
    assert [doubt.interval for doubt in reader.unproven] == ([] if shows_again else [Interval(BEGINNING, ended)])


def test_a_page_that_shows_what_was_taken_for_empty_withdraws_it() -> None:
    """In winter bounds are read as they are meant; in summer an hour of each window is not shown."""
    rows = rows_at(*(SUMMER_TIME + number * 10 * MINUTE for number in range(-400, 400)))
    server = ServerModel(rows, Behaviour(before="london", after="london", cursor_reads="london"))
    reader = Reader(server, page_size=100)
    summer = [Interval(SUMMER_TIME + 3 * number * HOUR, SUMMER_TIME + 3 * (number + 1) * HOUR) for number in range(9)]
    winter = Interval(SUMMER_TIME - 48 * HOUR, SUMMER_TIME)
    for window in (winter, *summer):
        reader.read(window)
    check(reader, Interval(winter.start, summer[-1].end))


def test_what_becomes_visible_late_where_nothing_was_seen_is_no_misreading() -> None:
    rows = rows_at(*(T0 - number * HOUR for number in range(200)))
    late = rows.pop(96)
    server = ServerModel(rows, Behaviour())
    reader = reader_of(server)
    end = late.created_at + MINUTE
    reader.traits.assume(late.created_at - MINUTE, end)
    rows.append(late)
    reader.read(Interval(end, T0 + 1))
    reader.read(Interval(end - 2 * HOUR, end))
    assert not reader.unproven


def test_one_row_a_page_is_refused() -> None:
    server = ServerModel(rows_at(*(T0 - number * HOUR for number in range(200))), Behaviour(page_cap=1))
    reader = reader_of(server)
    lowest = PageRequest(1, created_before=T0 - 190 * HOUR, before_cursor=T0 - 190 * HOUR + 1, ids_only=True)
    reader.traits.observe(lowest, server.answer(lowest))
    with pytest.raises(ContradictionError, match="shows one conversation a page"):
        reader.read(Interval(T0 - 300 * HOUR, T0 + 1))


@pytest.mark.parametrize("page_size", [1, 2, 1000])
@pytest.mark.parametrize("hides", [None, "token_created"])
def test_the_only_row_of_all_is_proven_whether_it_is_hidden_or_not(hides: str | None, page_size: int) -> None:
    server = ServerModel([StoredRow("c0", T0, T0 + SECOND, status="token_created")], Behaviour(hides=hides))
    reader = Reader(server, page_size)
    reader.read(Interval(BEGINNING, T0 + DAY))
    assert ([row.id for row in reader.rows], reader.unproven) == (["c0"], [])


def test_a_hidden_row_is_not_taken_for_the_only_one_where_a_page_shows_one_row() -> None:
    rows = [StoredRow(f"c{number}", T0 + number * HOUR, T0, status="token_created") for number in range(2)]
    server = ServerModel(rows, Behaviour(hides="token_created", page_cap=1))
    reader = Reader(server, 1000)
    reader.read(Interval(BEGINNING, T0 + DAY))
    assert len(reader.rows) == len(rows) or reader.unproven


@pytest.mark.parametrize("hides", [None, "token_created"])
@pytest.mark.parametrize("apart", [0, 1, HOUR])
@pytest.mark.parametrize("at", range(2, 8))
def test_a_row_is_not_taken_for_the_only_one_once_others_were_shown(at: int, apart: int, hides: str | None) -> None:
    """The cap falls to one row a page, and bounds are read hours off, so that the row below comes as little as ever."""
    rows = [StoredRow(f"c{number}", T0 + number * apart, T0) for number in range(4)]
    rows += [StoredRow(f"h{number}", T0 + number * apart, T0, status="token_created") for number in range(2)]
    behaviour = Behaviour(before="hours_more", cursor_reads="hours_more", cap_after=(at, 1), hides=hides)
    server = ServerModel(rows, behaviour)
    reader = Reader(server)
    newest = PageRequest(100, ids_only=True)
    reader.traits.observe(newest, server.answer(newest))
    window = Interval(T0 - DAY, T0 + DAY)
    reader.read(window)
    check(reader, window)


def test_a_hidden_row_below_the_window_is_no_gap_below_the_lowest_listed_row() -> None:
    listed = [StoredRow(f"c{number}", T0 + number * SECOND, T0) for number in range(6)]
    server = ServerModel(
        [*listed, StoredRow("c6", T0 - DAY, T0, status="token_created")],
        Behaviour(hides="token_created", page_cap=3, precision=MILLISECOND),
    )
    reader = Reader(server, 7)
    for start in (T0 + 2 * SECOND, T0 + SECOND, T0):
        reader.read(Interval(start, start + 1))
        assert reader.unproven == []
