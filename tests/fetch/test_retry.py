import random

from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ServerFailedError, ThrottledError, TransientError, UnreachableError, UnusableAnswerError
from exporter.fetch.retry import FailureBudget, RetryPolicy

POLICY = RetryPolicy()
FAULTS = [UnreachableError("cut"), ServerFailedError("500"), UnusableAnswerError("html")]
faults = st.sampled_from(FAULTS)


def ladder(error: TransientError, *, contacted: bool, attempt_seconds: float, randomness: float) -> tuple[int, float]:
    """Attempts made, and the seconds they took, of a request that always fails the same way."""
    elapsed, attempt = 0.0, 0
    while True:
        attempt += 1
        elapsed += attempt_seconds
        wait = POLICY.decide(error, attempt, elapsed, contacted, randomness)
        if wait is None:
            return attempt, elapsed
        elapsed += wait


def test_waits_double_up_to_half_a_minute() -> None:
    waits = [POLICY.decide(FAULTS[0], attempt, 0.0, True, 1.0) for attempt in range(1, 10)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@given(
    faults | st.just(ThrottledError("429")), st.integers(1, 10_000), st.floats(0, 1e6), st.booleans(), st.floats(0, 1)
)
def test_waits_are_jittered_over_the_whole_range(
    error: TransientError, attempt: int, elapsed: float, contacted: bool, randomness: float
) -> None:
    wait = POLICY.decide(error, attempt, elapsed, contacted, randomness)
    longest = POLICY.decide(error, attempt, elapsed, contacted, 1.0)
    if wait is None or longest is None:
        assert wait is longest is None
    else:
        assert wait == randomness * longest
        assert longest <= 30


def test_an_outage_of_five_minutes_is_waited_out_once_the_server_is_known() -> None:
    attempts, elapsed = ladder(FAULTS[0], contacted=True, attempt_seconds=0.1, randomness=0.5)
    assert 20 < attempts < 30
    assert 300 < elapsed < 316


def test_slow_failures_do_not_end_a_request_before_its_tenth_attempt() -> None:
    assert ladder(FAULTS[0], contacted=True, attempt_seconds=300, randomness=0.0) == (10, 3000.0)
    assert ladder(FAULTS[0], contacted=True, attempt_seconds=60, randomness=0.0) == (10, 600.0)


def test_a_server_that_is_starting_is_waited_for_two_minutes_and_so_is_a_mistyped_host() -> None:
    for randomness in (0.1, 0.5, 1.0):
        assert 120 <= ladder(FAULTS[0], contacted=False, attempt_seconds=0.01, randomness=randomness)[1] < 151
    assert ladder(FAULTS[0], contacted=False, attempt_seconds=60, randomness=0.0) == (3, 180.0)


def test_the_server_decides_how_long_to_wait_within_reason() -> None:
    for seconds in (0.0, 0.2, 17.0, 300.0):
        assert POLICY.decide(ThrottledError("429", seconds), 1, 0.0, True, random.Random(1).random()) == seconds
    assert POLICY.decide(ThrottledError("429", 300.1), 1, 0.0, True, 0.5) is None


def test_throttling_for_minutes_is_normal_but_not_for_ever() -> None:
    throttled = ThrottledError("429", 1.0)
    attempts, elapsed = ladder(throttled, contacted=True, attempt_seconds=0.1, randomness=0.5)
    assert attempts > 500
    assert 900 <= elapsed < 902
    assert 120 <= ladder(throttled, contacted=False, attempt_seconds=0.1, randomness=0.5)[1] < 122
    # After all those refusals the first fault is only the first.
    assert POLICY.decide(FAULTS[1], 1, elapsed, True, 0.5) is not None


def run(budget: FailureBudget, failing: float, attempts: int, rng: random.Random) -> int:
    """Attempts until the budget is exhausted, at most `attempts`."""
    for number in range(attempts):
        if budget.exhausted:
            return number
        if rng.random() < failing:
            budget.failed()
        else:
            budget.succeeded()
    return attempts


def test_a_run_that_half_fails_goes_on_and_one_that_mostly_fails_stops() -> None:
    rng = random.Random(20260210)
    assert run(FailureBudget(8), failing=0.5, attempts=100_000, rng=rng) == 100_000
    assert run(FailureBudget(8), failing=0.9, attempts=100_000, rng=rng) < 1000
    # An outage: every request of every worker gives up by itself first.
    attempts, _ = ladder(FAULTS[0], contacted=True, attempt_seconds=0.1, randomness=0.5)
    assert run(FailureBudget(8), failing=1.0, attempts=100_000, rng=rng) >= 8 * attempts


def test_successes_do_not_pile_up() -> None:
    budget = FailureBudget(1)
    for _ in range(10_000):
        budget.succeeded()
    assert run(budget, failing=1.0, attempts=1000, rng=random.Random(1)) == 50
