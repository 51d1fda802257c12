"""Tests which time to go by: never later than the earlier of two clocks, and no single answer decides."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR, MINUTE, SECOND
from exporter.schedule.clock import (
    REFUSED,
    TOLERATED,
    ClockSample,
    Now,
    choose_opinion,
    is_doubted,
    is_refused,
    needs_another,
    row_times,
    settle,
)

T0 = 1_770_000_000 * SECOND


def told(ahead: int | None, elapsed: int = 0) -> ClockSample:
    return ClockSample(0.0, T0, None if ahead is None else T0 + ahead, elapsed)


def test_the_difference_is_the_least_that_explains_the_answer() -> None:
    assert [told(ahead).ahead for ahead in (0, -SECOND // 2, -SECOND, 5, -5 * SECOND)] == [0, 0, 0, 5, -4 * SECOND]
    # Written at some time between question and answer.
    assert [told(ahead, 10 * SECOND).ahead for ahead in (0, 10 * SECOND, 12 * SECOND)] == [0, 0, 2 * SECOND]
    assert told(None).ahead is None


def test_differences_up_to_a_threshold_are_below_it() -> None:
    for sign in (1, -1):
        cut = 0 if sign > 0 else SECOND
        for threshold, is_beyond in ((TOLERATED, is_doubted), (REFUSED, is_refused)):
            assert not is_beyond(told(sign * threshold - cut))
            assert is_beyond(told(sign * (threshold + 1) - cut))
    assert is_doubted(told(None))
    assert not is_refused(told(None))


def test_more_is_asked_only_where_clocks_differ() -> None:
    assert not needs_another([told(0)])
    assert needs_another([told(HOUR)])
    assert needs_another([told(None), told(0)])
    assert not needs_another([told(HOUR)] * 3)


def test_the_opinion_is_that_of_most_answers() -> None:
    for odd in (3 * HOUR, -3 * HOUR, None):
        for answers in ([odd, 0, 0], [0, odd, 0], [0, 0, odd]):
            assert choose_opinion([told(ahead) for ahead in answers]).ahead == 0
    assert choose_opinion([told(None), told(None)]).ahead is None
    assert choose_opinion([told(0), told(3 * HOUR)]).ahead == 0
    assert choose_opinion([ClockSample(0.0, T0 + number, T0, SECOND) for number in range(3)]).ahead == 0


rows = st.lists(st.integers(-2 * DAY, 100 * 365 * DAY), max_size=100)


@given(st.none() | st.integers(-DAY, DAY), st.integers(0, MINUTE), rows, st.integers(0, HOUR))
def test_no_range_ends_after_either_clock(ahead: int | None, elapsed: int, times: list[int], lag: int) -> None:
    answer = told(ahead, elapsed)
    now = settle(answer, [T0 + time for time in times], None)
    end = now.end(lag)
    assert end <= T0 - lag
    assert ahead is None or end <= T0 + ahead - lag
    assert now.read_since(answer, answer.served) <= min(now.instant, T0)
    past = [T0 + time for time in times if T0 + time <= now.instant]
    if ahead is None:
        assert end <= max([*past, T0 - DAY]) + 1
    assert now.rows is None or now.rows in past or (ahead is None and now.rows == T0 - DAY)


@given(st.none() | st.integers(-100 * 365 * DAY, 100 * 365 * DAY), st.floats(0, 1e6))
def test_a_page_is_dated_within_a_day_before_the_time(date: int | None, at: float) -> None:
    now = Now(0.0, T0)
    time = T0 + round(at * SECOND)
    since = now.read_since(ClockSample(at, T0, None, 0), None if date is None else T0 + date)
    assert time - DAY <= since <= time
    assert date is None or since <= max(T0 + date - SECOND, time - DAY)


def test_a_steady_stream_that_ends_is_a_clock_that_is_behind() -> None:
    def suggested(silence: int, pauses: list[int]) -> int | None:
        times = [T0 - silence]
        for pause in pauses:
            times.append(times[-1] - pause)
        return settle(told(0), times, None).rows

    steady = [MINUTE] * 30
    assert suggested(MINUTE, steady) is None
    assert suggested(10 * MINUTE, steady) == T0 - 10 * MINUTE
    assert suggested(10 * MINUTE, [*steady, HOUR]) is None
    assert suggested(10 * MINUTE, steady[:10]) is None
    assert suggested(2 * DAY, steady) is None
    assert suggested(90 * SECOND, [SECOND] * 30) is None


def test_a_clock_that_is_trusted_alone_is_asked_alone() -> None:
    for ahead in (-DAY, -HOUR, 0, HOUR, DAY):
        assert settle(told(ahead), [T0 - HOUR], "server") == Now(0.0, T0 + ahead - SECOND)
        assert settle(told(ahead), [T0 - HOUR], "local") == Now(0.0, T0)
    assert settle(told(None), [], "local") == Now(0.0, T0)


def test_a_row_is_no_newer_than_its_update() -> None:
    assert row_times([T0 + DAY, T0, T0], [T0, T0 + 1, None]) == [T0, T0, T0]
