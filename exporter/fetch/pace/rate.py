"""Decides how fast to ask: a ceiling that the user sets, and a rate that refusals teach. Pure.

A refusal says that the server's token bucket is empty. This gives two lower bounds for the rate R at which it fills,
neither of which needs to know how full the bucket was at any time:

- Between two refusals, at most what has flowed in can have been let through: R is at least *passed / time*, and exactly
  that unless the bucket overflowed in between.
- In any stretch of time, at most R x time and one full bucket can have been let through: R is at least
  *(passed - bucket) / time*, and exactly that for the stretch that began when the bucket was last full.

After a refusal, all workers go on at about the greatest of these for a while, and then probe: slowly at first, because
R is probably unchanged, then ever faster, because it evidently rose. Until there is a bound, the rate is halved at each
refusal, and doubled in between every two seconds, but not before a few requests have passed: where R is low, two
seconds say nothing. The first refusal comes after so few requests that the time between them says nothing of R either;
the rate after it assumes that it was longer.

`Retry-After` stops all workers. But a second or two may have been rounded up from anything, even a fiftieth of a
second; once the rate is known, such a wait stops them only for as long as half a bucket takes to fill, which loses
nothing.
"""

from collections import deque
from math import inf
from typing import Final

import msgspec

#: The size that a limiter's bucket is taken to have, in requests; the next refusal shows if it holds more.
_BUCKET: Final = 5
#: A bound from fewer requests or less time than this is noise; one older than the memory may no longer hold.
_LEAST_PASSED: Final = 8
_LEAST_SECONDS: Final = 0.5
_LEAST_STRETCH_SECONDS: Final = 1.0
_MEMORY_SECONDS: Final = 16.0
#: More refusals than this, per request passed since the latest bound, show that R has fallen: older bounds are void.
_FALLEN: Final = 0.03
#: Refusals that cost nothing teach nothing up to this share of the requests passed: at many requests a second, the
#: jitter of their arrivals empties the bucket now and then. The refusals that probing provokes, per second, count
#: towards it.
_TOLERATED: Final = 0.015
_PROBES_PER_SECOND: Final = 0.12
_MOST_TOLERATED: Final = 3.0
#: The part of the rate to go on with after a refusal during a hold, which proves that the rate was too high.
_BELOW: Final = 0.995
#: Slots to leave out after a refusal that teaches. What flows in meanwhile is not lost: it absorbs the next jitter.
_PAUSE: Final = 2
_LEAST_RATE: Final = 1 / 60
_DOUBLING_SECONDS: Final = 2.0
_DOUBLING_PASSED: Final = 4
#: The requests before the first refusal are taken to have been spread over this at least.
_FIRST_SECONDS: Final = 0.25
#: A hold lasts this many requests, within these seconds, and at least this many times what the refusal cost: the
#: smaller multiple where the larger would exceed ten minutes. It lasts no longer than this many times the time since
#: the refusal before, because a bound is as good as the time that it spans.
_HOLD_REQUESTS: Final = 250
_HOLD_SECONDS: Final = (2.0, 11.0)
_HOLD_PER_LOST: Final = (40, 10)
_LONG_HOLD_SECONDS: Final = 600.0
_HOLD_PER_SPAN: Final = 4
#: The growth of probing, by its seconds and their square, during its first seconds. Then it doubles every few seconds:
#: the rate has been multiplied by four without a refusal, so the limit has risen, and nothing says how far.
_PROBE: Final = (0.01, 0.02)
_PROBE_SECONDS: Final = 12.0
_PROBE_DOUBLING_SECONDS: Final = 5.0
_SAMPLE_SECONDS: Final = 0.25
#: The number of requests that may follow one another at once when workers come late for their slots.
_BURST: Final = 3
_NEGLIGIBLE_SECONDS: Final = 1e-6
#: The most that rounding up to whole seconds, of a date on both sides, may have made out of next to nothing.
ROUNDED_SECONDS: Final = 2.0


class _Mark(msgspec.Struct, frozen=True):
    """Holds counts at a moment: requests passed, refusals learned from, and seconds in which the bucket overflowed."""

    at: float
    passed: int
    refusals: int
    lost_seconds: float


