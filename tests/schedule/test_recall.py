"""Tasks are recalled for idle slots alone, once each, neither at their beginning nor just before their end."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import DAY
from exporter.coverage import Interval
from exporter.schedule import recall
from exporter.schedule.recall import Recalls
from tests.schedule.task_simulator import PAGE_ROWS, T0, Cost, density, simulate

budgets = st.floats(0.0, 300.0)
steps = st.lists(st.tuples(st.floats(0.0, 20.0), st.none() | budgets, st.integers(-2, 4)), max_size=30)


@given(steps)
def test_no_more_tasks_are_recalled_than_slots_are_idle_and_each_in_the_middle_of_its_term(
    taken: list[tuple[float, float | None, int]],
) -> None:
    recalls, now, number = Recalls(), 0.0, 0
    terms: dict[str, tuple[float, float]] = {}
    known: set[str] = set()
    for seconds, budget, idle in taken:
        now += seconds
        if budget is not None:
            number += 1
            terms[str(number)] = now, now + budget
            recalls.began(str(number), now, budget)
        names, waits = recalls.due(idle, now)
        assert waits > 0
        for name in {*names} - known:
            began, end = terms[name]
            assert began + 4 <= now <= end - 4
            assert not any(
                end < other < inf for task, (_, other) in _due(terms, now, known).items() if task not in names
            )
        assert len({*names} - known) <= max(0, idle - len(known))
        known |= {*names}
        if idle < 0 and terms:
            name = next(iter(terms))
            del terms[name]
            recalls.ended(name)
            known.discard(name)


def _due(terms: dict[str, tuple[float, float]], now: float, known: set[str]) -> dict[str, tuple[float, float]]:
    """Returns the tasks that might be recalled, those that are not yet."""
    return {
        name: (began, end) for name, (began, end) in terms.items() if name not in known and began + 4 <= now <= end - 4
    }


def test_a_slot_with_nothing_to_do_waits_until_a_task_is_worth_a_recall() -> None:
    recalls = Recalls()
    recalls.began("long", 10.0, 60.0)
    recalls.began("short", 10.0, 7.0)
    assert recalls.due(0, 20.0) == ([], inf)
    assert recalls.due(1, 11.0) == ([], 3.0)
    assert recalls.due(1, 14.0) == (["long"], inf)
    assert recalls.due(1, 15.0) == ([], inf)
    recalls.ended("long")
    assert recalls.due(1, 15.0) == ([], inf)


def test_a_burst_that_one_task_has_met_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Cost(call=0.0, in_flight=2, look=0.5)

    def seconds() -> float:
        rows = density("one burst", 800 * PAGE_ROWS, 60)
        return simulate(rows, Interval(T0 - 60 * DAY, T0), 2, cost=cost).makespan

    shared = seconds()
    monkeypatch.setattr(recall, "_LEAST_SECONDS", inf)
    assert shared < 0.95 * seconds()
