"""Erasures explain what their own partitions lack, and only just that."""

import pytest

from exporter.contract import DAY
from exporter.coverage import Interval
from exporter.jobs.reconcile_erasures import Taken, explained_by

TAKEN = (Taken(Interval(DAY, 2 * DAY), 3), Taken(Interval(4 * DAY, 6 * DAY), 5))


@pytest.mark.parametrize(
    ("lacking", "explained"),
    [
        ({1: 3}, {1}),
        ({1: 2}, set()),
        ({1: 4}, set()),
        ({2: 3}, set()),
        ({1: 3, 2: 3}, {1}),
        ({1: 3, 4: 2, 5: 3}, {1, 4, 5}),
        ({1: 3, 4: 2, 5: 2}, set()),
        ({4: 5, 5: 6}, {4}),
        ({}, set()),
    ],
)
def test_erasures_are_tied_to_their_days(lacking: dict[int, float], explained: set[int]) -> None:
    days = {day: (Interval(day * DAY, (day + 1) * DAY), missing) for day, missing in lacking.items()}
    assert explained_by(TAKEN, days) == explained