class Pace:
    """Paces requests. Times are seconds of one monotonic clock, rates are requests per second."""

    def __init__(self, ceiling: float | None) -> None:
        self._ceiling: Final = ceiling
        #: The rate after the latest refusal, and whether a bound was known then. None: never refused.
        self._base: float | None = None
        self._is_measured = False
        #: Whether nothing at all had passed between the latest two refusals.
        self._is_shut = False
        self._hold_seconds = 0.0
        self._free_at = -inf
        #: The next request must not be sent before this, whatever the rate: between two, the ceiling allows no burst.
        self._ceiling_at = -inf
        self._blocked_until = 0.0
        self._tolerance = 0.0
        self._passed = 0
        self._lost_seconds = 0.0
        self._refusals: deque[_Mark] = deque(maxlen=64)
        #: Pairs of (time, requests passed) since the latest refusal.
        self._samples: deque[tuple[float, int]] = deque(maxlen=round(_MEMORY_SECONDS / _SAMPLE_SECONDS))
        #: The current rate; None: unlimited.
        self.rate = ceiling

    @property
    def learned(self) -> float | None:
        """Returns the rate that refusals have taught; None if there was none."""
        return None if self._base is None else self.rate

    def delay_seconds(self, now: float) -> float:
        """Returns the seconds until the next request may be sent."""
        self.rate = self._rate_at(now)
        wait = max(self._blocked_until, self._free_at, self._ceiling_at) - now
        return wait if wait > _NEGLIGIBLE_SECONDS else 0.0

    def sent(self, now: float) -> None:
        """Notes that a request takes its slot."""
        slot = 1 / self.rate if self.rate else 0.0
        self._free_at = max(self._free_at, now - (_BURST - 1) * slot) + slot
        if self._ceiling is not None:
            self._ceiling_at = now + 1 / self._ceiling
        self._sample(now)

    def passed(self, now: float) -> None:
        """Notes that a request was let through."""
        self._passed += 1
        if self.rate:
            tolerated = max(0.0, _TOLERATED - _PROBES_PER_SECOND / self.rate)
            self._tolerance = min(self._tolerance + tolerated, _MOST_TOLERATED)
        self._sample(now)

    def block(self, until: float) -> None:
        """Lets nothing be sent before `until`."""
        self._blocked_until = max(self._blocked_until, until)

    def refused(self, sent_at: float, now: float, retry_after_seconds: float) -> None:
        """Notes that the request sent at `sent_at` was refused."""
        rate = self._rate_at(now)
        # Requests that were under way at the latest refusal teach nothing new.
        is_echo = bool(self._refusals) and sent_at <= self._refusals[-1].at
        if self._is_measured and rate is not None and retry_after_seconds <= ROUNDED_SECONDS:
            retry_after_seconds = min(retry_after_seconds, _BUCKET / 2 / rate)
        waited_for = max(self._blocked_until, now)
        self.block(now + retry_after_seconds)
        # What flows in while all workers wait is lost once the bucket is full.
        spare = 0.0 if is_echo or rate is None else _BUCKET / rate
        lost = max(0.0, self._blocked_until - waited_for - spare)
        if not is_echo and not lost and self._tolerance >= 1:
            self._tolerance -= 1
            return
        if not is_echo:
            rate = self._learn(now, lost)
        self._lost_seconds += lost
        if rate is not None:
            self.rate = rate
            self._free_at = max(self._blocked_until, now + _PAUSE / rate)

    def _sample(self, now: float) -> None:
        if not self._samples or now >= self._samples[-1][0] + _SAMPLE_SECONDS:
            self._samples.append((now, self._passed))

    def _rate_at(self, now: float) -> float | None:
        if self._base is None:
            return self._ceiling
        quiet = now - self._refusals[-1].at
        if self._is_measured:
            probing = max(0.0, quiet - self._hold_seconds)
            cautious = min(probing, _PROBE_SECONDS)
            doublings = min((probing - cautious) / _PROBE_DOUBLING_SECONDS, 64)
            rate = self._base * (1 + _PROBE[0] * cautious + _PROBE[1] * cautious**2) * 2**doublings
        else:
            doublings = min(quiet / _DOUBLING_SECONDS, 64)
            if not self._is_shut:
                doublings = min(doublings, (self._passed - self._refusals[-1].passed) / _DOUBLING_PASSED)
            rate = self._base * 2**doublings
        return rate if self._ceiling is None else min(rate, self._ceiling)

    def _learn(self, now: float, lost_seconds: float) -> float:
        """Sets the rate to go on with after a refusal, and how long to hold it. Returns the rate."""
        # When nothing at all gets through, the rate is not the reason; what will be allowed after that is unknown.
        self._is_shut = len(self._refusals) > 0 and self._passed == self._refusals[-1].passed
        bounds = [] if self._is_shut else self._bounds(now)
        span = now - self._refusals[-1].at if self._refusals else 0.0
        if bounds:
            base = max(bounds) * (_BELOW if span <= self._hold_seconds else 1.0)
        elif self._base is None:
            first = self._samples[0][0] if self._samples else now
            base = max(1, self._passed) / max(now - first, _FIRST_SECONDS) / 2
        else:
            base = (self._rate_at(now) or self._base) / 2
        base = max(base, _LEAST_RATE)
        costly = min(_HOLD_PER_LOST[0] * lost_seconds, max(_LONG_HOLD_SECONDS, _HOLD_PER_LOST[1] * lost_seconds))
        hold = max(_HOLD_SECONDS[0], min(_HOLD_REQUESTS / base, _HOLD_SECONDS[1]), costly)
        # The first bound comes from a steep rise, and is rough.
        longest = _HOLD_PER_SPAN * span if self._is_measured else 0.0
        self._hold_seconds = min(hold, max(_HOLD_SECONDS[0], longest))
        self._is_measured = bool(bounds)
        self._base = base
        count = self._refusals[-1].refusals + 1 if self._refusals else 1
        self._refusals.append(_Mark(now, self._passed, count, self._lost_seconds))
        self._samples.clear()
        self._sample(now)
        return base if self._ceiling is None else min(base, self._ceiling)

    def _bounds(self, now: float) -> list[float]:
        """Returns lower bounds for the rate that the server allows; none when too little is known."""
        bounds = [
            (self._passed - passed - _BUCKET) / (now - since)
            for since, passed in self._samples
            if self._passed - passed >= _LEAST_PASSED and now - since >= _LEAST_STRETCH_SECONDS
        ]
        latest = True
        for mark in reversed(self._refusals):
            passed = self._passed - mark.passed
            seconds = now - mark.at - (self._lost_seconds - mark.lost_seconds)
            if passed < _LEAST_PASSED or seconds < _LEAST_SECONDS:
                continue
            if latest and self._refusals[-1].refusals - mark.refusals + 1 > _FALLEN * passed:
                return [passed / seconds]
            if latest or now - mark.at <= _MEMORY_SECONDS:
                bounds.append(passed / seconds)
            latest = False
        return bounds
