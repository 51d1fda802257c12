"""Tests the throttle against simulated limits, in simulated time.

With EXPORTER_THROTTLE_SEEDS=N in the environment, every combination is run with N seeds; without it, one of each kind.
"""

import math
import os
import random
from functools import lru_cache
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ThrottledError
from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.throttle import Throttle, Ticket
from tests.toolkit.limiter import Bucket, Crowd, Outcome, RetryAfter, Window, simulate

SEEDS = int(os.environ.get("EXPORTER_THROTTLE_SEEDS", "0"))
BURST = 5
RATES = (1, 2, 5, 9, 10, 20, 50, 100, 150, 200)
RETRY_AFTERS: tuple[RetryAfter, ...] = ("exact", "whole", "date", "none")
#: The shortest and the longest round trips, in seconds.
NARROW, WIDE = (0.08, 0.12), (0.05, 0.5)
WORKERS = (8, 32, 64, 256)
REFUSED = ThrottledError("429", None)

Latency = tuple[float, float]


@lru_cache
def best_even_pace(rate: float, latency: Latency) -> float:
    """Returns the share of `rate` that perfectly even requests get through if at most 2 % may be refused.

    Requests that leave evenly arrive unevenly. If more than a bucket of them may arrive in the wrong order, that alone
    empties it, however well the sender knows the rate.
    """
    best = 0.0
    for percent in range(60, 101, 2):
        chance, bucket = random.Random(1), Bucket(lambda _: rate, BURST, "none")
        pace = rate * percent / 100
        count = int(60 * pace)
        arrivals = sorted(number / pace + chance.uniform(*latency) / 2 for number in range(count))
        passed = sum(map(bucket.take, arrivals))
        if count - passed <= 0.02 * count:
            best = max(best, passed / 60 / rate)
    return best


def target(rate: float, latency: Latency) -> float:
    """Returns the rate that must get through, in requests per second."""
    # This many requests, sent one after the other, may arrive in any order.
    disorder = rate * (latency[1] - latency[0]) / 2
    if disorder <= 0.7 * BURST:
        return rate * (0.90 if rate < 10 else 0.95)
    return rate * 0.88 * best_even_pace(rate, latency)


def enough_workers(rate: float, latency: Latency) -> list[int]:
    """Returns the numbers of workers that can send requests at this rate while their retries wait for a second."""
    needed = rate * sum(latency) / 2 * 1.5 + 2
    return [workers for workers in WORKERS if workers >= needed]


def check(outcome: Outcome, since: float, rate: float, latency: Latency) -> None:
    """Checks the minute from `since`."""
    assert outcome.rate(since, since + 60) >= target(rate, latency)
    assert outcome.refusals(since, since + 60) <= max(5, 0.02 * rate * 60)


STEADY = [
    (rate, retry_after, latency, workers, seed)
    for rate, retry_after, latency in product(RATES, RETRY_AFTERS, (NARROW, WIDE))
    for workers in enough_workers(rate, latency)[: None if SEEDS else 1]
    for seed in range(max(1, SEEDS))
    if SEEDS or rate <= 50 or retry_after == "whole" or (latency == NARROW and rate == 200)
]


@pytest.mark.parametrize(("rate", "retry_after", "latency", "workers", "seed"), STEADY)
def test_finds_the_limit_and_stays_there(
    rate: int, retry_after: RetryAfter, latency: Latency, workers: int, seed: int
) -> None:
    limit = Bucket(lambda _: rate, BURST, retry_after)
    outcome = simulate(
        Throttle(None, workers), limit=limit, workers=workers, seconds=80, latency_seconds=latency, seed=seed
    )
    check(outcome, 20, rate, latency)


CHANGES = [(1, 4), (4, 1), (2, 1), (10, 20), (20, 10), (50, 200), (200, 50), (200, 180), (9, 2), (20, 60)]
CHANGING = [
    (before, after, retry_after, latency, seed)
    for (before, after), retry_after, latency in product(CHANGES, RETRY_AFTERS, (NARROW, WIDE))
    for seed in range(max(1, SEEDS))
    if SEEDS or retry_after == "whole" or ((retry_after == "none") == (latency == WIDE) and before + after < 150)
    if SEEDS or latency == NARROW or before + after < 150
]


