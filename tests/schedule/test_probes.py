"""Tests where the data begins: a guess that is never so wrong that it spoils the split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, EPOCH, HOUR, Instant
from exporter.coverage import Interval
from exporter.schedule import probes
from tests.schedule.simulator import T0, SimulatedServer

ages = st.one_of(
    st.integers(1, 20_000 * DAY), st.sampled_from([1, HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY, 3650 * DAY])
)


@given(ages)
def test_the_guess_is_before_the_data_and_not_far(age: int) -> None:
    oldest_row = T0 - age
    server = SimulatedServer([oldest_row])
    guess = server.find_beginning(Interval(BEGINNING, T0), None, 100)
    assert server.probes <= 14
    if age >= 3650 * DAY:
        assert guess == T0 - 3650 * DAY  # there is something before all that was asked about
    else:
        assert guess <= oldest_row
        # Rounds at a factor of 3 to 7, then an eighth of the step between them.
        assert T0 - guess <= max(DAY // 8 + 8, 2 * age)


def test_what_is_asked_is_one_row_at_most_and_its_ids() -> None:
    request = probes.anything_before(T0)
    assert (request.limit, request.ids_only) == (1, True)
    assert (request.created_before, request.before_cursor) == (T0, T0 + 1)
    assert request.created_after == EPOCH


def test_how_dense_the_data_is_where_it_ends() -> None:
    server = SimulatedServer([T0 - number * HOUR for number in range(300, 0, -1)])
    times = server.answer(probes.newest(None)).rows.created_at
    density = probes.density(times)
    assert len(times) == 100
    assert density == pytest.approx(1 / HOUR, rel=0.02)
    assert server.answer(probes.newest(T0 - 200 * HOUR)).rows.created_at[0] == T0 - 200 * HOUR
    # Few rows, and equal ones, tell nothing.
    assert probes.density(times[:99]) is None
    assert probes.density([T0] * 100) is None


@given(st.integers(BEGINNING + 1, T0))
def test_nothing_before_the_first_year_is_asked_about(until: Instant) -> None:
    coarse = probes.coarse(until)
    assert all(BEGINNING < instant < until for instant in coarse)
    assert coarse == sorted(coarse, reverse=True)


@given(st.integers(BEGINNING, T0), st.integers(BEGINNING, T0), st.booleans())
def test_finer_questions_lie_strictly_between(one: Instant, other: Instant, known: bool) -> None:
    oldest, newer = sorted((one, other))
    asked = probes.finer(newer, oldest, newer if known else None)
    assert all(oldest < instant < newer for instant in asked)
    assert len(asked) == (7 if newer - oldest >= 8 else 0)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], (BEGINNING, None)),
        ([(5, False), (3, False)], (5, None)),
        ([(5, True), (3, False), (1, False)], (3, 5)),
        ([(5, True), (3, True)], (3, None)),
        # A row deleted between two questions: the newest one with nothing counts, because this is a guess.
        ([(5, False), (3, True)], (5, None)),
    ],
)
def test_the_beginning_is_the_newest_instant_with_nothing_before(
    asked: list[tuple[Instant, bool]], expected: tuple[Instant, Instant | None]
) -> None:
    assert probes.beginning(asked) == expected
