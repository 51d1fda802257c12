"""Pages, asked for until they are whole: the pace, the attempts and the decoding of every request."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import anyio
from anyio import CapacityLimiter, to_thread

from exporter.contract import SECOND, Instant, TimestampStyle
from exporter.encode.decode import Decoder
from exporter.encode.rows import EncodeRow
from exporter.errors import ThrottledError, TransientError
from exporter.fetch.http import Answer
from exporter.fetch.retry import FailureBudget, RetryPolicy
from exporter.fetch.throttle import Throttle
from exporter.model import Counters, Page, PageRequest
from exporter.progress import Observer


class Source(Protocol):
    """Where pages come from: one attempt a call. `style` is how the server writes its timestamps."""

    style: TimestampStyle

    async def get_page(self, request: PageRequest) -> Answer: ...


def wall_clock() -> Instant:
    """This machine's time, for want of the server's."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Reading:
    """A page, and an instant of the server's clock at or before which it had not been read yet."""

    page: Page[EncodeRow]
    read_since: Instant


class Reader:
    """Reads pages for all workers. `counters` and `in_flight` tell what that has come to."""

    def __init__(
        self,
        source: Source,
        decoder: Decoder,
        observer: Observer,
        *,
        concurrency: int,
        max_rps: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self.in_flight = 0
        self._source = source
        self._decoder = decoder
        self._observer = observer
        self._clock = clock
        self._throttle = Throttle(max_rps, concurrency)
        self._policy: Final = RetryPolicy()
        self._failures = FailureBudget(concurrency)
        self._contacted = False
        # A decoder learns as it goes, and is not for two threads at once; beside it the event loop goes on.
        self._decoding = CapacityLimiter(1)
        self._chance = random.Random()  # noqa: S311 - jitter

    async def read(self, request: PageRequest) -> Reading:
        """The answer to `request`, after as many attempts as it takes. Raises `SourceError` when that is no use."""
        first, refusals, faults = self._clock(), 0, 0
        while True:
            await self._wait_for_turn()
            try:
                reading = await self._attempt(request)
            except TransientError as error:
                failure = error
            else:
                self._contacted = True
                self._failures.succeeded()
                return reading
            if isinstance(failure, ThrottledError):
                refusals += 1
                self.counters += Counters(throttled=1)
                attempt = refusals
            else:
                faults += 1
                self._failures.failed()
                attempt = faults
            wait_seconds = self._policy.decide(
                failure, attempt, self._clock() - first, self._contacted, self._chance.random()
            )
            if wait_seconds is None or self._failures.exhausted:
                raise failure
            self._observer.note("asking again", reason=str(failure), wait_seconds=round(wait_seconds, 1))
            self.counters += Counters(retries=1)
            await anyio.sleep(wait_seconds)

    async def _wait_for_turn(self) -> None:
        while (seconds := self._throttle.delay_seconds(self._clock())) > 0:  # noqa: ASYNC110 - a pace, not an event
            await anyio.sleep(seconds)

    async def _attempt(self, request: PageRequest) -> Reading:
        sent = self._clock()
        self.counters += Counters(requests=1)
        self.in_flight += 1
        try:
            answer = await self._source.get_page(request)
        except ThrottledError as error:
            self._throttle.refused(self._clock(), error.retry_after_seconds)
            raise
        except BaseException:
            self._throttle.succeeded(self._clock())
            raise
        finally:
            self.in_flight -= 1
        self._throttle.succeeded(self._clock())
        elapsed = round((self._clock() - sent) * SECOND)
        decoded = await to_thread.run_sync(self._decoder.decode, answer.body, limiter=self._decoding)
        if decoded.style is not None:
            self._source.style = decoded.style
        self.counters += Counters(pages=1)
        # The Date header has whole seconds, and was written after the rows were read.
        served_at = wall_clock() if answer.served_at is None else answer.served_at
        return Reading(decoded.page, served_at - elapsed - SECOND)