@pytest.mark.parametrize(("before", "after", "retry_after", "latency", "seed"), CHANGING)
def test_follows_a_limit_that_changes(
    before: int, after: int, retry_after: RetryAfter, latency: Latency, seed: int
) -> None:
    workers = enough_workers(max(before, after), latency)[0]
    limit = Bucket(lambda now: before if now < 60 else after, BURST, retry_after)
    outcome = simulate(
        Throttle(None, workers), limit=limit, workers=workers, seconds=140, latency_seconds=latency, seed=seed
    )
    check(outcome, 80, after, latency)
    # These are the cost of the change itself.
    assert outcome.refusals(60, 80) <= max(20, 0.05 * before * 20)


#: Limits that rise, each with the time in which a run must then reach 90 % of what it can get.
RISES = [
    (5, 100, "whole", 429, 40),
    (5, 100, "none", 429, 30),
    (5, 100, "date", 429, 40),
    (5, 100, "whole", 503, 50),
    (1, 100, "whole", 429, 50),
    (2, 20, "exact", 429, 30),
    (50, 100, "whole", 429, 20),
    (5, math.inf, "whole", 429, 60),
]


@pytest.mark.parametrize(("before", "after", "retry_after", "status", "within"), RISES)
def test_a_limit_that_rises_opens_windows(
    before: float, after: float, retry_after: RetryAfter, status: int, within: float
) -> None:
    """A pipeline opens only as many windows as are useful: what it learned of the old limit must not hold it back."""
    limit = Bucket(lambda now: before if now < 20 else min(after, 1e9), BURST, retry_after, status)
    throttle = Throttle(None, 32)
    seconds = 20 + within + 60
    outcome = simulate(
        throttle, limit=limit, workers=32, seconds=seconds, latency_seconds=NARROW, pages_a_window=40, seed=3
    )
    reachable = min(after, 32 / 0.1)
    assert outcome.rate(20 + within, seconds) >= (0.9 if status == 429 else 0.8) * reachable
    assert outcome.refusals(20 + within, seconds) <= max(5, 0.03 * reachable * 60)


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize(("before", "after"), [(1, 64), (2, 20), (4, 40), (8, 1000)])
def test_room_that_grows_opens_windows(before: int, after: int, retry_after: float | None) -> None:
    crowd = Crowd(lambda now: before if now < 20 else after, retry_after)
    outcome = simulate(
        Throttle(None, 64), crowd=crowd, workers=64, seconds=90, latency_seconds=NARROW, pages_a_window=40
    )
    assert outcome.rate(40, 90) >= 0.95 * min(after, 64) / 0.1


def test_a_limit_that_rises_is_found_even_where_refusals_are_dear() -> None:
    """Each refusal costs a minute, so a run must not try often; within an hour it must have tried."""

    class Dear(Bucket):
        def hint(self, now: float) -> float | None:
            return 60.0

    limit = Dear(lambda now: 5 if now < 1800 else 50, BURST, "whole")
    outcome = simulate(
        Throttle(None, 32), limit=limit, workers=32, seconds=5400, latency_seconds=NARROW, pages_a_window=40
    )
    assert outcome.rate(900, 1800) >= 0.8 * 5
    assert outcome.rate(3600, 5400) >= 0.8 * 50


CROWDS = [
    (most, latency, retry_after, seed)
    for most, latency, retry_after in product(
        (1, 2, 3, 5, 8, 16, 64), ((0.015, 0.025), NARROW, WIDE, (1.6, 2.4)), (None, 1.0)
    )
    for seed in range(max(1, SEEDS))
    if SEEDS or most / latency[0] < 300
]


@pytest.mark.parametrize(("most", "latency", "retry_after", "seed"), CROWDS)
def test_finds_how_many_may_be_under_way(most: int, latency: Latency, retry_after: float | None, seed: int) -> None:
    workers = most + 24
    outcome = simulate(
        Throttle(None, workers),
        crowd=Crowd(lambda _: most, retry_after),
        workers=workers,
        seconds=80,
        latency_seconds=latency,
        seed=seed,
    )
    allowed = most / (sum(latency) / 2)
    # The mean of this many round trips differs from their expectation by chance.
    deviation = (latency[1] - latency[0]) / math.sqrt(12) / (sum(latency) / 2) / math.sqrt(60 * allowed)
    assert outcome.rate(20, 80) >= allowed * (0.95 - 2 * deviation)
    assert outcome.refusals(20, 80) <= max(5, 0.02 * allowed * 60)


@pytest.mark.parametrize(("before", "after"), [(4, 16), (16, 4), (64, 8), (1, 8)])
def test_follows_room_that_changes(before: int, after: int) -> None:
    crowd = Crowd(lambda now: before if now < 60 else after)
    outcome = simulate(Throttle(None, 64), crowd=crowd, workers=64, seconds=140, latency_seconds=NARROW)
    assert outcome.rate(80, 140) >= 0.95 * after / 0.1
    assert outcome.refusals(80, 140) <= max(5, 0.02 * after * 600)


