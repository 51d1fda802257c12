"""Decides whether to ask again, and when, by what has happened so far. Pure. All times are in seconds."""

from enum import Enum
from typing import Final

import msgspec
from msgspec.structs import replace

from exporter.errors import (
    NoConnectionError,
    RefusedError,
    RequestRefusedError,
    SourceError,
    ThrottledError,
    TooLargeError,
    TransientError,
)

#: A run gives up if its server wants to be left alone for longer.
LONGEST_RETRY_AFTER_SECONDS: Final = 300.0


class Contact(Enum):
    """Tells how far a run has come with its server.

    `NONE` says that nothing has ever accepted a connection, and the address may be wrong; `REACHED`, that something
    did, but has sent no page, and it may be slow, or starting; `READING`, that there was a page.
    """

    NONE = "none"
    REACHED = "reached"
    READING = "reading"


class Patience(msgspec.Struct, frozen=True):
    """Tells how long one request is pursued: for at least this many `attempts`, and at least this many `seconds`.

    Both must be used up, so that neither a short outage, whose failures come fast, nor a few stalls in a row end it.
    """

    attempts: int
    seconds: float
    throttled_seconds: float

    def is_over(self, error: SourceError, attempt: int, elapsed_seconds: float) -> bool:
        """Returns whether `attempt` failures like `error` within `elapsed_seconds` are enough."""
        seconds = self.throttled_seconds if isinstance(error, ThrottledError) else self.seconds
        return attempt >= self.attempts and elapsed_seconds >= seconds


class RetryPolicy(msgspec.Struct, frozen=True):
    """Decides about the retries of one request."""

    known: Patience = Patience(attempts=10, seconds=300.0, throttled_seconds=900.0)
    #: Two attempts that stall take that long: a single connection may be lost.
    unknown: Patience = Patience(attempts=2, seconds=120.0, throttled_seconds=120.0)
    #: If nothing has ever accepted a connection, pauses are short, and the first failure after these seconds is the
    #: last.
    absent: Patience = Patience(attempts=1, seconds=10.0, throttled_seconds=10.0)
    absent_cap_seconds: float = 2.0
    #: For refusals (`RefusedError`), once pages have been read, and before.
    doubted: Patience = Patience(attempts=4, seconds=10.0, throttled_seconds=10.0)
    doubted_at_first: Patience = Patience(attempts=3, seconds=0.0, throttled_seconds=0.0)
    #: For a row that has had all the room there is. Either it is huge, and stays so, or the answer was corrupted.
    too_large_attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    longest_retry_after_seconds: float = LONGEST_RETRY_AFTER_SECONDS

    def waiting(self, seconds: float) -> "RetryPolicy":
        """Returns the policy of a run that tries to reach its server for this long.

        If that is longer than usual, the run also waits as long for the first page of a server that it has reached.
        """
        unknown = self.unknown
        if seconds > self.absent.seconds:
            unknown = Patience(unknown.attempts, max(unknown.seconds, seconds), max(unknown.throttled_seconds, seconds))
        return replace(self, absent=Patience(1, seconds, seconds), unknown=unknown)

    def decide(
        self, error: SourceError, attempt: int, elapsed_seconds: float, contact: Contact, random: float
    ) -> float | None:
        """Returns the seconds to wait before the next attempt; None means to give up and raise `error`.

        `attempt` counts the attempts that failed like this one, itself included, from 1. Refusals for going too fast
        (`ThrottledError`) are counted apart, since minutes of them are normal, and so are answers that there is no room
        for. `elapsed_seconds` is the time since the first attempt of the request began, or since its first refusal if
        it is refused. `contact` is how far the run has come, and `random` is uniform in [0, 1).
        """
        patience = self.patience(error, contact)
        if isinstance(error, TooLargeError):
            is_over = attempt >= self.too_large_attempts
        else:
            is_over = patience is None or patience.is_over(error, attempt, elapsed_seconds)
        if is_over:
            return None
        if isinstance(error, ThrottledError) and error.retry_after_seconds is not None:
            return None if self.asks_for_long(error) else error.retry_after_seconds
        cap_seconds = self.absent_cap_seconds if patience is self.absent else self.cap_seconds
        # Full jitter: workers that failed together do not come back together. The exponent is bounded, like floats.
        wait_seconds = random * min(cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 32))
        # The last attempt comes when the time is over, and not later.
        return min(wait_seconds, self.absent.seconds - elapsed_seconds) if patience is self.absent else wait_seconds

    def patience(self, error: SourceError, contact: Contact) -> Patience | None:
        """Returns how long a request that fails like this is pursued; None: not at all."""
        match error:
            case RequestRefusedError(is_final=True) if contact is not Contact.READING:
                return None
            case RefusedError():
                return self.doubted if contact is Contact.READING else self.doubted_at_first
            case NoConnectionError() if contact is Contact.NONE:
                return self.absent
            case TransientError():
                return self.known if contact is Contact.READING else self.unknown
            case _:
                return None

    def asks_for_long(self, error: SourceError) -> bool:
        """Returns whether the server asks to stay away for longer than a run waits."""
        return isinstance(error, ThrottledError) and (error.retry_after_seconds or 0) > self.longest_retry_after_seconds


class FailureBudget:
    """Ends a run whose failures dwarf its successes, however well each single request is still doing.

    Every failed attempt takes one from a bucket, and every success puts two back: a run goes on for ever while fewer
    than two attempts in three fail, and outlasts an outage of a few minutes that fails every worker at once. Refusals
    for going too fast are not failures.
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
