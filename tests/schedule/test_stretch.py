"""Tests what is expected between two densities: all of it, parts of it, and where a part ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR
from exporter.schedule.stretch import Stretch

densities = st.floats(1e-16, 1e-2)
stretches = st.builds(Stretch, st.integers(1, 10_000 * DAY), densities, densities)


@given(stretches, st.floats(0, 1))
def test_how_far_down_pages_reach_is_where_there_are_as_many_above(stretch: Stretch, share: float) -> None:
    wanted = share * stretch.pages
    depth = stretch.depth_of(wanted)
    assert 0 <= depth <= stretch.length
    assert stretch.pages_above(max(0, depth - 1)) <= wanted * 1.001
    assert stretch.pages_above(min(stretch.length, depth + 1)) >= wanted * 0.999


@given(stretches)
def test_there_are_no_more_pages_than_the_denser_end_has_and_no_fewer_than_the_sparser(stretch: Stretch) -> None:
    least = min(stretch.top, stretch.bottom) * stretch.length
    assert least * 0.999 <= stretch.pages <= stretch.most_pages * 1.001


def test_an_even_stretch_is_halved_in_the_middle() -> None:
    stretch = Stretch(DAY, 1e-6, 1e-6)
    assert stretch.pages == pytest.approx(DAY * 1e-6)
    assert stretch.depth_of(stretch.pages / 2) == DAY // 2


def test_the_half_is_near_the_denser_end() -> None:
    falling, rising = Stretch(DAY, 1e-2, 1e-8), Stretch(DAY, 1e-8, 1e-2)
    assert falling.depth_of(falling.pages / 2) < 2 * HOUR
    assert rising.depth_of(rising.pages / 2) > 22 * HOUR
    assert falling.density_at(0) == pytest.approx(1e-2)
    assert falling.density_at(DAY) == pytest.approx(1e-8)
