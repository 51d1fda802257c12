"""Who reads what: windows tile whatever happens, and splitting costs little and saves much."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR, SECOND, Instant
from exporter.model import Coverage, Interval
from exporter.plan.scheduler import Scheduler
from tests.plan.simulator import EVERYTHING, T0, SimulatedServer, density, simulate

PAGE = 1000
SINCE = Interval(T0 - 60 * DAY, T0)


@dataclass(eq=False, slots=True)
class FakeWalk:
    """A walk that reads what it is told to have read."""

    start: Instant
    end: Instant
    settled_from: Instant
    rows_settled: int = 0

    @classmethod
    def over(cls, window: Interval) -> "FakeWalk":
        return cls(window.start, window.end, window.end)

    def give_away_below(self, instant: Instant) -> Interval:
        assert self.start < instant < self.settled_from
        given = Interval(self.start, instant)
        self.start = instant
        return given

    def read(self, span: int, rows: int) -> None:
        self.settled_from = max(self.start, self.settled_from - span)
        self.rows_settled += rows


def to_day(instant: Instant) -> Instant:
    return instant // DAY * DAY


def to_beginning(instant: Instant) -> Instant:
    """Of the one partition that holds everything."""
    return EVERYTHING.start


windows = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=5).map(
    lambda pieces: Coverage(Interval(T0 + a * HOUR, T0 + (a + b) * HOUR) for a, b in pieces)
)
moves = st.lists(
    st.one_of(
        st.just(("take", 0, 0, 0)),
        st.tuples(st.just("end"), st.integers(0, 9), st.just(0), st.just(0)),
        st.tuples(
            st.just("read"),
            st.integers(0, 9),
            st.sampled_from([0, 1, SECOND, 60 * SECOND, HOUR, 7 * HOUR]),
            st.sampled_from([0, 1, 400, PAGE, 50_000]),
        ),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(windows, st.integers(-50, 50), st.sampled_from([to_day, to_beginning]), moves)
def test_what_is_handed_out_tiles_what_there_was(
    coverage: Coverage, oldest: int, align: object, steps: list[tuple[str, int, int, int]]
) -> None:
    scheduler = Scheduler(coverage, T0 + oldest * HOUR, align)  # type: ignore[arg-type]
    walks: list[FakeWalk] = []
    active: list[FakeWalk] = []

    def take() -> bool:
        before = {id(walk): (walk.start, walk.settled_from) for walk in active}
        window = scheduler.take()
        if window is None:
            return False
        for walk in active:
            if before[id(walk)] != (walk.start, walk.settled_from):
                start, settled_from = before[id(walk)]
                assert (window.start, window.end) == (start, walk.start)
                assert walk.settled_from == settled_from
        active.append(FakeWalk.over(window))
        walks.append(active[-1])
        scheduler.started(active[-1])
        return True

    for kind, which, span, rows in steps:
        if kind == "take":
            take()
        elif active:
            walk = active[which % len(active)]
            walk.read(span, rows)
            scheduler.advanced(walk, min(rows, PAGE))
            if kind == "end":
                walk.settled_from = walk.start
                scheduler.ended(walk)
                active.remove(walk)
        assert scheduler.is_done == (not active and not scheduler.left and not take())
    # Idle workers alone read whatever still waits.
    while take() or active:
        walk = active.pop()
        walk.settled_from = walk.start
        scheduler.ended(walk)
    assert scheduler.is_done
    assert scheduler.left == 0
    assert Coverage(Interval(walk.start, walk.end) for walk in walks) == coverage
    assert sum(walk.end - walk.start for walk in walks) == coverage.length


def test_windows_are_handed_out_newest_first() -> None:
    pieces = [Interval(T0, T0 + 1), Interval(T0 + 5, T0 + 6), Interval(T0 + 3, T0 + 4)]
    scheduler = Scheduler(pieces, T0, to_day)
    assert [scheduler.take() for _ in range(4)] == [pieces[1], pieces[2], pieces[0], None]


def reading(rows: int, *, read: int = 10 * DAY, left: int = 10 * DAY) -> tuple[Scheduler, FakeWalk]:
    """One walk that has read `rows` evenly over `read`, and has `left` to go."""
    window = Interval(T0 - read - left, T0)
    scheduler = Scheduler([window], window.start, to_day)
    walk = FakeWalk.over(window)
    assert scheduler.take() == window
    scheduler.started(walk)
    walk.read(read, rows)
    scheduler.advanced(walk, min(rows, PAGE))
    return scheduler, walk


def test_nothing_is_split_before_a_page_has_come() -> None:
    scheduler = Scheduler([SINCE], SINCE.start, to_day)
    window = scheduler.take()
    assert window is not None
    scheduler.started(FakeWalk.over(window))
    assert scheduler.take() is None
    assert not scheduler.is_done


@pytest.mark.parametrize(("rows", "splits"), [(3_900, False), (4_100, True)])
def test_only_what_takes_four_pages_more_is_split(rows: int, splits: bool) -> None:
    scheduler, _ = reading(rows)
    assert (scheduler.take() is not None) == splits


def test_half_of_what_is_left_is_given_away_at_the_start_of_a_partition() -> None:
    scheduler, walk = reading(50_000, left=9 * DAY)
    given = scheduler.take()
    assert given == Interval(SINCE.end - 19 * DAY, T0 - 15 * DAY)
    assert walk.start == T0 - 15 * DAY


def test_a_single_partition_is_cut_within() -> None:
    scheduler, _ = reading(50_000, read=HOUR, left=2 * HOUR)
    given = scheduler.take()
    assert given is not None
    assert given.end == T0 - 2 * HOUR


def test_an_open_window_is_cut_in_the_middle_of_the_data() -> None:
    scheduler = Scheduler([EVERYTHING], T0 - 100 * DAY, to_day)
    walk = FakeWalk.over(EVERYTHING)
    assert scheduler.take() == EVERYTHING
    scheduler.started(walk)
    walk.read(10 * DAY, 50_000)
    scheduler.advanced(walk, PAGE)
    assert scheduler.take() == Interval(EVERYTHING.start, T0 - 55 * DAY)
    assert scheduler.span == 100 * DAY
    assert scheduler.left == 45 * DAY


def test_a_walk_that_is_past_the_guessed_beginning_is_left_alone() -> None:
    scheduler = Scheduler([EVERYTHING], T0 - DAY, to_day)
    walk = FakeWalk.over(EVERYTHING)
    scheduler.take()
    scheduler.started(walk)
    walk.read(2 * DAY, 50_000)
    scheduler.advanced(walk, PAGE)
    assert scheduler.take() is None


@pytest.mark.parametrize("rows", [1, 5_000])
def test_rows_of_one_microsecond_are_no_density(rows: int) -> None:
    """The last row of a window, or a bulk import: settled over a microsecond, they tell nothing of what is below."""
    scheduler, walk = reading(2_000)
    walk.read(1, rows)
    scheduler.advanced(walk, PAGE if rows > 1 else 1)
    expected = (2_000 + rows) >= 4 * PAGE
    assert (scheduler.take() is not None) == expected
    newest = Interval(T0 - DAY, T0)
    scheduler = Scheduler([newest], newest.start, to_day)
    walk = FakeWalk.over(newest)
    scheduler.take()
    scheduler.started(walk)
    walk.read(1, 1)
    scheduler.advanced(walk, 1)
    assert scheduler._rows_left(walk) <= DAY // SECOND


# Simulated runs: the time and the requests that a run takes, against the pages that its rows fill.

DENSITIES = ("flat", "office", "one burst", "many bursts", "growing")


@pytest.fixture(scope="module")
def servers() -> dict[str, SimulatedServer]:
    return {name: density(name, 100_000, 60) for name in DENSITIES}


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize(("workers", "slowdown", "overhead"), [(1, 1.1, 1.2), (8, 2.2, 1.8), (64, 9.0, 4.0)])
@pytest.mark.parametrize("range_", [SINCE, EVERYTHING], ids=["since", "everything"])
def test_a_run_of_a_hundred_pages_is_shared_out(
    servers: dict[str, SimulatedServer], name: str, workers: int, slowdown: float, overhead: float, range_: Interval
) -> None:
    server = servers[name]
    outcome = simulate(server, range_, workers)
    assert outcome.rows == len(server.times)
    assert outcome.slowdown <= slowdown
    assert outcome.overhead <= overhead


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_a_page_or_none_costs_next_to_nothing(workers: int) -> None:
    for rows, most in ((0, 1), (1, 8), (900, 8)):
        outcome = simulate(density("flat", rows, 60), SINCE, workers)
        assert outcome.rows == rows
        assert outcome.requests <= most


def test_large_pages_that_take_longer_are_shared_out_too(servers: dict[str, SimulatedServer]) -> None:
    outcome = simulate(servers["office"], SINCE, 8, latency=lambda rows: 0.1 + rows / 1000)
    assert outcome.rows == 100_000
    assert outcome.slowdown <= 2.2


def test_small_pages_are_shared_out_too(servers: dict[str, SimulatedServer]) -> None:
    outcome = simulate(servers["one burst"], SINCE, 16, page_size=100, partition=HOUR)
    assert outcome.rows == 100_000
    assert outcome.slowdown <= 1.5
    assert outcome.overhead <= 1.4


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(DENSITIES),
    st.integers(0, 3_000),
    st.sampled_from([1, 2, 7, 30]),
    st.integers(1, 64),
    st.sampled_from([1, 7, 50, 1000]),
    st.integers(0, 99),
)
def test_every_row_is_read_once_by_any_number_of_workers(
    name: str, rows: int, days: int, workers: int, page_size: int, seed: int
) -> None:
    server = density(name, min(rows, 60 * page_size), days, seed)
    outcome = simulate(server, EVERYTHING, workers, page_size=page_size)
    assert outcome.rows == len(server.times)
