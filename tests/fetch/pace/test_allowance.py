import random
from collections.abc import Callable

import pytest

from exporter.fetch.pace.allowance import LONGEST_SECONDS, Allowance
from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.throttle import Throttle
from tests.toolkit.limiter import Bucket, simulate

chance = random.Random(3)


def believed() -> Allowance:
    """Returns an allowance whose headers were once found to be right."""
    allowance = Allowance()
    allowance.told(Quota(0, 5.0), 0.0)
    assert allowance.refused(0.1)
    return allowance


def test_one_request_tries_what_the_headers_say() -> None:
    allowance = Allowance()
    allowance.told(Quota(0, 30.0), 10.0)
    assert allowance.delay_seconds(3, 10.0) == 0
    allowance.sent(10.0)
    assert allowance.delay_seconds(4, 10.1) == float("inf")
    assert allowance.refused(10.2)
    assert allowance.delay_seconds(3, 10.2) == pytest.approx(29.8)
    assert allowance.delay_seconds(3, 40.0) == 0


def test_headers_that_are_found_wrong_are_not_heeded_again() -> None:
    allowance = Allowance()
    allowance.told(Quota(0, 30.0), 10.0)
    allowance.sent(10.0)
    # Requests that were under way before say nothing.
    allowance.passed(9.9, 10.1)
    assert allowance.delay_seconds(1, 10.1) > 0
    allowance.passed(10.0, 10.2)
    allowance.told(Quota(0, 30.0), 10.2)
    assert allowance.delay_seconds(1, 10.2) == 0
    assert not allowance.refused(10.3)


def test_no_more_are_sent_than_are_left() -> None:
    allowance = believed()
    allowance.told(Quota(3, 30.0), 10.0)
    assert allowance.delay_seconds(2, 10.0) == 0
    assert allowance.delay_seconds(3, 10.0) == float("inf")
    # This is an older answer that comes later.
    allowance.told(Quota(4, 30.0), 10.1)
    assert allowance.delay_seconds(3, 10.1) == float("inf")
    allowance.told(Quota(100, 60.0), 40.1)
    assert allowance.delay_seconds(50, 40.1) == 0


def test_a_wait_is_bounded_and_belief_is_renewed() -> None:
    allowance = believed()
    now, waits = 10.0, 0
    while waits < 100:
        allowance.told(Quota(0, 1e12), now)
        wait = allowance.delay_seconds(0, now)
        if wait == 0:
            break
        assert wait <= LONGEST_SECONDS
        now += wait
        waits += 1
    assert 1 <= waits <= 10


@pytest.mark.parametrize("seconds", [0.0, 1.0, 2.0])
def test_resets_within_rounding_are_left_to_the_pace(seconds: float) -> None:
    allowance = believed()
    allowance.told(Quota(0, seconds), 10.0)
    assert allowance.delay_seconds(5, 10.0) == 0


@pytest.mark.parametrize(
    "quota",
    [
        lambda _: Quota(0, 60.0),
        lambda _: Quota(0, 0.0),
        lambda _: Quota(chance.randrange(3), chance.choice([0.0, 1.0, 5.0, 30.0, 1e9])),
    ],
)
@pytest.mark.parametrize("workers", [1, 8])
def test_nonsense_does_not_slow_a_run(quota: Callable[[float], Quota], workers: int) -> None:
    outcome = simulate(Throttle(None, workers), quota=quota, workers=workers, seconds=100)
    assert outcome.rate(0, 100) >= 0.95 * workers / 0.1


@pytest.mark.parametrize("rate", [1, 20, 100])
def test_a_small_bucket_that_tells_its_level_is_not_read_as_a_window(rate: int) -> None:
    limit = Bucket(lambda _: rate, 5, "whole")
    outcome = simulate(
        Throttle(None, 32),
        limit=limit,
        quota=lambda _: Quota(int(limit.level), 1.0 + (5 - limit.level) // rate),
        workers=32,
        seconds=80,
        latency_seconds=(0.08, 0.12),
    )
    assert outcome.rate(20, 80) >= 0.9 * rate
