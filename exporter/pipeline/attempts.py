"""Makes the attempts at each request: notes how they fail, decides whether to ask again, and says why it gave up."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio

from exporter.contract import SECOND, Instant, format_instant
from exporter.errors import (
    NoConnectionError,
    RefusedError,
    RequestRefusedError,
    SourceError,
    ThrottledError,
    TransientError,
)
from exporter.fetch.pace.retry import Contact, FailureBudget, RetryPolicy
from exporter.model import Counters
from exporter.progress import Observer
from exporter.words import format_seconds

T = TypeVar("T")
_KINDS: Final = (ThrottledError, RefusedError, TransientError)


@dataclass(slots=True)
class Trouble:
    """Counts how often a request has failed in one way, and since when."""

    since: float
    attempts: int = 0

    def words(self, failure: SourceError, now: float) -> str:
        """Returns the message for `failure`, which was the last of them."""
        seconds = format_seconds(now - self.since)
        if not isinstance(failure, RefusedError):
            attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
            return f"given up after {attempts} in {seconds}: {failure}"
        return str(failure) if self.attempts == 1 else f"refused {self.attempts} times in {seconds}: {failure}"


class Troubles:
    """Holds the troubles of one request, which began at `began`, by kind."""

    def __init__(self, began: float) -> None:
        self._began: Final = began
        self._known: dict[type[SourceError], Trouble] = {}

    def add(self, failure: SourceError, now: float) -> Trouble:
        """Counts a failure. A refusal is doubted since it was first met, anything else since the request began."""
        kind = next(kind for kind in _KINDS if isinstance(failure, kind))
        trouble = self._known.setdefault(kind, Trouble(now if kind is RefusedError else self._began))
        trouble.attempts += 1
        return trouble


def until(wait_seconds: float, today: Instant) -> str:
    """Returns words for how long a server asks to be left alone, and until when by a clock that says `today`."""
    end = format_instant((today // SECOND + round(wait_seconds)) * SECOND)
    return f"asks to be left alone for {format_seconds(wait_seconds)}, until {end}"


def wall_clock() -> Instant:
    """Returns this machine's time."""
    return time.time_ns() // 1000


class Attempts:
    """Makes attempts at all requests of a run until one succeeds or more are no use. `count` is told what they cost."""

    def __init__(
        self, observer: Observer, concurrency: int, clock: Callable[[], float], count: Callable[[Counters], None]
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._count = count
        self._policy: Final = RetryPolicy()
        self._failures = FailureBudget(concurrency)
        self._contact = Contact.NONE
        self._warned = False
        self._chance = random.Random()  # noqa: S311 - jitter

    async def pursue(self, attempt_once: Callable[[], Awaitable[T]], *, believes: bool = False) -> T:
        """Returns what an attempt has brought. With `believes`, a final refusal is raised at once."""
        troubles = Troubles(self._clock())
        while True:
            try:
                result = await attempt_once()
            except (TransientError, RefusedError) as error:
                failure = error
            else:
                self._contact = Contact.READING
                self._failures.succeeded()
                return result
            if believes and isinstance(failure, RequestRefusedError) and failure.is_final:
                raise failure
            trouble = troubles.add(failure, self._clock())
            if isinstance(failure, ThrottledError):
                self._count(Counters(throttled=1))
            else:
                self._failures.failed()
            if self._contact is Contact.NONE and not isinstance(failure, NoConnectionError):
                self._contact = Contact.ANSWERED
            self._warn_of(failure)
            if self._failures.exhausted or not await self.waited(failure, trouble.attempts, trouble.since):
                raise failure.with_message(self._given_up(failure, trouble))

    def _warn_of(self, failure: SourceError) -> None:
        """Warns once that there is no answer yet, if that may go on for a while."""
        patience = self._policy.patience(failure, self._contact)
        if self._warned or self._contact is Contact.READING or not isinstance(failure, TransientError) or not patience:
            return
        self._warned = True
        seconds = format_seconds(patience.seconds)
        self._observer.warn(f"no answer yet; asking again for about {seconds}", reason=str(failure))

    def _given_up(self, failure: SourceError, trouble: Trouble) -> str:
        if self._failures.exhausted:
            return f"given up, because most requests have failed lately: {failure}"
        said = trouble.words(failure, self._clock())
        if isinstance(failure, ThrottledError) and self._policy.asks_for_long(failure):
            said += f", and {until(failure.retry_after_seconds or 0.0, wall_clock())}"
        return said

    async def waited(self, error: SourceError, attempt: int, since: float) -> bool:
        """Waits until it is time to ask again; failures like this began at `since`. Returns False if that is no use."""
        wait_seconds = self._policy.decide(error, attempt, self._clock() - since, self._contact, self._chance.random())
        if wait_seconds is None:
            return False
        self._observer.note("asking again", reason=str(error), wait_seconds=round(wait_seconds, 1))
        self._count(Counters(retries=1))
        await anyio.sleep(wait_seconds)
        return True
