"""Decides when to send the next request, so that the server need not refuse it. Pure; one throttle serves all workers.

Each of three parts may hold a request back, and each refusal is attributed to one of them:

- `allowance` waits while answers say that none is left until a reset. It takes a refusal while none is left.
- `crowd` waits while as many are under way as the server has room for. It takes a 503, unless as many were recently let
  in.
- `pace` waits until the next slot has come. It takes every other refusal.
"""

from math import ceil, inf
from typing import Final

import msgspec

from exporter.errors import ThrottledError
from exporter.fetch.pace.allowance import Allowance
from exporter.fetch.pace.concurrency import Crowd
from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.rate import ROUNDED_SECONDS, Pace

#: The assumed duration of a page before one has been read, and the weight of each one after that.
_PAGE_SECONDS: Final = 0.3
_WEIGHT: Final = 0.1
_LEAST_SECONDS: Final = 0.001
#: The workers for each one that is needed on average, by rate and by room, because some come late.
_RATE_HEADROOM: Final = 1.5
_ROOM_HEADROOM: Final = 1.25
#: How many requests may be under way at first, and how many more each answer allows, so that they triple with each
#: round trip: a limit shows to a few requests, at the cost of three round trips where there is none.
_FIRST_IN_FLIGHT: Final = 2
_MORE_FOR_AN_ANSWER: Final = 2
_HTTP_SERVICE_UNAVAILABLE: Final = 503


class Ticket(msgspec.Struct, frozen=True):
    """Represents a request under way: it was sent at `at`, and then `in_flight` were under way, itself included."""

    at: float
    in_flight: int


class Throttle:
    """Holds requests back. Times are seconds of one monotonic clock, rates are requests per second.

    Before each attempt, while `delay_seconds(now)` is above zero, a caller must sleep that long, or until another
    request has come back, and ask again. Then it calls `sent`, and when the request has come back, `refused` if the
    server said 429 or 503, and otherwise `succeeded`, whatever came of it.
    """

    def __init__(self, max_rps: float | None, concurrency: int) -> None:
        self._concurrency: Final = concurrency
        self._pace: Final = Pace(max_rps)
        self._crowd: Final = Crowd(concurrency)
        self._allowance: Final = Allowance()
        self._in_flight = 0
        self._answers = 0
        self._round_trip = _Average()
        self._page = _Average()
        self._pages = 0
        self._useful = concurrency

    @property
    def rate(self) -> float | None:
        """Returns the current rate; None when it is unlimited."""
        return self._pace.rate

    @property
    def learned_rate(self) -> float | None:
        """Returns the rate that refusals have taught; None if there was none."""
        return self._pace.learned

    def delay_seconds(self, now: float) -> float:
        """Returns how long to wait before asking again: 0.0 to send, infinity until another request has come back."""
        if self._in_flight >= min(self._crowd.limit, self._ramp):
            return inf
        wait = max(self._pace.delay_seconds(now), self._allowance.delay_seconds(self._in_flight, now))
        # An endless wait must not begin when no request is under way to end it.
        return wait if self._in_flight or wait < inf else 0.0

    @property
    def _ramp(self) -> int:
        """Returns how many requests may be under way, by how many have been let through so far."""
        return _FIRST_IN_FLIGHT + _MORE_FOR_AN_ANSWER * self._answers

    def sent(self, now: float) -> Ticket:
        """Notes that a request is sent."""
        self._in_flight += 1
        self._pace.sent(now)
        self._allowance.sent(now)
        return Ticket(now, self._in_flight)

    def succeeded(self, sent: Ticket, now: float, quota: Quota | None = None) -> None:
        """Notes that the request was let through, and the quota that its answer states."""
        self._in_flight -= 1
        self._answers += 1
        self._round_trip.add(now - sent.at)
        self._pace.passed(now)
        self._crowd.passed(sent.at, sent.in_flight, now)
        self._allowance.passed(sent.at, now)
        if quota is not None:
            self._allowance.told(quota, now)

    def refused(self, sent: Ticket, now: float, error: ThrottledError) -> None:
        """Notes that the request was refused."""
        wait = error.retry_after_seconds or 0.0
        # A request that was sent later may have arrived before this one.
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
        """Notes how long a page took, from sending the request to having decoded it."""
        self._page.add(seconds)
        self._pages += 1

    def workers_at(self, rate: float) -> int:
        """Returns the number of workers that can ask as fast as `rate`, by how long pages take."""
        return max(1, ceil(min(rate * self._page.seconds * _RATE_HEADROOM, self._concurrency)))

    @property
    def useful_concurrency(self) -> int:
        """Returns the number of workers that can ask as fast as is allowed; `concurrency` when nothing limits them.

        It begins with two, and grows by two with each page, so that a limit shows before there are many. What the rate
        asks for stays as it is while it is neither too small nor twice as large as necessary. Probing counts: where it
        has gone far beyond the rate of the latest refusal, too few workers would hide that the limit has risen.
        """
        most = min(self._concurrency, 2 * (1 + self._pages))
        if self._crowd.limit < self._concurrency:
            # While one worker decodes, another uses its room.
            shifts = max(1.0, self._page.seconds / max(self._round_trip.seconds, _LEAST_SECONDS))
            most = min(most, ceil(self._crowd.limit * shifts * _ROOM_HEADROOM))
        rate = self._pace.rate
        if rate is not None:
            load = rate * self._page.seconds
            if not load * 1.1 <= self._useful <= 2 * load + 1:
                self._useful = self.workers_at(rate)
            most = min(most, self._useful)
        return most


class _Average:
    """Keeps a moving average."""

    def __init__(self) -> None:
        self._known: float | None = None

    @property
    def seconds(self) -> float:
        return _PAGE_SECONDS if self._known is None else self._known

    def add(self, seconds: float) -> None:
        self._known = seconds if self._known is None else self._known + _WEIGHT * (seconds - self._known)
