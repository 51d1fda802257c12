"""Tests what tasks read elsewhere: all of the range, each time once, whatever becomes of the tasks."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, HOUR, MICROSECOND, Instant
from exporter.coverage import Coverage, Interval, are_disjoint
from exporter.schedule.shares import Piece, Shares, is_worth_it
from tests.schedule.task_simulator import DENSITIES, T0, Cost, Read, density, read, simulate

PAGE = 1000


def to_day(instant: Instant) -> Instant:
    return instant // DAY * DAY


def to_beginning(_: Instant) -> Instant:
    """Returns the start of the one partition that holds everything."""
    return BEGINNING


@dataclass(frozen=True)
class Move:
    """Says what happens next: a task begins, or one of those under way ends after the newest part of its piece."""

    kind: str
    which: int
    part: float
    rows: int
    seconds: float


moves = st.lists(
    st.builds(
        Move,
        kind=st.sampled_from(["take", "take", "ended", "failed", "lost"]),
        which=st.integers(0, 9),
        part=st.sampled_from([0.0, 1e-12, 0.1, 0.5, 0.9, 1.0]),
        rows=st.sampled_from([0, 1, PAGE, 60_000, 10**9]),
        seconds=st.sampled_from([0.0, 0.1, 5.0, 90.0]),
    ),
    max_size=60,
)
ranges = st.one_of(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=5).map(
        lambda pieces: Coverage(Interval(T0 + a * HOUR, T0 + (a + b) * HOUR) for a, b in pieces)
    ),
    st.builds(lambda end: Coverage([Interval(BEGINNING, T0 + end * DAY)]), st.integers(-400, 5)),
    st.builds(lambda length: Coverage([Interval(T0, T0 + length)]), st.integers(1, 20)),
)


def parts(read: Coverage, rows: int) -> list[tuple[Interval, int]]:
    """Returns parts with so many rows in all, one for each interval."""
    return [(interval, rows // len(read.intervals)) for interval in read]


def newest(piece: Piece, part: float) -> Coverage:
    """Returns the newest part of the piece, at least a microsecond of it unless it is 0."""
    length = round(part * sum(window.end - window.start for window in piece.windows))
    found: list[Interval] = []
    for window in reversed(piece.windows):
        kept = min(max(length, MICROSECOND if part and not found else 0), window.end - window.start)
        if kept:
            found.append(Interval(window.end - kept, window.end))
        length -= kept
    return Coverage(found)


@given(
    ranges,
    st.integers(-500, 50),
    st.none() | st.floats(1e-9, 1.0),
    st.integers(1, 40),
    st.sampled_from([to_day, to_beginning]),
    moves,
)
def test_what_was_covered_and_what_waits_is_the_range_and_each_time_is_read_by_one_task(
    left: Coverage, oldest: int, density: float | None, slots: int, align: object, steps: list[Move]
) -> None:
    shares = Shares(
        left,
        oldest=T0 + oldest * DAY,
        density=density,
        slots=slots,
        align=align,  # type: ignore[arg-type]
        page_size=PAGE,
    )
    running: list[Piece] = []
    covered = Coverage()

    def take() -> bool:
        piece = shares.take()
        if piece is None:
            return False
        assert 5 <= piece.budget_seconds <= 120 * 2**piece.tries
        assert are_disjoint(piece.windows) and piece.windows
        assert not Coverage(piece.windows) & covered
        assert all(not Coverage(piece.windows) & Coverage(other.windows) for other in running)
        assert Coverage(piece.windows) - left == Coverage()
        running.append(piece)
        return True

    for step in steps:
        if step.kind == "take":
            take()
        elif running:
            piece = running.pop(step.which % len(running))
            read = newest(piece, step.part) if step.kind != "lost" else Coverage()
            if step.kind == "lost":
                goes_on = shares.lost(piece)
            else:
                goes_on = shares.ended(
                    piece, read, parts(read, step.rows), step.seconds, has_failed=step.kind == "failed"
                )
            covered |= read
            if step.kind == "ended" and read:
                assert goes_on
            if not goes_on:
                assert piece.tries == 2
        assert shares.is_done == (covered == left)
        spans = (shares.left_microseconds, (left - covered).length)
        assert 0 <= spans[0] <= spans[1]
    while take() or running:
        piece = running.pop()
        assert shares.ended(piece, Coverage(piece.windows), [], 1.0)
        covered |= Coverage(piece.windows)
    assert covered == left and shares.is_done and shares.take() is None and shares.reading is None


def shares_of(days: int, slots: int = 4) -> Shares:
    left = Coverage([Interval(T0 - days * DAY, T0)])
    return Shares(left, oldest=T0 - days * DAY, density=None, slots=slots, align=to_day, page_size=PAGE)


def test_a_piece_is_given_up_after_its_third_try() -> None:
    shares = shares_of(1, slots=1)
    tries = []
    for answer in (True, True, False):
        piece = shares.take()
        assert piece is not None
        tries.append(piece.tries)
        assert shares.lost(piece) is answer
    assert tries == [0, 1, 2]


def test_a_task_that_brings_nothing_counts_as_a_try_and_one_that_goes_on_does_not() -> None:
    shares = shares_of(1, slots=1)
    for _ in range(5):
        piece = shares.take()
        assert piece is not None
        assert shares.ended(piece, newest(piece, 0.5), [], 1.0)
    for answer in (True, True, False):
        piece = shares.take()
        assert piece is not None
        assert shares.ended(piece, Coverage(), [], 60.0) is answer


def drain(shares: Shares, rows_of: Callable[[Interval], int]) -> list[Piece]:
    """Reads everything, each piece to its end, and returns the pieces."""
    pieces = []
    while piece := shares.take():
        pieces.append(piece)
        found = [(window, rows_of(window)) for window in piece.windows]
        assert shares.ended(piece, Coverage(piece.windows), found, sum(rows for _, rows in found) / 5000 + 2.0)
    return pieces


@pytest.mark.parametrize("density", [None, 75 * PAGE / (30 * DAY)])
def test_a_small_range_becomes_few_pieces(density: float | None) -> None:
    """What each task costs beside its pages must not make the next pieces ever smaller."""
    left = Coverage([Interval(T0 - 30 * DAY, T0)])
    shares = Shares(left, oldest=T0 - 30 * DAY, density=density, slots=2, align=to_day, page_size=PAGE)
    pieces = drain(shares, lambda window: 75 * PAGE * (window.end - window.start) // (30 * DAY))
    assert len(pieces) <= 8


def test_many_rows_of_one_instant_say_little_of_the_rest() -> None:
    shares = shares_of(30, slots=2)
    bulk = T0 - 5 * DAY

    def rows_of(window: Interval) -> int:
        return 1_000_000 * (bulk in window) + (window.end - window.start) // HOUR

    first = shares.take()
    assert first is not None
    read = Coverage([Interval(bulk, T0)])
    assert shares.ended(first, read, [(window, rows_of(window)) for window in read & Coverage(first.windows)], 60.0)
    assert len(drain(shares, rows_of)) <= 150


def test_what_no_task_has_begun_comes_first_and_the_newest_of_it() -> None:
    shares = shares_of(30, slots=2)
    first, second = shares.take(), shares.take()
    assert first is not None and second is not None
    assert second.windows[-1].end == first.windows[0].start
    read = newest(first, 0.5)
    assert shares.ended(first, read, parts(read, 60 * PAGE), 15.0)
    third = shares.take()
    assert third is not None
    assert third.windows[-1].end == second.windows[0].start


def test_a_piece_knows_how_dense_its_end_is_expected_to_be() -> None:
    shares = shares_of(1, slots=1)
    first = shares.take()
    assert first is not None and first.density is None
    read = newest(first, 0.5)
    length = sum(interval.end - interval.start for interval in read)
    assert shares.ended(first, read, parts(read, 60 * PAGE), 15.0)
    while (piece := shares.take()) is not None and piece.density is None:
        pass
    assert piece is not None and piece.density == pytest.approx(60 * PAGE / length)


def test_a_few_pages_are_worth_no_task() -> None:
    year = Coverage([Interval(BEGINNING, T0)])
    assert is_worth_it(year, oldest=T0 - 365 * DAY, density=1e9 / (365 * DAY), page_size=PAGE)
    assert not is_worth_it(year, oldest=T0 - 365 * DAY, density=10_000 / (365 * DAY), page_size=PAGE)
    assert not is_worth_it(year, oldest=T0 - 365 * DAY, density=None, page_size=PAGE)


@pytest.mark.parametrize("name", DENSITIES)
def test_slots_share_out_a_long_list_almost_evenly(name: str) -> None:
    """The benchmark `tasks` does this with a thousand million rows, and comes within a tenth of the ideal."""
    days = 60
    rows = density(name, 1e8, days)
    read: list[Interval] = []

    def watch(_now: float, _piece: Piece, brought: Read) -> None:
        read.extend(brought.covered)

    outcome = simulate(rows, Interval(T0 - days * DAY, T0), 20, watch=watch)
    assert are_disjoint(read) and Coverage(read) == Coverage([Interval(T0 - days * DAY, T0)])
    assert outcome.slowdown <= 1.15
    assert outcome.overhead <= 1.05


def test_of_a_small_range_each_slot_takes_one_part() -> None:
    days = 60
    found: list[Piece] = []
    cost = Cost(call=0.01, pages_a_second=100)
    rows = density("flat", 200 * PAGE, days)
    outcome = simulate(
        rows, Interval(T0 - days * DAY, T0), 2, cost=cost, watch=lambda _now, piece, _brought: found.append(piece)
    )
    assert len(found) == 2
    whole = Piece((Interval(T0 - days * DAY, T0),), 1e9, density=200 * PAGE / (days * DAY))
    plain = read(whole, rows, replace(cost, in_flight=16), 1.0)
    assert outcome.makespan <= 1.1 * (cost.opening + plain.seconds + cost.closing)


def test_a_task_that_fails_beside_what_it_brings_counts_as_a_try_of_the_rest() -> None:
    shares = shares_of(1, slots=1)
    while (piece := shares.take()) is not None and piece.windows[0].start > T0 - DAY:
        assert shares.ended(piece, Coverage(piece.windows), [], 1.0)
    tries = []
    for answer in (True, True, False):
        assert piece is not None
        tries.append(piece.tries)
        assert shares.ended(piece, newest(piece, 0.5), [], 1.0, has_failed=True) is answer
        piece = shares.take()
    assert tries == [0, 1, 2]