@pytest.mark.parametrize(("most", "rate"), [(2, 10), (8, 10), (8, 50), (8, 200), (3, 20)])
def test_a_rate_and_room_are_learned_together(most: int, rate: int) -> None:
    limit, crowd = Bucket(lambda _: rate, BURST, "whole"), Crowd(lambda _: most, 1.0)
    throttle = Throttle(None, 32)
    outcome = simulate(throttle, limit=limit, crowd=crowd, workers=32, seconds=80, latency_seconds=NARROW)
    allowed = min(rate, most / 0.1)
    assert outcome.rate(20, 80) >= 0.95 * allowed
    # The throttle looks for each of the two limits.
    assert outcome.refusals(20, 80) <= max(10, 0.02 * allowed * 60)


@pytest.mark.parametrize("rate", [1, 5, 20, 50])
@pytest.mark.parametrize("retry_after", ["whole", "none"])
def test_a_503_may_be_for_the_rate(rate: int, retry_after: RetryAfter) -> None:
    limit = Bucket(lambda _: rate, BURST, retry_after, status=503)
    outcome = simulate(Throttle(None, 64), limit=limit, workers=64, seconds=80, latency_seconds=NARROW)
    # This is less than for a 429, because at first, and sometimes again, a 503 is taken for too many requests at once.
    assert outcome.rate(20, 80) >= 0.8 * rate
    assert outcome.refusals(20, 80) <= max(8, 0.03 * rate * 60)


@pytest.mark.parametrize("retry_after", RETRY_AFTERS)
def test_few_workers_below_the_limit_are_not_slowed(retry_after: RetryAfter) -> None:
    throttle = Throttle(None, 4)
    limit = Bucket(lambda _: 100, BURST, retry_after)
    outcome = simulate(throttle, limit=limit, workers=4, seconds=30, latency_seconds=NARROW)
    assert outcome.refused == []
    assert throttle.rate is None
    assert outcome.rate(0, 30) > 0.95 * 4 / 0.1


def test_a_larger_bucket_than_thought_is_found_out() -> None:
    limit = Bucket(lambda _: 20, 100, "exact")
    outcome = simulate(Throttle(None, 32), limit=limit, workers=32, seconds=120, latency_seconds=NARROW)
    assert outcome.rate(60, 120) >= 0.95 * 20
    assert outcome.refusals(60, 120) <= 0.02 * 20 * 60


@pytest.mark.parametrize(("requests", "seconds"), [(100, 60), (100, 10), (20, 5)])
@pytest.mark.parametrize("workers", [8, 64])
def test_waits_for_the_reset_that_answers_name(requests: int, seconds: float, workers: int) -> None:
    told, untold = Window(requests, seconds), Window(requests, seconds)
    outcome = simulate(Throttle(None, workers), limit=told, quota=told.quota, workers=workers, seconds=600)
    without = simulate(Throttle(None, workers), limit=untold, workers=workers, seconds=600)
    assert outcome.rate(0, 600) >= 0.99 * requests / seconds
    # These are the requests that were under way when it was learned, and a trial now and then.
    assert len(outcome.refused) <= 1.5 * workers + 2 + 600 / seconds / 8
    assert len(outcome.refused) < len(without.refused) * 0.8


@pytest.mark.parametrize("ceiling", [0.5, 3.0, 50.0])
def test_the_ceiling_is_kept_in_every_stretch(ceiling: float) -> None:
    outcome = simulate(Throttle(ceiling, 16), workers=16, seconds=60, latency_seconds=(0.1, 0.1))
    assert outcome.rate(0, 60) == pytest.approx(ceiling, rel=0.05, abs=0.05)
    sent = outcome.passed
    for first in range(len(sent)):
        for many in (2, 5, 20):
            if first + many < len(sent):
                assert sent[first + many] - sent[first] >= many / ceiling - 1e-6


def at_full_speed(concurrency: int) -> Throttle:
    """Returns a throttle whose server has let enough requests through for any number to be under way."""
    throttle = Throttle(None, concurrency)
    for _ in range(24 + concurrency):
        throttle.succeeded(throttle.sent(0.0), 0.0)
    return throttle


