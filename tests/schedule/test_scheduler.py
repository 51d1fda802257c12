"""Tests which worker reads what: windows tile whatever happens, and splitting costs little and saves much."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, HOUR, SECOND, Instant
from exporter.coverage import Coverage, Interval
from exporter.schedule.scheduler import Scheduler
from tests.schedule.simulator import DENSITIES, EVERYTHING, T0, SimulatedServer, density, jitter, simulate
from tests.toolkit.sizes import combinations, size_of

PAGE = 1000
SINCE = Interval(T0 - 60 * DAY, T0)


@dataclass(eq=False, slots=True)
class FakeWalk:
    """Plays a walk that reads what it is told to have read."""

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

    def read(self, span: int, rows: int) -> list[Instant]:
        """Settles `rows`, evenly over `span`, and returns the times of the last page of them."""
        self.settled_from = max(self.start, self.settled_from - span)
        self.rows_settled += rows
        return [self.settled_from - 1 + span * number // rows for number in reversed(range(min(rows, PAGE)))]


def to_day(instant: Instant) -> Instant:
    return instant // DAY * DAY


def to_beginning(instant: Instant) -> Instant:
    """Returns the start of the one partition that holds everything."""
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


@settings(max_examples=size_of(150, 400), deadline=None)
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
            scheduler.advanced(walk, walk.read(span, rows))
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
    """Returns one walk that has read `rows` evenly over `read`, and has `left` to go."""
    window = Interval(T0 - read - left, T0)
    scheduler = Scheduler([window], window.start, to_day)
    walk = FakeWalk.over(window)
    assert scheduler.take() == window
    scheduler.started(walk)
    scheduler.advanced(walk, walk.read(read, rows))
    return scheduler, walk


def test_nothing_is_split_before_a_page_has_come() -> None:
    scheduler = Scheduler([SINCE], SINCE.start, to_day)
    window = scheduler.take()
    assert window is not None
    scheduler.started(FakeWalk.over(window))
    assert scheduler.take() is None
    assert not scheduler.is_done


@pytest.mark.parametrize(("rows", "windows"), [(1_900, 1), (2_100, 2), (100_000, 64)])
def test_what_is_known_beforehand_is_split_before_a_page_has_come(rows: int, windows: int) -> None:
    older = Interval(SINCE.start - DAY, SINCE.start)
    density = rows / (SINCE.end - SINCE.start)
    scheduler = Scheduler([older, SINCE], older.start, to_day, density=density)
    taken = [scheduler.take()]
    assert taken == [SINCE]
    scheduler.started(FakeWalk.over(SINCE))
    # The older window waits, and is not cut: nothing is known of it.
    assert scheduler.take() == older
    scheduler.started(FakeWalk.over(older))
    while len(taken) < windows and (window := scheduler.take()) is not None:
        taken.append(window)
        scheduler.started(FakeWalk.over(window))
    assert len(taken) == windows
    if windows < 64:
        assert scheduler.take() is None


@pytest.mark.parametrize(("rows", "splits"), [(1_900, False), (2_100, True)])
def test_only_what_takes_two_pages_more_is_split(rows: int, splits: bool) -> None:
    scheduler, _ = reading(rows)
    assert (scheduler.take() is not None) == splits


def test_half_of_what_is_left_is_given_away_at_the_start_of_a_partition() -> None:
    scheduler, walk = reading(50_000, left=9 * DAY)
    given = scheduler.take()
    assert given == Interval(SINCE.end - 19 * DAY, T0 - 15 * DAY)
    assert walk.start == T0 - 15 * DAY


def test_a_partition_that_starts_far_from_the_half_is_cut_within() -> None:
    scheduler, _ = reading(50_000, read=HOUR, left=2 * HOUR)
    given = scheduler.take()
    assert given is not None
    assert abs(given.end - (T0 - 2 * HOUR)) <= HOUR // 50
    scheduler, _ = reading(50_000, read=12 * HOUR, left=3 * DAY)
    given = scheduler.take()
    assert given is not None
    assert to_day(given.end) != given.end


def test_all_the_idle_are_served_by_what_one_page_has_shown() -> None:
    """Windows that have just been given away are halved in turn: on even data, all turn out the same."""
    scheduler, walk = reading(PAGE, read=DAY, left=64 * DAY)
    scheduler = Scheduler([Interval(walk.start, T0)], walk.start, to_beginning)
    taken = [FakeWalk.over(Interval(walk.start, T0))]
    scheduler.take()
    scheduler.started(taken[0])
    scheduler.advanced(taken[0], taken[0].read(DAY, PAGE))
    for _ in range(15):
        window = scheduler.take()
        assert window is not None
        taken.append(FakeWalk.over(window))
        scheduler.started(taken[-1])
    lengths = [each.settled_from - each.start for each in taken]
    assert sum(lengths) == 64 * DAY
    assert max(lengths) <= 1.6 * min(lengths)


def test_a_short_page_is_not_taken_for_what_the_server_can_serve() -> None:
    """It may be all there is: five rows that have changed since the last sync, in a range of years."""
    scheduler = Scheduler([EVERYTHING], T0 - 1000 * DAY, to_day)
    walk = FakeWalk.over(EVERYTHING)
    assert scheduler.take() == EVERYTHING
    scheduler.started(walk)
    scheduler.advanced(walk, walk.read(DAY, 5))
    assert scheduler.take() is None
    # Nor does a list of ids that shows that nothing is older.
    scheduler.advanced(walk, [walk.settled_from - 1], ids_only=True)
    assert scheduler.take() is None


def test_a_server_that_serves_short_pages_is_shared_out_once_a_second_one_has_come() -> None:
    scheduler = Scheduler([SINCE], SINCE.start, to_beginning)
    walk = FakeWalk.over(SINCE)
    scheduler.take()
    scheduler.started(walk)
    scheduler.advanced(walk, walk.read(DAY, 100))
    assert scheduler.take() is None
    scheduler.advanced(walk, walk.read(DAY, 100))
    assert scheduler.page_rows == 100
    assert scheduler.take() is not None


def test_where_a_burst_ends_is_looked_for_close_to_it() -> None:
    """It is dense here, and known to be sparse at the end of the window."""
    scheduler, upper = reading(50_000, read=DAY, left=20 * DAY)
    scheduler.advanced(upper, upper.read(DAY, 50_000))
    window = scheduler.take()
    assert window is not None
    lower = FakeWalk.over(window)
    scheduler.started(lower)
    scheduler.advanced(lower, lower.read(lower.end - lower.start, 5))
    scheduler.ended(lower)
    left = upper.settled_from - upper.start
    given = scheduler.take()
    assert given is not None
    assert upper.settled_from - given.end < left / 5


def test_windows_that_held_nothing_must_be_made_up_for() -> None:
    scheduler, walk = reading(50_000)
    empty = scheduler.take()
    assert empty is not None
    thief = FakeWalk.over(empty)
    scheduler.started(thief)
    scheduler.advanced(thief, thief.read(thief.end - thief.start, 0))
    scheduler.ended(thief)
    # Until then, at most half of the windows under way may be guesses.
    for _ in range(2):
        window = scheduler.take()
        assert window is not None
        scheduler.started(FakeWalk.over(window))
    assert scheduler.take() is None
    scheduler.advanced(walk, walk.read(HOUR, PAGE))
    assert scheduler.take() is not None


def test_an_open_window_is_cut_in_the_middle_of_the_data() -> None:
    scheduler = Scheduler([EVERYTHING], T0 - 100 * DAY, to_day)
    walk = FakeWalk.over(EVERYTHING)
    assert scheduler.take() == EVERYTHING
    scheduler.started(walk)
    scheduler.advanced(walk, walk.read(10 * DAY, 50_000))
    assert scheduler.take() == Interval(EVERYTHING.start, T0 - 56 * DAY)
    assert scheduler.left == 46 * DAY
    assert scheduler.share_of(0, 0) == pytest.approx(0.54)
    assert scheduler.share_of(100 * DAY, 0) == pytest.approx(0.77)


def test_nothing_is_split_before_it_is_known_where_the_data_begins() -> None:
    scheduler = Scheduler([EVERYTHING], None, to_day)
    walk = FakeWalk.over(EVERYTHING)
    assert scheduler.take() == EVERYTHING
    scheduler.started(walk)
    scheduler.advanced(walk, walk.read(10 * DAY, 50_000))
    scheduler.shown_oldest(BEGINNING)
    assert (scheduler.take(), scheduler.share_of(0, 0.25)) == (None, 0.25)
    scheduler.found_oldest(T0 - 100 * DAY)
    assert scheduler.take() == Interval(EVERYTHING.start, T0 - 56 * DAY)


def test_a_walk_that_is_past_the_guessed_beginning_is_left_alone() -> None:
    scheduler = Scheduler([EVERYTHING], T0 - DAY, to_day)
    walk = FakeWalk.over(EVERYTHING)
    scheduler.take()
    scheduler.started(walk)
    scheduler.advanced(walk, walk.read(2 * DAY, 50_000))
    assert scheduler.take() is None


@pytest.mark.parametrize("rows", [1, 5_000])
def test_rows_of_one_microsecond_are_no_density(rows: int) -> None:
    """The last row of a window, or a bulk import: settled over a microsecond, they say nothing about what is below."""
    scheduler = Scheduler([SINCE], SINCE.start, to_day)
    walk = FakeWalk.over(SINCE)
    scheduler.take()
    scheduler.started(walk)
    scheduler.advanced(walk, walk.read(1, rows))
    assert scheduler.take() is None


def test_lists_of_ids_do_not_make_pages_look_larger() -> None:
    scheduler = Scheduler([SINCE], SINCE.start, to_day, page_size=100)
    walk = FakeWalk.over(SINCE)
    scheduler.take()
    scheduler.started(walk)
    scheduler.advanced(walk, walk.read(DAY, PAGE), ids_only=True)
    assert scheduler.page_rows == 100


# Simulated runs: the time and the requests that a run takes, against the pages that its rows fill.


def test_what_lies_below_the_oldest_row_is_not_split_however_dense_it_was_guessed() -> None:
    scheduler = Scheduler([SINCE], SINCE.start, to_beginning, PAGE, density=1 / SECOND)
    walks = []
    for _ in range(3):
        window = scheduler.take()
        assert window is not None
        walks.append(FakeWalk.over(window))
        scheduler.started(walks[-1])
    scheduler.found_oldest(max(walk.start for walk in walks))
    split = scheduler.take()
    assert split is not None
    scheduler.started(FakeWalk.over(split))
    scheduler.found_oldest(SINCE.end)
    assert scheduler.take() is None


#: The rows of a page; there are six hundred pages. The smaller a page, the more its span is a matter of chance.
ROWS = 200
#: The most that it may take, by the number of workers: time ÷ ideal, for each of the densities.
MOST_SLOWDOWN = {
    "flat": {4: 1.1, 16: 1.1, 64: 1.4, 256: 3.0},
    "office hours": {4: 1.1, 16: 1.12, 64: 1.4, 256: 4.0},
    "one burst": {4: 1.1, 16: 1.2, 64: 1.8, 256: 5.0},
    "many bursts": {4: 1.1, 16: 1.3, 64: 2.0, 256: 8.0},
    "one hour": {4: 1.15, 16: 1.4, 64: 2.5, 256: 7.0},
    "adversarial": {4: 1.2, 16: 1.6, 64: 3.5, 256: 20.0},
}


@pytest.fixture(scope="module")
def servers() -> dict[str, SimulatedServer]:
    return {name: density(name, 600 * ROWS, 60) for name in DENSITIES}


def test_every_density_has_its_bounds() -> None:
    assert MOST_SLOWDOWN.keys() == set(DENSITIES)


@pytest.mark.parametrize(("name", "workers"), combinations([*MOST_SLOWDOWN], [4, 16, 64, 256], one_in=4))
def test_a_run_of_six_hundred_pages_is_shared_out(servers: dict[str, SimulatedServer], name: str, workers: int) -> None:
    server = servers[name]
    outcome = simulate(server, SINCE, workers, page_size=ROWS, latency=jitter(workers))
    assert outcome.rows == len(server.times)
    assert outcome.slowdown <= MOST_SLOWDOWN[name][workers]
    is_usual = workers <= 64 and name in ("flat", "office hours", "one burst")
    assert outcome.requests <= 1.05 * outcome.pages + (1 if is_usual else 2) * outcome.windows


@pytest.mark.parametrize("name", DENSITIES)
def test_a_range_that_is_open_below_is_also_shared_out(servers: dict[str, SimulatedServer], name: str) -> None:
    outcome = simulate(servers[name], EVERYTHING, 16, page_size=ROWS, latency=jitter(16))
    assert outcome.rows == len(servers[name].times)
    assert outcome.slowdown <= MOST_SLOWDOWN[name][16]


@pytest.mark.parametrize("name", ["flat", "one burst"])
@pytest.mark.parametrize(("is_sparse_at_its_end", "most"), [(False, 120), (True, 300)])
def test_a_range_that_began_long_before_its_data(name: str, is_sparse_at_its_end: bool, most: int) -> None:
    server = density(name, 60 * ROWS, 60)
    if is_sparse_at_its_end:
        # It seems quick to read, so no question looks for the beginning: the first walks to find nothing do.
        server.times[-90:] = [server.times[-91] + number * DAY for number in range(1, 91)]
    until = server.times[-1] + 1
    outcome = simulate(server, Interval(until - 2000 * DAY, until), 16, page_size=ROWS, latency=jitter(16))
    assert outcome.rows == len(server.times)
    assert outcome.requests <= most


@pytest.mark.parametrize(("name", "workers"), combinations(["flat", "office hours"], [1, 4, 16, 64], one_in=2))
def test_a_long_run_is_as_many_times_faster_as_it_has_workers(name: str, workers: int) -> None:
    server = density(name, 3000 * 50, 60)
    outcome = simulate(server, SINCE, workers, page_size=50, latency=jitter(workers))
    assert outcome.rows == len(server.times)
    assert outcome.slowdown <= 1.2
    assert outcome.overhead <= 1.2


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("workers", [8, 64])
def test_a_few_pages_are_not_chopped_up(name: str, workers: int) -> None:
    server = density(name, 10 * ROWS, 60)
    outcome = simulate(server, SINCE, workers, page_size=ROWS)
    assert outcome.rows == len(server.times)
    assert outcome.windows <= workers + outcome.pages + 1
    assert outcome.requests <= 2 * (outcome.windows + outcome.pages)


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_a_page_or_none_costs_next_to_nothing(workers: int) -> None:
    for rows, most in ((0, 4), (1, 11), (900, 9)):  # the end of a list is also asked for with a lower bound
        outcome = simulate(density("flat", rows, 60), SINCE, workers)
        assert outcome.rows == rows
        assert outcome.requests <= most


def test_pages_that_take_longer_the_larger_they_are_are_also_shared_out(servers: dict[str, SimulatedServer]) -> None:
    outcome = simulate(servers["office hours"], SINCE, 8, page_size=ROWS, latency=lambda rows: 0.1 + 0.9 * rows / ROWS)
    assert outcome.slowdown <= 1.15


def test_partitions_of_an_hour_and_none_at_all_cost_no_time(servers: dict[str, SimulatedServer]) -> None:
    for partition in (HOUR, 10_000 * DAY):
        outcome = simulate(servers["one burst"], SINCE, 16, page_size=ROWS, partition=partition)
        assert outcome.slowdown <= 1.3


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


@pytest.mark.parametrize("is_open", [True, False])
def test_the_end_of_a_list_is_proven_in_one_round_by_an_idle_worker(is_open: bool) -> None:
    """The ids below the last page, and the same with a lower bound, are asked for at once if the second is foreseen."""
    server = density("flat", 3 * ROWS // 2, 60)
    window = EVERYTHING if is_open else Interval(min(server.times), EVERYTHING.end)
    alone, shared = (simulate(server, window, workers, page_size=ROWS) for workers in (1, 2))
    assert alone.windows == shared.windows == 1
    assert alone.rows == shared.rows == len(server.times)
    # A worker without an idle one beside it asks both questions one after the other.
    assert (alone.makespan, shared.makespan) == (4, 3)
