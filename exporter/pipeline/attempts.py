"""Makes the attempts at each request: notes how they fail, decides whether to ask again, and says why it gave up."""

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Final, TypeVar

import anyio
import msgspec

from exporter.clock import wall_clock
from exporter.contract import SECOND, Instant, format_instant
from exporter.errors import (
    AccessError,
    NoConnectionError,
    RefusedError,
    RequestRefusedError,
    SourceError,
    ThrottledError,
    TokenRenewedError,
    TransientError,
    UnreachableError,
)
from exporter.fetch.pace.retry import Contact, FailureBudget, RetryPolicy
from exporter.model import Counters
from exporter.progress import Observer, Trouble
from exporter.words import format_seconds

T = TypeVar("T")
_AGAIN: Final = "Run the same command again when the API answers"
_LONGER: Final = {
    Contact.NONE: ", or try for longer to reach it: --wait 2m",
    Contact.REACHED: ", or wait longer for its first page: --wait 10m",
}
_KINDS: Final = (ThrottledError, RefusedError, TransientError)


class Failures(msgspec.Struct):
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


class Pursuit:
    """Holds the failures of one request, which began at `began`, by kind.

    `ends_at` is when it is given up, by its latest failure; None before there is one.
    """

    def __init__(self, began: float) -> None:
        self.began: Final = began
        self.ends_at: float | None = None
        self._known: dict[type[SourceError], Failures] = {}

    def add(self, failure: SourceError, now: float) -> Failures:
        """Counts a failure. A refusal is doubted since it was first met, anything else since the request began."""
        kind = next(kind for kind in _KINDS if isinstance(failure, kind))
        failures = self._known.setdefault(kind, Failures(now if kind is RefusedError else self.began))
        failures.attempts += 1
        return failures


