"""Tests how a rate is shared out among tasks: never above the ceiling, and no slot is kept waiting for ever."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.schedule.rates import Crew, Ledger
from tests.schedule.crew_simulator import simulate
from tests.toolkit.limiter import Bucket

counts = st.integers(0, 1000)
spans = st.sampled_from([0.0, 0.01, 1.0, 60.0])
rates = st.none() | st.floats(0.01, 1000)


@given(st.floats(0.01, 1e4), st.lists(st.tuples(st.booleans(), st.integers(1, 200)), max_size=80))
def test_the_allowances_never_exceed_the_ceiling_and_each_waits_for_one_end_at_most(
    max_rps: float, steps: list[tuple[bool, int]]
) -> None:
    ledger = Ledger(max_rps)
    running: list[float] = []
    for takes, number in steps:
        if takes:
            allowance = ledger.take(number)
            assert allowance is not None
            if allowance:
                running.append(allowance)
            else:
                # Nothing is left, so somebody has it.
                assert running
        elif running:
            ledger.give_back(running.pop(number % len(running)))
            again = ledger.take(1)
            assert again
            running.append(again)
        assert sum(running) <= max_rps * (1 + 1e-9)
    for allowance in running:
        ledger.give_back(allowance)
    assert ledger.take(1) == max_rps


def test_without_a_ceiling_there_is_no_allowance() -> None:
    ledger = Ledger(None)
    assert ledger.take(1) is None
    ledger.give_back(None)


def test_a_free_slot_takes_its_part_of_what_is_left() -> None:
    ledger = Ledger(100.0)
    assert [ledger.take(free) for free in (4, 3, 2, 1)] == pytest.approx([25.0] * 4)
    assert ledger.take(1) == 0.0
    ledger.give_back(25.0)
    assert ledger.take(1) == pytest.approx(25.0)


def test_no_more_tasks_than_the_ceiling_feeds() -> None:
    assert Crew(128, 100.0).at_once == 20
    assert Crew(128, 1.0).at_once == 1
    assert Crew(8, 100.0).at_once == 8
    assert Crew(128).at_once == 128


@pytest.mark.parametrize(("rate", "slots"), [(100.0, 16), (50.0, 32), (20.0, 64)])
def test_as_many_tasks_run_as_the_limit_feeds(rate: float, slots: int) -> None:
    """Throttles that know nothing of one another share one limit; the first minutes are for learning."""
    outcome = simulate(Bucket(lambda _: rate, 20, "whole"), slots, seconds=300)
    assert outcome.rate(130, 300) >= 0.95 * rate
    assert outcome.refusals(130, 300) <= 0.05
    assert min(slots, 0.75 * rate / 5) <= outcome.at_once[-1] <= 1.25 * rate / 5


def test_a_limit_that_rises_feeds_more_tasks() -> None:
    outcome = simulate(Bucket(lambda now: 5.0 if now < 120 else 100.0, 20, "whole"), 12, seconds=600, budget_seconds=30)
    assert outcome.at_once[: len(outcome.at_once) // 4][-1] <= 3
    assert outcome.at_once[-1] >= 5
    assert outcome.rate(540, 600) >= 0.9 * 100


@pytest.mark.parametrize(("max_rps", "slots"), [(60.0, 4), (20.0, 64)])
def test_a_ceiling_is_used_and_kept(max_rps: float, slots: int) -> None:
    outcome = simulate(None, slots, max_rps=max_rps, seconds=200, concurrency=16)
    assert not outcome.refused
    assert 0.95 * max_rps <= outcome.rate(0, 200) <= max_rps
    passed = sorted(outcome.passed)
    # Requests take from 0.1 to 0.2 s to arrive.
    assert max(bisect_left(passed, at + 10) - number for number, at in enumerate(passed)) <= max_rps * 10.3


@given(st.integers(1, 200), st.none() | st.floats(0.1, 1000), st.lists(st.tuples(counts, counts, spans, rates)))
def test_whatever_tasks_tell_one_may_run_and_no_more_than_there_are_slots(
    slots: int, max_rps: float | None, told: list[tuple[int, int, float, float | None]]
) -> None:
    crew = Crew(slots, max_rps)
    for requests, throttled, seconds, rate in told:
        crew.ended(requests, min(requests, throttled), seconds, rate)
        assert 1 <= crew.at_once <= slots
        assert crew.ceiling is None or crew.ceiling >= 0
    crew.slots = 1
    assert crew.at_once == 1