def test_nobody_sends_before_retry_after() -> None:
    throttle = at_full_speed(4)
    for _ in range(3):
        assert throttle.delay_seconds(10.0) == 0.0
        sent = throttle.sent(10.0)
    throttle.refused(sent, 10.5, ThrottledError("429", 7.0))
    throttle.refused(sent, 10.6, ThrottledError("429", 2.0))
    assert throttle.delay_seconds(10.6) >= 6.9
    assert throttle.delay_seconds(17.4) > 0
    now = 17.5
    while wait := throttle.delay_seconds(now):
        now += wait
    assert now == pytest.approx(17.5)


def test_a_short_wait_is_not_for_everybody_once_the_rate_is_known() -> None:
    throttle = Throttle(None, 64)
    simulate(throttle, limit=Bucket(lambda _: 50, BURST, "none"), workers=16, seconds=60, latency_seconds=NARROW)
    throttle.refused(throttle.sent(61.0), 61.0, ThrottledError("429", 1.0))
    assert throttle.delay_seconds(61.0) < 0.2
    throttle.refused(throttle.sent(61.0), 61.0, ThrottledError("429", 5.0))
    assert throttle.delay_seconds(61.0) == pytest.approx(5.0)


def test_a_short_wait_for_room_is_not_for_everybody() -> None:
    throttle = at_full_speed(8)
    under_way = [throttle.sent(0.0) for _ in range(8)]
    throttle.refused(under_way.pop(), 0.1, ThrottledError("503", 1.0, 503))
    assert throttle.delay_seconds(0.1) == math.inf
    throttle.succeeded(under_way.pop(), 0.1)
    assert throttle.delay_seconds(0.1) == 0
    throttle.refused(under_way.pop(), 0.1, ThrottledError("503", 5.0, 503))
    throttle.succeeded(under_way.pop(), 0.1)
    assert throttle.delay_seconds(0.1) == pytest.approx(5.0)


@pytest.mark.parametrize("answers", [0, 1, 4, 40, 200])
def test_each_request_that_is_let_through_lets_two_more_be_under_way(answers: int) -> None:
    throttle = Throttle(None, 64)
    for _ in range(answers):
        throttle.succeeded(throttle.sent(0.0), 0.0)
    under_way = 0
    while throttle.delay_seconds(0.0) == 0:
        throttle.sent(0.0)
        under_way += 1
    assert under_way == {0: 2, 1: 4, 4: 10, 40: 64, 200: 64}[answers]
    assert throttle.delay_seconds(0.0) == math.inf


@pytest.mark.parametrize(
    ("rate", "bucket", "most"), [(2, 1, 6), (2, 5, 11), (4, 1, 5), (4, 5, 9), (10, 5, 7), (50, 5, 2)]
)
def test_a_first_contact_costs_few_refusals(rate: int, bucket: int, most: int) -> None:
    """A run asks one question, then two at once, then seven; what it asks next is left to its workers.

    Those under way are refused once, and a few that look for the rate: never all that the workers could ask.
    """

    class Opening(Throttle):
        passed = 0

        def succeeded(self, sent: Ticket, now: float, quota: Quota | None = None) -> None:
            self.passed += 1
            super().succeeded(sent, now, quota)

        @property
        def useful_concurrency(self) -> int:
            return 1 if self.passed < 1 else 2 if self.passed < 5 else 7

    outcome = simulate(
        Opening(None, 8),
        limit=Bucket(lambda _: rate, bucket, "whole"),
        workers=8,
        seconds=60,
        latency_seconds=(0.04, 0.08),
        pages_a_window=1,
    )
    assert outcome.refusals(0, sorted(outcome.passed)[18]) <= most


def test_one_wave_of_refusals_counts_once() -> None:
    def rate_after(refusals: int) -> float:
        throttle = Throttle(100.0, 16)
        now = 0.0

        def send() -> Ticket:
            nonlocal now
            while wait := throttle.delay_seconds(now):
                now += wait
            return throttle.sent(now)

        for _ in range(400):
            throttle.succeeded(send(), now)
        wave = [send() for _ in range(16)]
        for sent in wave[:refusals]:
            throttle.refused(sent, now, REFUSED)
        assert throttle.rate is not None
        return throttle.rate

    # Three in 400 are tolerated; the fourth slows all workers down, and the rest of its wave slows them no further.
    assert rate_after(3) == 100
    assert rate_after(4) < 100
    assert rate_after(16) == rate_after(4)


@pytest.mark.parametrize("status", [429, 503])
def test_a_limit_of_no_known_kind_never_stops_the_work(status: int) -> None:
    # One answer in fifty is a refusal, at any pace.
    class Moody(Bucket):
        rng = random.Random(7)

        def take(self, now: float) -> bool:
            return self.rng.random() > 0.02

    limit = Moody(lambda _: 1.0, BURST, "none", status)
    outcome = simulate(Throttle(None, 8), limit=limit, workers=8, seconds=300)
    assert outcome.rate(200, 300) > 5


