"""When to send the next request, so that the server need not refuse it. Pure; one for all workers.

Three parts, each of which may hold a request back, and a rule that says which of them a refusal is for:

- `allowance`: answers say that none is left until a reset. A refusal while none is left is for that.
- `crowd`: as many are under way as the server has room for. A 503 is for that, unless as many were lately let in.
- `pace`: the next slot has not come yet. Every other refusal is for that.
"""

from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from exporter.errors import ThrottledError
from exporter.fetch.pace.allowance import Allowance
from exporter.fetch.pace.concurrency import Crowd
from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.rate import ROUNDED_SECONDS, Pace

#: How long a page is taken to take before one has been read, and how much each one counts after that.
_PAGE_SECONDS: Final = 0.3
_WEIGHT: Final = 0.1
_LEAST_SECONDS: Final = 0.001
#: Workers in place of one that is needed on average, for a rate and for room: some come late.
_RATE_HEADROOM: Final = 1.5
_ROOM_HEADROOM: Final = 1.25
_HTTP_SERVICE_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that is under way: since when, and how many there were then, itself included."""

    at: float
    in_flight: int


class Throttle:
    """Times are seconds of one monotonic clock, rates are requests a second.

    Before each attempt: while `delay_seconds(now)` is above zero, sleep that long, or until another request has come
    back, and ask again. Then `sent`, and when it has come back `refused`, if the server said 429 or 503, or
    `succeeded`, whatever came of it.
    """

    def __init__(self, max_rps: float | None, concurrency: int) -> None:
        self._concurrency: Final = concurrency
        self._pace: Final = Pace(max_rps)
        self._crowd: Final = Crowd(concurrency)
        self._allowance: Final = Allowance()
        self._in_flight = 0
        self._round_trip = _Average()
        self._page = _Average()
        self._pages = 0
        self._useful = concurrency

    @property
    def rate(self) -> float | None:
        """The pace of now; None: none."""
        return self._pace.rate

    def delay_seconds(self, now: float) -> float:
        """Seconds until it is worth asking again; infinite: not before another request has come back; 0.0: send."""
        if self._in_flight >= self._crowd.limit:
            return inf
        wait = max(self._pace.delay_seconds(now), self._allowance.delay_seconds(self._in_flight, now))
        # What nobody can end may not be waited for.
        return wait if self._in_flight or wait < inf else 0.0

    def sent(self, now: float) -> Ticket:
        """A request is sent."""
        self._in_flight += 1
        self._pace.sent(now)
        self._allowance.sent(now)
        return Ticket(now, self._in_flight)

    def succeeded(self, sent: Ticket, now: float, quota: Quota | None = None) -> None:
        """It was let through, and its answer said this."""
        self._in_flight -= 1
        self._round_trip.add(now - sent.at)
        self._pace.passed(now)
        self._crowd.passed(sent.at, sent.in_flight, now)
        self._allowance.passed(sent.at, now)
        if quota is not None:
            self._allowance.told(quota, now)

    def refused(self, sent: Ticket, now: float, error: ThrottledError) -> None:
        """It was refused."""
        wait = error.retry_after_seconds or 0.0
        # A request that was sent later may have come before this one.
        most_in_flight = max(sent.in_flight, self._in_flight)
        if self._allowance.refused(now):
            self._pace.block(now + wait)
        elif error.status == _HTTP_SERVICE_UNAVAILABLE and self._crowd.explains(most_in_flight, now):
            wait = wait if wait > ROUNDED_SECONDS else 0.0
            self._crowd.refused(sent.at, self._in_flight, now, wait)
            self._pace.block(now + wait)
        else:
            self._pace.refused(sent.at, now, wait)
        self._in_flight -= 1

    def page_took(self, seconds: float) -> None:
        """A page took so long, from sending the request to having decoded it."""
        self._page.add(seconds)
        self._pages += 1

    @property
    def useful_concurrency(self) -> int:
        """How many workers it takes to ask as fast as is allowed; the `concurrency` when nothing limits.

        It begins with two, and two more for each page, so that a limit shows before there are many. What the rate asks
        for stays as it is while it is neither too small nor twice as large as it needs to be. Probing counts: where it
        has gone far beyond the rate of the latest refusal, too few workers would hide that the limit has risen.
        """
        most = min(self._concurrency, 2 * (1 + self._pages))
        if self._crowd.limit < self._concurrency:
            # While one worker decodes, another has the room.
            shifts = max(1.0, self._page.seconds / max(self._round_trip.seconds, _LEAST_SECONDS))
            most = min(most, ceil(self._crowd.limit * shifts * _ROOM_HEADROOM))
        rate = self._pace.rate
        if rate is not None:
            load = rate * self._page.seconds
            if not load * 1.1 <= self._useful <= 2 * load + 1:
                self._useful = max(1, ceil(min(load * _RATE_HEADROOM, self._concurrency)))
            most = min(most, self._useful)
        return most


class _Average:
    """A moving average."""

    def __init__(self) -> None:
        self._known: float | None = None

    @property
    def seconds(self) -> float:
        return _PAGE_SECONDS if self._known is None else self._known

    def add(self, seconds: float) -> None:
        self._known = seconds if self._known is None else self._known + _WEIGHT * (seconds - self._known)
