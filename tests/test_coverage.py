"""Sets of intervals agree with sets of integers, wherever a small set meets a large one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.coverage import Coverage, Interval

LAST = 60
INSTANTS = st.sets(st.integers(0, LAST))


def coverage(instants: set[int]) -> Coverage:
    return Coverage(Interval(one, one + 1) for one in instants)


def instants(found: Coverage) -> set[int]:
    """Returns what is covered, after a check that the intervals ascend and none touches the next."""
    intervals = found.intervals
    assert all(one.end < other.start for one, other in pairwise(intervals))
    return {one for interval in intervals for one in range(interval.start, interval.end)}


@given(INSTANTS, INSTANTS | st.sets(st.integers(0, LAST), max_size=2), st.integers(0, LAST), st.integers(1, LAST))
def test_operations_are_those_of_sets(one: set[int], other: set[int], start: int, length: int) -> None:
    for left, right in ((one, other), (other, one)):
        assert instants(coverage(left) | coverage(right)) == left | right
        assert instants(coverage(left) - coverage(right)) == left - right
        assert instants(coverage(left) & coverage(right)) == left & right
    interval = Interval(start, start + length)
    assert coverage(one).within(interval) == (one <= set(range(interval.start, interval.end)))
    assert coverage(one).length == len(one)
