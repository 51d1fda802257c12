"""Tests which times lie between bounds that were read as they were meant."""

import pytest

from exporter.contract import DAY, HOUR, MINUTE, SECOND, Instant
from exporter.fetch.walk.zone import Unshifted

T0 = 1_770_000_000 * SECOND // DAY * DAY


@pytest.mark.parametrize(
    ("before", "after", "is_covered"),
    [
        (T0 - DAY, T0 + DAY, True),
        (T0 - 2 * HOUR, T0 + 2 * HOUR, True),
        (T0 - DAY, T0 - HOUR, False),
        (T0 + HOUR, T0 + DAY, False),
        (T0 - 31 * DAY, T0 + DAY, False),
        (T0 - DAY, T0 + 32 * DAY, False),
    ],
)
def test_a_time_is_covered_if_bounds_were_not_shifted_shortly_before_and_after(
    before: Instant, after: Instant, is_covered: bool
) -> None:
    unshifted = Unshifted()
    for bound in (after, before, after):
        unshifted.note(bound, bound - MINUTE)
    assert unshifted.covers(T0) == is_covered


def test_a_row_far_below_a_bound_tells_nothing() -> None:
    unshifted = Unshifted()
    for bound in (T0 - DAY, T0 + DAY):
        unshifted.note(bound, bound - HOUR)
    assert not unshifted.covers(T0)