def until(wait_seconds: float, today: Instant) -> str:
    """Returns words for how long a server asks to be left alone, and until when by a clock that says `today`."""
    end = format_instant((today // SECOND + round(wait_seconds)) * SECOND)
    return f"asks to be left alone for {format_seconds(wait_seconds)}, until {end}"


class Attempts:
    """Makes attempts at all requests of a run until one succeeds or more are no use. `count` is told what they cost.

    If no connection is ever made, the first request is given up after `wait_seconds`, if they are given. `is_reached`
    tells whether there was one.
    """

    def __init__(
        self,
        observer: Observer,
        concurrency: int,
        clock: Callable[[], float],
        count: Callable[[Counters], None],
        wait_seconds: float | None = None,
        is_reached: Callable[[], bool] = lambda: False,
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._count = count
        policy = RetryPolicy()
        if wait_seconds is not None:
            policy = policy.waiting(wait_seconds)
        self._policy: Final = policy
        self._failures = FailureBudget(concurrency)
        self._is_reached: Final = is_reached
        self._contact = Contact.NONE
        self._answered_at = clock()
        #: The latest failure since the last good answer, and the requests that are pursued.
        self._failure: SourceError | None = None
        self._pursued: dict[Pursuit, None] = {}
        #: Judges the token that is in use, before anybody has what came for it.
        self.vouch: Callable[[], Awaitable[None]] = _nothing
        # Wakes those who wait because their token was refused, and says after how many readings there was another one.
        self._renewed = anyio.Event()
        self._readings = 0
        self._chance = random.Random()  # noqa: S311 - jitter

    def trouble(self, silent_since: float | None = None) -> Trouble | None:
        """Returns what keeps the run from an answer now, with times of the clock; None if nothing does.

        `silent_since` is when a request was sent that has had no answer for long.
        """
        ends_at = min(map(self._ends_at, self._pursued), default=inf)
        until = None if ends_at == inf else ends_at
        if self._failure is not None and not self._awaits_first_answer:
            is_throttled = isinstance(self._failure, ThrottledError) and not self._failure.may_be_outage
            # Requests that are only slowed down succeed one after another: the end of none is that of the run.
            return Trouble(
                self._failure.brief, self._answered_at, None if is_throttled else until, throttled=is_throttled
            )
        if silent_since is not None:
            return Trouble("no answer yet", max(self._answered_at, silent_since), until)
        return None

    @contextmanager
    def advising(self) -> Iterator[None]:
        """Adds what to do to a `TransientError` for which a request was given up."""
        try:
            yield
        except TransientError as error:
            error.with_advice(_AGAIN + (_LONGER.get(self._contact, "") if isinstance(error, UnreachableError) else ""))
            raise

    @property
    def _awaits_first_answer(self) -> bool:
        """Returns whether the first connection has been accepted, so that no failure before that counts any longer."""
        return self._contact is Contact.NONE and self._is_reached()

    def _ends_at(self, pursuit: Pursuit) -> float:
        """Returns when a request is given up if it goes on failing."""
        if pursuit.ends_at is not None and not self._awaits_first_answer:
            return pursuit.ends_at
        patience = self._policy.patience(
            UnreachableError() if self._is_reached() else NoConnectionError(), self._contact
        )
        return inf if patience is None else pursuit.began + patience.seconds

    async def pursue(
        self, attempt_once: Callable[[], Awaitable[T]], *, believes: bool = False, trusts: bool = False
    ) -> T:
        """Returns what an attempt has brought. With `believes`, a final refusal is raised at once; with `trusts`, any
        refusal."""
        pursuit = Pursuit(self._clock())
        self._pursued[pursuit] = None
        try:
            return await self._pursue(attempt_once, pursuit, believes=believes, trusts=trusts)
        finally:
            self._pursued.pop(pursuit, None)

    async def _pursue(
        self, attempt_once: Callable[[], Awaitable[T]], pursuit: Pursuit, *, believes: bool, trusts: bool
    ) -> T:
        is_renewed = False
        while True:
            try:
                result = await attempt_once()
            except (TransientError, RefusedError) as error:
                failure = error
            else:
                self._succeeded()
                await self.vouch()
                return result
            if isinstance(failure, TokenRenewedError) and not is_renewed:
                # Only once in a row: a command may give a new token whenever it is asked, and none that is accepted.
                is_renewed = True
                self._note_renewal(failure)
                await self.vouch()
                continue
            is_renewed = False
            is_final = isinstance(failure, RequestRefusedError) and failure.is_final
            if (believes and is_final) or (trusts and isinstance(failure, RefusedError)):
                raise failure
            failures = pursuit.add(failure, self._clock())
            if self._contact is Contact.NONE and not isinstance(failure, NoConnectionError):
                self._contact = Contact.REACHED
            if isinstance(failure, ThrottledError):
                self._count(Counters(throttled=1))
            elif self._contact is not Contact.NONE:
                self._failures.failed()
            self._failure = failure
            if self._failures.exhausted or not await self.waited(failure, failures.attempts, failures.since, pursuit):
                raise failure.with_message(self._given_up(failure, failures))

    def _note_renewal(self, failure: TokenRenewedError) -> None:
        """Says once for all requests that there is another token, and wakes those who wait for one."""
        if failure.readings > self._readings:
            self._readings = failure.readings
            self._observer.note("asking again with another token", reason=str(failure))
            self._renewed.set()
            self._renewed = anyio.Event()

    def _succeeded(self) -> None:
        self._contact = Contact.READING
        self._failures.succeeded()
        self._answered_at, self._failure = self._clock(), None

    def _given_up(self, failure: SourceError, failures: Failures) -> str:
        if self._failures.exhausted:
            return f"given up, because most requests have failed lately: {failure}"
        said = failures.words(failure, self._clock())
        if isinstance(failure, ThrottledError) and self._policy.asks_for_long(failure):
            said += f", and {until(failure.retry_after_seconds or 0.0, wall_clock())}"
        return said

    async def waited(self, error: SourceError, attempt: int, since: float, pursuit: Pursuit | None = None) -> bool:
        """Waits until it is time to ask again; failures like this began at `since`. Returns False if that is no use."""
        now = self._clock()
        wait_seconds = self._policy.decide(error, attempt, now - since, self._contact, self._chance.random())
        if wait_seconds is None:
            return False
        patience = self._policy.patience(error, self._contact)
        if pursuit is not None and patience is not None:
            is_throttled = isinstance(error, ThrottledError)
            seconds = patience.throttled_seconds if is_throttled else patience.seconds
            pursuit.ends_at = max(since + seconds, now + wait_seconds)
        self._observer.note("asking again", reason=str(error), wait_seconds=round(wait_seconds, 1))
        self._count(Counters(retries=1))
        if isinstance(error, AccessError) and not error.is_forbidden and not isinstance(error, TokenRenewedError):
            with anyio.move_on_after(wait_seconds):
                await self._renewed.wait()
        else:
            await anyio.sleep(wait_seconds)
        return True


async def _nothing() -> None:
    """Judges nothing."""