def test_an_outage_is_forgotten() -> None:
    crowd = Crowd(lambda now: 0 if 20 <= now < 40 else 1000)
    outcome = simulate(Throttle(None, 16), crowd=crowd, workers=16, seconds=140, latency_seconds=NARROW)
    assert outcome.rate(100, 140) >= 0.95 * 16 / 0.1


@pytest.mark.parametrize(("rate", "latency", "fewest", "most"), [(2, (0.25, 0.35), 1, 2), (20, NARROW, 2, 6)])
def test_as_many_workers_are_useful_as_the_rate_keeps_busy(rate: int, latency: Latency, fewest: int, most: int) -> None:
    throttle = Throttle(None, 32)
    seen: list[int] = []

    def watch(now: float) -> None:
        throttle.page_took(sum(latency) / 2)
        if now > 30:
            seen.append(throttle.useful_concurrency)

    simulate(
        throttle,
        limit=Bucket(lambda _: rate, BURST, "whole"),
        workers=32,
        seconds=120,
        latency_seconds=latency,
        watch=watch,
    )
    assert fewest <= min(seen) <= max(seen) <= most
    # The rate does not flap.
    assert sum(one != other for one, other in pairwise(seen)) <= 4


@pytest.mark.parametrize(("ceiling", "useful"), [(2.0, 1), (20.0, 9), (1000.0, 32), (None, 32)])
def test_a_ceiling_says_without_a_refusal_how_many_workers_are_useful(ceiling: float | None, useful: int) -> None:
    throttle = Throttle(ceiling, 32)
    assert throttle.useful_concurrency == min(2, useful)
    for page in range(1, 40):
        throttle.page_took(0.3)
        assert throttle.useful_concurrency == min(2 + 2 * page, useful)


@pytest.mark.parametrize("rate", [2, 20, 100])
def test_no_more_workers_than_are_useful_reach_the_limit_too(rate: int) -> None:
    throttle = Throttle(float(rate), 64)
    for _ in range(50):
        throttle.page_took(0.1)
    workers = throttle.useful_concurrency
    limit = Bucket(lambda _: rate * 0.97, BURST, "none")
    outcome = simulate(Throttle(None, workers), limit=limit, workers=workers, seconds=80, latency_seconds=NARROW)
    assert workers <= max(1, 2 * rate * 0.1)
    assert outcome.rate(20, 80) >= 0.9 * rate


def test_room_for_few_makes_few_workers_useful() -> None:
    throttle = Throttle(None, 64)
    crowd = Crowd(lambda _: 4)
    simulate(
        throttle, crowd=crowd, workers=64, seconds=60, latency_seconds=NARROW, watch=lambda _: throttle.page_took(0.1)
    )
    assert 4 <= throttle.useful_concurrency <= 8


@settings(max_examples=50, deadline=None)
@given(
    st.none() | st.floats(0.1, 1000),
    st.integers(1, 64),
    st.lists(
        st.tuples(
            st.sampled_from(["send", "succeeded", "refused"]),
            st.floats(0, 30),
            st.none() | st.floats(0, 300),
            st.sampled_from([429, 503]),
        ),
        max_size=200,
    ),
)
def test_whatever_happens_a_slot_comes_free_and_the_ceiling_holds(
    ceiling: float | None, concurrency: int, history: list[tuple[str, float, float | None, int]]
) -> None:
    throttle = Throttle(ceiling, concurrency)
    under_way: list[Ticket] = []
    now = 0.0
    for what, seconds, retry_after, status in history:
        now += seconds
        if what == "send":
            wait = throttle.delay_seconds(now)
            assert wait >= 0
            assert under_way or wait < math.inf
            if not wait:
                under_way.append(throttle.sent(now))
        elif under_way and what == "succeeded":
            throttle.succeeded(under_way.pop(0), now)
            throttle.page_took(seconds)
        elif under_way:
            throttle.refused(under_way.pop(), now, ThrottledError("", retry_after, status))
        assert throttle.rate is None or 0 < throttle.rate <= (ceiling or math.inf)
        assert 1 <= throttle.useful_concurrency <= concurrency
        assert len(under_way) <= concurrency
    for sent in under_way:
        throttle.succeeded(sent, now)
    for _ in range(3):
        wait = throttle.delay_seconds(now)
        if wait == 0:
            break
        now += wait
    else:
        pytest.fail("a wait that was kept must end")
