"""Coverage is a set of instants: every operation agrees with sets of integers."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING
from exporter.coverage import Coverage, Interval
from exporter.model import Counters, Rows

INTERVALS = st.tuples(st.integers(0, 30), st.integers(1, 12)).map(lambda pair: Interval(pair[0], pair[0] + pair[1]))
COVERAGES = st.lists(INTERVALS, max_size=8).map(Coverage)


def instants(intervals: Iterable[Interval]) -> set[int]:
    return {instant for interval in intervals for instant in range(interval.start, interval.end)}


@given(st.lists(INTERVALS, max_size=8))
def test_coverage_is_the_union_of_its_intervals(intervals: list[Interval]) -> None:
    coverage = Coverage(intervals)
    assert instants(coverage) == instants(intervals)
    assert coverage.length == len(instants(intervals))
    assert bool(coverage) == bool(intervals)


@given(COVERAGES, COVERAGES)
def test_algebra_agrees_with_sets(one: Coverage, other: Coverage) -> None:
    assert instants(one | other) == instants(one) | instants(other)
    assert instants(one - other) == instants(one) - instants(other)
    assert instants(one & other) == instants(one) & instants(other)


@given(COVERAGES, COVERAGES)
def test_results_are_disjoint_ascending_and_never_touch(one: Coverage, other: Coverage) -> None:
    for coverage in (one, one | other, one - other, one & other):
        for left, right in zip(coverage.intervals, coverage.intervals[1:], strict=False):
            assert left.end < right.start


@given(COVERAGES, COVERAGES)
def test_equality_is_that_of_the_sets(one: Coverage, other: Coverage) -> None:
    assert (one == other) == (instants(one) == instants(other))
    assert (one - other) | (one & other) == one
    if one == other:
        assert hash(one) == hash(other)


@pytest.mark.parametrize(("start", "end"), [(1, 1), (2, 1)])
def test_an_empty_interval_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="empty interval"):
        Interval(start, end)


def test_an_interval_is_half_open() -> None:
    interval = Interval(5, 8)
    assert [instant in interval for instant in (4, 5, 7, 8)] == [False, True, True, False]
    assert not interval.open_below
    assert Interval(BEGINNING, 0).open_below


def test_rows_keep_their_columns_together() -> None:
    rows = Rows(["a", "b", "c"], [3, 2, 1], [None, 5, None]) + Rows(["d"], [0], [4])  # type: ignore[type-var]
    assert len(rows) == 4
    assert rows[1:] == Rows(["b", "c", "d"], [2, 1, 0], [5, None, 4])  # type: ignore[type-var]


def test_counters_add_and_subtract_by_name() -> None:
    one, other = Counters(requests=3, seconds=1.5), Counters(requests=1, pages=2)
    assert one + other == Counters(requests=4, pages=2, seconds=1.5)
    assert one + other - other == one
