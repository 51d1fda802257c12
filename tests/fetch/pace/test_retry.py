import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import (
    AccessError,
    NoConnectionError,
    RequestRefusedError,
    ServerFailedError,
    SourceError,
    ThrottledError,
    TransientError,
    UnreachableError,
    UnusableAnswerError,
)
from exporter.fetch.pace.retry import Contact, FailureBudget, RetryPolicy

POLICY = RetryPolicy()
FAULTS = [UnreachableError("cut"), ServerFailedError("500"), UnusableAnswerError("html")]
faults = st.sampled_from(FAULTS)


def ladder(error: SourceError, *, contact: Contact, attempt_seconds: float, randomness: float) -> tuple[int, float]:
    """Returns the number of attempts of a request that always fails the same way, and the seconds that they took."""
    elapsed, attempt = 0.0, 0
    while True:
        attempt += 1
        elapsed += attempt_seconds
        wait = POLICY.decide(error, attempt, elapsed, contact, randomness)
        if wait is None:
            return attempt, elapsed
        elapsed += wait


def test_waits_double_up_to_half_a_minute() -> None:
    waits = [POLICY.decide(FAULTS[0], attempt, 0.0, Contact.READING, 1.0) for attempt in range(1, 10)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@given(
    faults | st.just(ThrottledError("429")),
    st.integers(1, 10_000),
    st.floats(0, 1e6),
    st.sampled_from(Contact),
    st.floats(0, 1),
)
def test_waits_are_jittered_over_the_whole_range(
    error: TransientError, attempt: int, elapsed: float, contact: Contact, randomness: float
) -> None:
    wait = POLICY.decide(error, attempt, elapsed, contact, randomness)
    longest = POLICY.decide(error, attempt, elapsed, contact, 1.0)
    if wait is None or longest is None:
        assert wait is longest is None
    else:
        assert wait == randomness * longest
        assert longest <= 30


def test_an_outage_of_five_minutes_is_waited_out_once_the_server_is_known() -> None:
    attempts, elapsed = ladder(FAULTS[0], contact=Contact.READING, attempt_seconds=0.1, randomness=0.5)
    assert 20 < attempts < 30
    assert 300 < elapsed < 316


def test_slow_failures_do_not_end_a_request_before_its_tenth_attempt() -> None:
    assert ladder(FAULTS[0], contact=Contact.READING, attempt_seconds=300, randomness=0.0) == (10, 3000.0)
    assert ladder(FAULTS[0], contact=Contact.READING, attempt_seconds=60, randomness=0.0) == (10, 600.0)


def test_a_server_that_is_starting_is_waited_for_two_minutes() -> None:
    for randomness in (0.1, 0.5, 1.0):
        assert 120 <= ladder(FAULTS[0], contact=Contact.REACHED, attempt_seconds=0.01, randomness=randomness)[1] < 151
    assert ladder(FAULTS[0], contact=Contact.REACHED, attempt_seconds=60, randomness=0.0) == (2, 120.0)


def test_a_host_that_has_never_accepted_a_connection_is_given_up_within_ten_seconds() -> None:
    nobody = NoConnectionError("no such host")
    for randomness in (0.0, 0.5, 1.0):
        attempts, elapsed = ladder(nobody, contact=Contact.NONE, attempt_seconds=0.01, randomness=randomness)
        assert attempts >= 6
        assert 10 <= elapsed < 10.1
    # A connection that times out takes most of the time.
    assert ladder(nobody, contact=Contact.NONE, attempt_seconds=10.0, randomness=1.0) == (1, 10.0)
    # A server that has answered may be restarting.
    for contact, seconds in ((Contact.REACHED, 120), (Contact.READING, 300)):
        assert ladder(nobody, contact=contact, attempt_seconds=0.01, randomness=0.5)[1] >= seconds
    # Only the host is given up: a run waits for anything that answers, however badly.
    assert ladder(ServerFailedError("502"), contact=Contact.NONE, attempt_seconds=0.01, randomness=0.5)[1] >= 120


def test_a_run_that_waits_longer_to_reach_its_server_waits_as_long_for_its_first_page() -> None:
    nobody, slow = NoConnectionError("no such host"), UnreachableError("not a byte")
    for seconds, for_first_page in ((1.0, 120.0), (30.0, 120.0), (600.0, 600.0)):
        policy = POLICY.waiting(seconds)
        for error, contact, expected in ((nobody, Contact.NONE, seconds), (slow, Contact.REACHED, for_first_page)):
            patience = policy.patience(error, contact)
            assert patience is not None
            assert (patience.seconds, patience.throttled_seconds) == (expected, expected)
    assert policy.patience(slow, Contact.READING) == POLICY.known


@pytest.mark.parametrize("refusal", [AccessError("401"), RequestRefusedError("404")])
def test_one_refusal_is_never_believed(refusal: SourceError) -> None:
    for contact in (Contact.NONE, Contact.REACHED):
        attempts, elapsed = ladder(refusal, contact=contact, attempt_seconds=0.01, randomness=1.0)
        assert attempts == 3
        assert elapsed < 2
    for randomness in (0.1, 0.5, 1.0):
        attempts, elapsed = ladder(refusal, contact=Contact.READING, attempt_seconds=0.01, randomness=randomness)
        assert attempts >= 4
        assert 10 <= elapsed < 40


def test_what_the_api_says_of_the_question_is_believed_until_it_has_answered_others() -> None:
    wrong = RequestRefusedError("422", is_final=True)
    for contact in (Contact.NONE, Contact.REACHED):
        assert POLICY.decide(wrong, 1, 0.0, contact, 1.0) is None
    assert POLICY.decide(wrong, 1, 0.0, Contact.READING, 1.0) is not None


def test_what_is_no_trouble_of_the_wire_is_raised_at_once() -> None:
    assert POLICY.decide(SourceError("its certificate cannot be verified"), 1, 0.0, Contact.READING, 1.0) is None


def test_the_server_decides_how_long_to_wait_within_reason() -> None:
    for seconds in (0.0, 0.2, 17.0, 300.0):
        assert (
            POLICY.decide(ThrottledError("429", seconds), 1, 0.0, Contact.READING, random.Random(1).random()) == seconds
        )
    assert POLICY.decide(ThrottledError("429", 300.1), 1, 0.0, Contact.READING, 0.5) is None


def test_throttling_for_minutes_is_normal_but_not_for_ever() -> None:
    throttled = ThrottledError("429", 1.0)
    attempts, elapsed = ladder(throttled, contact=Contact.READING, attempt_seconds=0.1, randomness=0.5)
    assert attempts > 500
    assert 900 <= elapsed < 902
    assert 120 <= ladder(throttled, contact=Contact.REACHED, attempt_seconds=0.1, randomness=0.5)[1] < 122
    # After all those refusals, the first fault still counts as the first.
    assert POLICY.decide(FAULTS[1], 1, elapsed, Contact.READING, 0.5) is not None


def run(budget: FailureBudget, failing: float, attempts: int, rng: random.Random) -> int:
    """Returns the attempts until the budget is exhausted, at most `attempts`."""
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
    # In an outage, every request of every worker gives up by itself first.
    attempts, _ = ladder(FAULTS[0], contact=Contact.READING, attempt_seconds=0.1, randomness=0.5)
    assert run(FailureBudget(8), failing=1.0, attempts=100_000, rng=rng) >= 8 * attempts


def test_successes_do_not_pile_up() -> None:
    budget = FailureBudget(1)
    for _ in range(10_000):
        budget.succeeded()
    assert run(budget, failing=1.0, attempts=1000, rng=random.Random(1)) == 50
