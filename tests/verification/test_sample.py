"""The samples of a steady rhythm cover all files, and each is about as large as was asked for."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exporter.contract import DAY
from exporter.verification.sample import Sample

PATHS = [f"conversations/created_date=2026-01-01/part-{number}.parquet" for number in range(2_000)]


@settings(deadline=None)
@given(st.floats(0.01, 0.9), st.integers(0, 40_000), st.integers(1, 400))
def test_a_run_every_so_many_days_reads_everything_after_as_many_runs_as_there_are_groups(
    share: float, first_day: int, every_days: int
) -> None:
    groups = Sample.of(share, 0).groups
    assume(every_days % groups)
    left = set(PATHS[:50])
    for run in range(groups):
        sample = Sample.of(share, (first_day + run * every_days) * DAY + 5)
        left = {path for path in left if path not in sample}
    assert not left


@settings(deadline=None)
@given(st.floats(0.01, 1.0), st.integers(0, 40_000))
def test_on_consecutive_days_nothing_is_read_twice_before_all_was_read(share: float, day: int) -> None:
    groups, width = Sample.of(share, 0).groups, Sample.of(share, 0).width
    days = -(-groups // width)
    samples = [Sample.of(share, (day + number) * DAY) for number in range(days)]
    for path in PATHS[:50]:
        times = sum(path in sample for sample in samples)
        assert 1 <= times <= (1 if groups % width == 0 else 2)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.25, 0.5])
def test_the_size_of_a_sample(share: float) -> None:
    sample = Sample.of(share, 0)
    assert sum(path in sample for path in PATHS) / len(PATHS) == pytest.approx(share, rel=0.35)


def test_a_tenth_is_one_of_eleven_groups_and_the_usual_rhythms_are_none_of_theirs() -> None:
    assert Sample.of(0.1, 0).groups == 11
    for days in (1, 2, 5, 7, 14, 28, 30, 31, 90, 365):
        assert days % 11


def test_all_is_all_and_a_day_has_one_sample() -> None:
    assert all(path in Sample.of(1.0, 77 * DAY) for path in PATHS)
    assert Sample.of(0.1, 5 * DAY) == Sample.of(0.1, 6 * DAY - 1) != Sample.of(0.1, 6 * DAY)
