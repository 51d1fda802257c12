"""Rates are those of the last seconds, and an estimate is shown only if it can be one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.cli.meter import Meter, Rates
from exporter.progress import Snapshot, Trouble
from tests.cli.snapshots import START, at


def last_of(*snapshots: Snapshot) -> Rates:
    meter = Meter()
    for snapshot in snapshots:
        rates = meter.measure(snapshot)
    return rates


def test_rates_are_those_of_the_last_seconds() -> None:
    meter = Meter()
    for second in range(1, 101):
        meter.measure(at(second, second / 200, rows=1000 * second, requests=2 * second))
    # From here on ten times as fast.
    for second in range(101, 121):
        rates = meter.measure(at(second, second / 200, rows=100_000 + 10_000 * (second - 100), requests=2 * second))
    assert rates.rows == pytest.approx(10_000)
    assert rates.requests == pytest.approx(2)


def test_the_first_snapshot_already_has_rates_but_nothing_to_reckon_the_end_from() -> None:
    rates = Meter().measure(at(2.0, 0.1, rows=1000, requests=4))
    assert (rates.rows, rates.requests, rates.seconds_left) == (500.0, 2.0, None)


def test_recordings_that_are_left_are_counted() -> None:
    meter = Meter()
    for second in range(1, 31):
        fetched = replace(
            at(second, 0.5), recordings=5 * second, recording_bytes=2_000_000 * second, recordings_in_all=500
        )
        rates = meter.measure(fetched)
    assert rates.recordings == pytest.approx(5)
    assert rates.recording_bytes == pytest.approx(2_000_000)
    assert rates.seconds_left == pytest.approx(70)
    assert meter.measure(replace(fetched, recordings=500, seconds=31.0)).seconds_left is None


def test_nothing_is_divided_by_a_run_of_no_length() -> None:
    meter = Meter()
    assert meter.measure(START) == Rates()
    assert meter.measure(at(0.0, 1.0, rows=5)) == Rates()


def test_the_time_left_is_reckoned_from_the_rows_left() -> None:
    rates = last_of(*(at(second, second / 100, rows=600 * second, files=second) for second in range(41)))
    assert rates.rows_in_all == 60_000
    assert rates.seconds_left == pytest.approx(60)


def test_a_run_that_goes_on_counts_what_there_was() -> None:
    first = at(1.0, 0.6, stored_rows=36_000)
    rates = last_of(first, *(at(s, 0.6 + s / 1000, 60 * s, files=s, stored_rows=36_000) for s in range(2, 13)))
    assert rates.rows_in_all == 60_000
    assert rates.seconds_left == pytest.approx(388, abs=2)


@pytest.mark.parametrize("changes", [{"seconds": 9.9}, {"files": 2}, {"share": 1.0}, {"share": 0.0}])
def test_no_time_is_told_before_it_can_be_known(changes: dict[str, float]) -> None:
    whole = at(12.0, 0.4, rows=4000, files=4)
    assert last_of(START, whole).seconds_left is not None
    assert last_of(START, replace(whole, **changes)).seconds_left is None


def test_no_time_is_told_while_nothing_comes() -> None:
    trouble = Trouble("no connection", since_seconds=12.0, until_seconds=None)
    steady = [at(second, second / 100, rows=600 * second, files=second) for second in range(41)]
    assert last_of(*steady, replace(steady[-1], seconds=41.0, trouble=trouble)).seconds_left is None
    stalled = [replace(steady[-1], seconds=40.0 + second) for second in range(1, 30)]
    assert last_of(*steady, *stalled).seconds_left is None


def test_no_time_is_told_while_the_run_gets_into_denser_parts() -> None:
    """The share is one of time: a run that reads many empty days first has read most of the range, and few rows."""
    seen = [at(s, min(0.5, s / 10) + s / 1000, rows=2000 * s, files=9) for s in range(21)]
    rates = last_of(*seen)
    assert rates.seconds_left is None
    assert rates.rows_in_all is None


def test_a_second_list_starts_over() -> None:
    first = [at(second, second / 20, rows=600 * second, requests=3 * second, files=9) for second in range(21)]
    rates = last_of(*first, at(1.0, 0.1, rows=10, requests=70))
    assert (rates.rows, rates.seconds_left) == (10, None)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 0.1), st.integers(0, 10_000)), min_size=1, max_size=50),
    st.floats(0, 1),
    st.integers(0, 10**6),
)
def test_no_figure_is_nonsense(steps: list[tuple[float, float, int]], share: float, stored: int) -> None:
    meter, seconds, rows = Meter(), 0.0, 0
    for step_seconds, step_share, step_rows in steps:
        seconds, share, rows = seconds + step_seconds, min(1.0, share + step_share), rows + step_rows
        rates = meter.measure(at(seconds, share, rows=rows, requests=rows, files=9, stored_rows=stored))
        assert rates.rows >= 0
        assert rates.requests >= 0
        assert rates.seconds_left is None or (rates.seconds_left >= 0 and seconds >= 10)
        assert rates.rows_in_all is None or rates.rows_in_all > 0.9 * (stored + rows)
