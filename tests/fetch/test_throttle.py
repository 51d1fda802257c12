import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.fetch.throttle import Throttle
from tests.toolkit.limiter import Bucket, Outcome, RetryAfter, simulate

#: Round trips, in seconds. At 200 requests a second a wider spread of arrivals empties a bucket of five by itself.
LATENCY = (0.08, 0.12)
RATES = (1, 2, 3, 5, 8, 10, 20, 40, 70, 100, 150, 200)


def run(
    before: float, after: float | None = None, *, retry_after: RetryAfter = "none", workers: int = 48, seed: int = 1
) -> Outcome:
    """80 s of a limit; then 80 s more of another one, if there is one."""
    limit = Bucket(lambda now: before if now < 80 or after is None else after, 5, retry_after)
    seconds = 80 if after is None else 160
    throttle = Throttle(None, workers)
    return simulate(throttle, limit=limit, workers=workers, seconds=seconds, latency_seconds=LATENCY, seed=seed)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("retry_after", ["exact", "none"])
def test_finds_the_limit_and_stays_there(rate: int, retry_after: RetryAfter) -> None:
    outcome = run(rate, retry_after=retry_after)
    assert outcome.rate(20, 80) >= rate * (0.90 if rate < 10 else 0.95)
    assert outcome.refusals(20, 80) <= max(5, 0.02 * rate * 60)


@pytest.mark.parametrize("rate", RATES)
def test_finds_the_limit_though_each_refusal_stops_everything_for_a_second(rate: int) -> None:
    outcome = run(rate, retry_after="whole")
    assert outcome.rate(20, 80) >= rate * (0.90 if rate < 10 or rate > 70 else 0.93)
    assert outcome.refusals(20, 80) <= 5


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (10, 20), (20, 10), (200, 50), (50, 200), (200, 180)])
@pytest.mark.parametrize("retry_after", ["exact", "none"])
def test_follows_a_limit_that_changes(before: int, after: int, retry_after: RetryAfter) -> None:
    outcome = run(before, after, retry_after=retry_after)
    assert outcome.rate(100, 160) >= after * (0.90 if after < 10 else 0.95)
    # What the change itself costs, and then no more than ever.
    assert outcome.refusals(80, 100) <= max(20, 0.05 * before * 20)
    assert outcome.refusals(100, 160) <= max(6, 0.02 * after * 60)


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (10, 20), (20, 10), (200, 50), (20, 60)])
def test_follows_a_limit_that_changes_though_refusals_are_dear(before: int, after: int) -> None:
    assert run(before, after, retry_after="whole").rate(120, 160) >= 0.9 * after


def test_a_few_workers_below_the_limit_are_not_slowed() -> None:
    throttle = Throttle(None, 4)
    outcome = simulate(throttle, limit=Bucket(lambda _: 100, 5, "none"), workers=4, seconds=30, latency_seconds=LATENCY)
    assert outcome.refused == []
    assert throttle.rate is None
    assert outcome.rate(0, 30) > 0.95 * 4 / 0.1


def test_a_larger_bucket_than_thought_is_found_out() -> None:
    throttle = Throttle(None, 32)
    limit = Bucket(lambda _: 20, 100, "exact")
    outcome = simulate(throttle, limit=limit, workers=32, seconds=120, latency_seconds=LATENCY)
    assert outcome.rate(60, 120) >= 0.95 * 20
    assert outcome.refusals(60, 120) <= 0.02 * 20 * 60


@pytest.mark.parametrize("ceiling", [0.5, 3.0, 50.0])
def test_the_ceiling_is_kept_in_every_stretch(ceiling: float) -> None:
    outcome = simulate(Throttle(ceiling, 16), limit=None, workers=16, seconds=60, latency_seconds=(0.1, 0.1))
    assert outcome.rate(0, 60) == pytest.approx(ceiling, rel=0.05, abs=0.05)
    sent = outcome.passed
    for first in range(len(sent)):
        for many in (2, 5, 20):
            if first + many < len(sent):
                # A small burst, then even spacing.
                assert sent[first + many] - sent[first] >= (many - 3) / ceiling


def test_nobody_sends_before_retry_after() -> None:
    throttle = Throttle(None, 4)
    for _ in range(4):
        assert throttle.delay_seconds(10.0) == 0.0
    throttle.refused(10.5, 7.0)
    throttle.refused(10.6, 2.0)
    assert throttle.delay_seconds(10.6) >= 6.9
    assert throttle.delay_seconds(17.4) > 0
    now = 17.5
    while wait := throttle.delay_seconds(now):
        now += wait
    assert now == pytest.approx(17.5)


def test_one_wave_of_refusals_counts_once() -> None:
    def rate_after(refusals: int) -> float:
        throttle = Throttle(100.0, 16)
        now = 0.0

        def reserve() -> None:
            nonlocal now
            while wait := throttle.delay_seconds(now):
                now += wait

        for _ in range(400):
            reserve()
            throttle.succeeded(now)
        for _ in range(16):
            reserve()
        for _ in range(refusals):
            throttle.refused(now, None)
        assert throttle.rate is not None
        return throttle.rate

    # Three in 400 are put up with; the fourth slows everybody down, the rest of its wave no further.
    assert rate_after(3) == 100
    assert rate_after(4) < 100
    assert rate_after(16) == rate_after(4)


def test_a_limit_of_no_known_kind_never_stops_the_work() -> None:
    # One answer in fifty is a refusal, at any pace.
    class Moody(Bucket):
        rng = random.Random(7)

        def take(self, now: float) -> bool:
            return self.rng.random() > 0.02

    outcome = simulate(Throttle(None, 8), limit=Moody(lambda _: 1.0, 5, "none"), workers=8, seconds=300)
    assert outcome.rate(200, 300) > 5


@settings(max_examples=50, deadline=None)
@given(
    st.none() | st.floats(0.1, 1000),
    st.integers(1, 64),
    st.lists(
        st.tuples(st.sampled_from(["ask", "succeeded", "refused"]), st.floats(0, 30), st.none() | st.floats(0, 300)),
        max_size=200,
    ),
)
def test_whatever_happens_a_slot_comes_free_and_the_ceiling_holds(
    ceiling: float | None, concurrency: int, history: list[tuple[str, float, float | None]]
) -> None:
    throttle = Throttle(ceiling, concurrency)
    now = 0.0
    for what, seconds, retry_after in history:
        now += seconds
        match what:
            case "ask":
                assert throttle.delay_seconds(now) >= 0
            case "succeeded":
                throttle.succeeded(now)
            case _:
                throttle.refused(now, retry_after)
        assert throttle.rate is None or 0 < throttle.rate <= (ceiling or float("inf"))
    for _ in range(3):
        wait = throttle.delay_seconds(now)
        if wait == 0:
            break
        now += wait
    else:
        pytest.fail("a wait that was kept has to end")
