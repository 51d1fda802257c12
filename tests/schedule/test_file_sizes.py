"""The size of a file is interpolated between those that were made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.schedule.file_sizes import FileSizes


def made(per_row: int, empty: int, *rows: int) -> FileSizes:
    sizes = FileSizes(empty)
    for number in rows:
        sizes.add(number, empty + per_row * number)
    return sizes


@given(st.integers(0, 900), st.integers(1, 9000), st.sets(st.integers(1, 900), min_size=1), st.floats(0, 5000))
def test_what_grows_evenly_is_told_exactly(per_row: int, empty: int, rows: set[int], wanted: float) -> None:
    assert made(per_row, empty, *rows).of(wanted) == pytest.approx(empty + per_row * wanted)


def test_what_each_file_has_counts_for_each() -> None:
    sizes = FileSizes(3000)
    for rows, size in ((1, 9000), (1, 11_000), (100, 60_000)):
        sizes.add(rows, size)
    assert sizes.of(1) == 10_000
    assert sizes.of(0.5) == 6500
    assert sizes.of(50.5) == 35_000
    assert sizes.of(1000) == 3000 + 570_000


def test_nothing_is_told_by_nothing() -> None:
    assert FileSizes(3000).of(7) == 0
