"""Whether to ask again, and when: pure decisions on what has happened so far. Seconds throughout."""

from dataclasses import dataclass
from typing import Final

from exporter.errors import ThrottledError, TooLargeError, TransientError


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request is pursued: for at least so many `attempts`, and at least so many `seconds`.

    Both, so that neither a short outage, whose failures come fast, nor a few stalls in a row end it.
    """

    attempts: int
    seconds: float
    throttled_seconds: float


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retries of one request. A server that has never answered in this run may be mistyped, or starting."""

    known: Patience = Patience(attempts=10, seconds=300.0, throttled_seconds=900.0)
    unknown: Patience = Patience(attempts=3, seconds=120.0, throttled_seconds=120.0)
    #: Of a row that has had all the room there is. It is huge, and then stays so, or the answer was spoilt.
    too_large_attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    longest_retry_after_seconds: float = 300.0

    def decide(
        self,
        error: TransientError | TooLargeError,
        attempt: int,
        elapsed_seconds: float,
        contacted: bool,
        random: float,
    ) -> float | None:
        """Seconds to wait before the next attempt, or None: give up, and raise `error`.

        `attempt` counts the attempts that failed like this one, itself included, from 1: refusals for going too fast
        (`ThrottledError`) apart from all else, since minutes of them are normal, and so answers that there is no room
        for. `elapsed_seconds` is the time since the first attempt of the request began, `contacted` whether the server
        has delivered any page in this run, and `random` is uniform in [0, 1).
        """
        patience = self.known if contacted else self.unknown
        if isinstance(error, ThrottledError):
            if attempt >= patience.attempts and elapsed_seconds >= patience.throttled_seconds:
                return None
            if error.retry_after_seconds is not None:
                wait = error.retry_after_seconds
                return wait if wait <= self.longest_retry_after_seconds else None
        elif isinstance(error, TooLargeError):
            if attempt >= self.too_large_attempts:
                return None
        elif attempt >= patience.attempts and elapsed_seconds >= patience.seconds:
            return None
        # Full jitter: workers that failed together do not come back together. The exponent is bounded, as are floats.
        return random * min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 32))


class FailureBudget:
    """Ends a run whose failures dwarf its successes, however well each single request is still doing.

    A bucket that every failed attempt takes one from and every success gives two back to: a run goes on for ever while
    fewer than two attempts in three fail, and outlasts an outage of some minutes that fails every worker at once.
    Refusals for going too fast are no failures.
    """

    _REFILL: Final = 2

    def __init__(self, concurrency: int) -> None:
        self._capacity: Final = 20 + 30 * concurrency
        self._left = self._capacity

    def succeeded(self) -> None:
        self._left = min(self._capacity, self._left + self._REFILL)

    def failed(self) -> None:
        self._left -= 1

    @property
    def exhausted(self) -> bool:
        return self._left <= 0
