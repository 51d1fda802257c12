"""Doubts stay, in whole or in part, until all that they name is settled."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, SECOND
from exporter.coverage import Coverage, Interval
from exporter.log.doubts import joined, left_of, spans_of
from exporter.model import Unproven

TIMES = st.integers(0, 30)
INTERVALS = st.tuples(TIMES, st.integers(1, 8)).map(lambda one: Interval(one[0], one[0] + one[1]))


@given(st.lists(INTERVALS, max_size=4), st.lists(INTERVALS, max_size=3), INTERVALS)
def test_each_time_is_named_until_it_is_settled(
    doubted: list[Interval], settled: list[Interval], range_: Interval
) -> None:
    doubts = [Unproven(one.end - 1, 3, str(one.start), one.start) for one in doubted]
    lifted = Coverage(settled)
    left = list(left_of(doubts, lifted, range_))
    for doubt in doubts:
        named = {time for one in left if one.reason == doubt.reason for time in range(*_ends(one.interval))}
        alike = {time for one in doubts if one.reason == doubt.reason for time in range(*_ends(one.interval))}
        assert named == {time for time in alike if time in range_ and not any(time in one for one in settled)}


def test_one_that_nothing_touches_is_the_same() -> None:
    doubt = Unproven(5, 2, "equal times")
    assert list(left_of([doubt], Coverage([Interval(6, 9)]), Interval(0, 9))) == [doubt]


def _ends(interval: Interval) -> tuple[int, int]:
    return interval.start, interval.end


def test_pieces_of_a_doubt_count_as_one() -> None:
    whole = Unproven(9, 7, "equal times", 2)
    pieces = [Unproven(9, 7, "equal times", 9), Unproven(8, 6, "equal times", 4), Unproven(3, 7, "equal times", 2)]
    assert joined(pieces) == joined([whole]) == (whole,)
    others = (Unproven(0, 1, "equal times"), Unproven(9, 7, "another", 2), Unproven(11, 1, "equal times"))
    assert set(joined([*pieces, *others])) == {whole, *others}
    assert joined([Unproven(5, 1, "equal times", 5)]) == (Unproven(5, 1, "equal times"),)


def test_spans_are_those_of_more_than_one_instant() -> None:
    assert spans_of([Unproven(5, 1, "x"), Unproven(SECOND, 1, "x", 1), Unproven(5, 1, "x", BEGINNING)]) == (1.0, None)
