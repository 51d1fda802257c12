"""A search that goes from window to window passes by no row, and its windows hold about what they should."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, END_OF_TIME
from exporter.viewer.timeline import Span, Timeline, Window

spans = st.lists(
    st.builds(
        lambda first, width, rows, key: Span(first, first + width, rows, key),
        st.integers(0, 10_000),
        st.integers(0, 2_000),
        st.integers(1, 5_000),
        st.sampled_from(["2026-01-01", "2026-01-02", "2026-01-03"]),
    ),
    max_size=12,
)


def windows(timeline: Timeline, since: int, before: int, rows: int) -> list[Window]:
    found = []
    while (window := timeline.latest(since, before, rows)) is not None:
        assert since <= window.start < window.end <= before
        found.append(window)
        before = window.start
    return found


@given(spans, st.integers(0, 12_000), st.integers(0, 13_000), st.integers(100, 3_000))
def test_the_windows_hold_every_instant_with_rows_once(found: list[Span], since: int, before: int, rows: int) -> None:
    cut = windows(Timeline(found), since, before, rows)
    for later, earlier in pairwise(cut):
        assert earlier.end <= later.start
    for span in found:
        for instant in {span.first, span.last, (span.first + span.last) // 2}:
            holding = [window for window in cut if window.start <= instant < window.end]
            assert len(holding) == (since <= instant < before)
            for window in holding:
                assert window.keys is not None
                assert window.keys[0] <= str(span.key) <= window.keys[1]


def test_a_window_takes_as_much_of_a_large_file_as_is_wanted() -> None:
    timeline = Timeline([Span(0, 999_999, 1_000_000), Span(1_000_000, 1_000_099, 100)])
    first, second = windows(timeline, 0, 2_000_000, 10_000)[:2]
    assert (first.end, second.end) == (1_000_100, first.start)
    assert 989_000 < first.start < 991_000
    assert 979_000 < second.start < 981_000
    assert first.keys is None


def test_there_is_no_window_where_nothing_is() -> None:
    assert Timeline([]).latest(BEGINNING, END_OF_TIME, 10) is None
    assert Timeline([Span(5, 9, 3)]).latest(BEGINNING, 5, 10) is None
    assert Timeline([Span(5, 9, 3)]).latest(10, END_OF_TIME, 10) is None
