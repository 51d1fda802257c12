"""Tests how a rate is shared out among tasks: never above the ceiling, and no slot is kept waiting for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.schedule.rates import Crew, Ledger


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
