from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from exporter.fetch.pace.bandwidth import BURST_SECONDS, Bandwidth, LeastRate

chunks = st.lists(st.tuples(st.integers(0, 300_000), st.floats(0, 5) | st.sampled_from([0.0, 0.001])), max_size=60)
rates = st.floats(1_000, 1e8)


def passed(rate: float, arrivals: list[tuple[int, float]]) -> list[tuple[float, int]]:
    """Returns when how many bytes are passed on, in order, of chunks that come so many seconds after each other."""
    bandwidth = Bandwidth(rate)
    now, passing = 1000.0, []
    for byte_count, gap in arrivals:
        now += gap
        pause = bandwidth.pause(byte_count, now)
        assert pause >= 0
        passing.append((now + pause, byte_count))
    assert all(earlier[0] <= later[0] + 1e-6 for earlier, later in pairwise(passing))
    return passing


@given(rates, chunks)
def test_no_stretch_of_time_lets_more_pass_than_the_rate_and_one_burst(
    rate: float, arrivals: list[tuple[int, float]]
) -> None:
    passing = passed(rate, arrivals)
    burst = max(BURST_SECONDS * rate, max((size for _, size in passing), default=0))
    for first, (start, _) in enumerate(passing):
        total = 0
        for end, byte_count in passing[first:]:
            total += byte_count
            assert total <= rate * (end - start) * 1.02 + burst * 1.001 + 1


@given(rates, st.floats(0, 1e6), st.integers(1, 50))
def test_idle_time_earns_no_more_than_one_burst(rate: float, idle_seconds: float, count: int) -> None:
    bandwidth = Bandwidth(rate)
    bandwidth.pause(1, 0.0)
    pauses = [bandwidth.pause(int(rate), idle_seconds + 1) for _ in range(count)]
    assert pauses[-1] >= count * int(rate) / rate - BURST_SECONDS - 1e-3


def test_downloads_that_are_always_ready_reach_the_rate() -> None:
    bandwidth = Bandwidth(10e6)
    ready = [0.0] * 16
    for _ in range(4000):
        who = ready.index(min(ready))
        ready[who] += bandwidth.pause(64 * 1024, ready[who])
    assert 4000 * 64 * 1024 / max(ready) == approx(10e6, rel=0.02)


def test_without_a_rate_nothing_waits() -> None:
    assert Bandwidth(None).pause(10**12, 0.0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 5)), max_size=60), st.floats(1, 1000), st.floats(1, 60))
def test_a_rate_that_is_met_in_each_stretch_is_never_missed(
    arrivals: list[tuple[int, float]], rate: float, over_seconds: float
) -> None:
    fast, slow, now = LeastRate(rate, over_seconds, 0.0), LeastRate(rate, over_seconds, 0.0), 0.0
    for _, gap in arrivals:
        now += gap
        assert fast.is_met(round(rate * (gap + over_seconds)) + 1, now)
    assert all(slow.is_met(0, number * over_seconds / 4) for number in range(4))
    assert not slow.is_met(round(rate * over_seconds) - 1, over_seconds)
