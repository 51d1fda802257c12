"""A cut leaves no instant out and gives none twice, and has about as many windows as are worth their price."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY
from exporter.coverage import Interval
from exporter.schedule.even_cut import even_cut, window_count

_INSTANTS = st.integers(0, 10**6)


@given(_INSTANTS, _INSTANTS, _INSTANTS, st.integers(1, 50))
def test_windows_are_the_range_and_equally_long(one: int, other: int, oldest: int, windows: int) -> None:
    range_ = Interval(min(one, other), max(one, other) + 1)
    cut = even_cut(range_, oldest, windows)
    assert (cut[0].start, cut[-1].end) == (range_.start, range_.end)
    assert all(below.end == above.start for below, above in pairwise(cut))
    start = min(max(oldest, range_.start), range_.end - 1)
    assert len(cut) == min(windows, range_.end - start)
    lengths = [window.end - max(window.start, start) for window in cut]
    assert max(lengths) - min(lengths) <= 1


def test_a_range_that_is_open_below_is_cut_from_where_the_data_begins() -> None:
    cut = even_cut(Interval(BEGINNING, 100 * DAY), 90 * DAY, 2)
    assert cut == [Interval(BEGINNING, 95 * DAY), Interval(95 * DAY, 100 * DAY)]


def test_the_number_of_windows_follows_rows_and_slots() -> None:
    assert window_count(10_000_000, 4, 1000) == 100
    assert window_count(10**9, 4, 1000) == 128
    assert window_count(10**9, None, 1000) == 1024
    assert window_count(200_000, 16, 1000) == 16
    assert window_count(3_500, 16, 1000) == 4
    assert window_count(0.2, 16, 1000) == 1
    assert window_count(None, 16, 1000) == 16
    assert window_count(None, None, 1000) == 8
