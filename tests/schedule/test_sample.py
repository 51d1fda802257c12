"""Tests samples: windows tile what they are cut from, and the bound on the whole holds as often as it claims."""

from math import comb
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.coverage import Coverage, Interval
from exporter.model import DataFile
from exporter.schedule.sample import choose_windows, cut_windows, most_differing

SPANS = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300), st.integers(1, 500)), max_size=8)


def part(start: int, length: int, rows: int) -> DataFile:
    return DataFile(
        path="conversations/part-1.parquet",
        table="conversations",
        partition={},
        rows=rows,
        size_bytes=1,
        sha256="",
        created_at_min=start,
        created_at_max=start + length - 1,
        window=Interval(start, start + length),
    )


@given(
    SPANS, st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 900)), min_size=1, max_size=5), st.integers(1, 90)
)
def test_windows_tile_the_coverage(
    parts: list[tuple[int, int, int]], covered: list[tuple[int, int]], window_rows: int
) -> None:
    coverage = Coverage(Interval(start, start + length) for start, length in covered)
    windows = cut_windows(coverage, [part(*each) for each in parts], window_rows)
    assert Coverage(windows) == coverage
    assert sum(window.end - window.start for window in windows) == coverage.length
    assert windows == sorted(windows)


def test_windows_have_about_as_many_rows_each() -> None:
    parts = [part(0, 10_000, 1000), part(10_000, 100, 3000), part(50_000, 50_000, 500)]
    windows = cut_windows(Coverage([Interval(0, 100_000)]), parts, 50)
    assert len(windows) == 90
    times = [number * 10 for number in range(1000)]
    times += [10_000 + number * 100 // 3000 for number in range(3000)]
    times += [50_000 + number * 100 for number in range(500)]
    held = [sum(time in window for time in times) for window in windows]
    assert max(held) <= 120
    assert min(held) >= 10


@given(st.floats(0.001, 1.0), st.integers(1, 300), st.integers())
def test_a_sample_has_the_size_that_was_asked_for(share: float, count: int, seed: int) -> None:
    windows = [Interval(number, number + 1) for number in range(count)]
    chosen = choose_windows(windows, share, Random(seed))
    assert len(set(chosen)) == len(chosen) == max(1, round(share * count))
    assert chosen == sorted(chosen)


@given(st.integers(1, 60), st.data())
def test_the_bound_fails_in_one_sample_of_twenty_at_most(windows: int, data: st.DataObject) -> None:
    looked_at = data.draw(st.integers(1, windows))
    really = data.draw(st.integers(0, windows))
    ways = comb(windows, looked_at)
    wrong = 0
    for differing in range(max(0, looked_at - (windows - really)), min(looked_at, really) + 1):
        most = most_differing(windows, looked_at, differing)
        assert differing <= most <= windows - (looked_at - differing)
        if most < really:
            wrong += comb(really, differing) * comb(windows - really, looked_at - differing)
    assert wrong / ways <= 0.05 + 1e-12


@pytest.mark.parametrize(
    ("windows", "looked_at", "differing", "most"),
    [(10**5, 37, 0, 7777), (100, 100, 0, 0), (100, 100, 7, 7), (1, 1, 1, 1), (20, 1, 0, 19), (1000, 100, 2, 57)],
)
def test_bounds_that_are_known(windows: int, looked_at: int, differing: int, most: int) -> None:
    # For very many windows, 1 - 0.05 ** (1 / 37) is 7.8 %.
    assert most_differing(windows, looked_at, differing) == pytest.approx(most, rel=0.06, abs=1)
