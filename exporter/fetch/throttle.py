"""How fast to ask: a ceiling that the user sets, and a rate that the server's refusals teach. Pure; one for all workers.

A refusal says that the server's token bucket is empty. Hence two lower bounds for the rate R at which it fills, neither
of which needs to know how full it was when:

- between two refusals no more can have been let through than has flowed in: R is at least *passed / time*, and just
  that, unless the bucket overflowed in between;
- in any stretch of time no more than R x time and one full bucket: R is at least *(passed - bucket) / time*, and just
  that for the stretch that began when the bucket was last full.

After a refusal everybody goes on a little below the greatest of these, for a while, and then probes: slowly at first,
since R has probably not changed, then faster and faster, since it has. The more a refusal costs (`Retry-After: 1` stops
everything for a second, a hundred requests' worth) the longer the while.
"""

from collections import deque
from typing import Final

#: What a limiter's bucket is taken to hold, in requests; a larger one is found out by the refusal that follows.
_BUCKET: Final = 5
#: A bound that rests on fewer requests than this is noise.
_ENOUGH: Final = 8
_LEAST_RATE: Final = 1 / 60
_BELOW: Final = 0.99
_HOLD_SECONDS: Final = 8.0
#: A hold is at least so many times what the refusal before it cost.
_HOLD_PER_LOST: Final = 40.0
_DOUBLING_SECONDS: Final = 2.0
_SAMPLE_SECONDS: Final = 0.25
_SAMPLES: Final = 80
_LEAST_STRETCH_SECONDS: Final = 1.0
#: Requests that may follow one another at once when a worker comes late for its slot.
_BURST: Final = 3
#: Refusals of requests that were under way when the rate was cut teach nothing new, but not longer than this.
_ECHO_SECONDS: Final = 2.0
_NEGLIGIBLE_SECONDS: Final = 1e-6


class Throttle:
    """The pace of all requests. Times are seconds of one monotonic clock; `max_rps` and `rate` are requests a second.

    Before each attempt: while `delay_seconds(now)` is above zero, sleep that long and ask again; zero reserves the slot
    to send in. After each attempt: `refused` when the server said 429 or 503, else `succeeded`, whatever came of it.
    """

    def __init__(self, max_rps: float | None, concurrency: int) -> None:
        self._ceiling: Final = max_rps
        self._concurrency: Final = concurrency
        #: The rate after the latest refusal, and whether it was measured or is still a guess. None: never refused.
        self._base: float | None = None
        self._measured = False
        self._hold_seconds = _HOLD_SECONDS
        self._refused_at = 0.0
        self._echoes = 0
        self._in_flight = 0
        self._passed = 0
        self._free_at = 0.0
        self._blocked_until = 0.0
        #: (time, requests passed) of past refusals, and at intervals since the latest of them.
        self._refusals: deque[tuple[float, int]] = deque(maxlen=64)
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)
        self.rate: float | None = max_rps

    def delay_seconds(self, now: float) -> float:
        """Seconds until it is worth asking again for a slot; 0.0: the slot is reserved, send."""
        self.rate = self._rate_at(now)
        slot = 1 / self.rate if self.rate else 0.0
        wait = max(self._blocked_until, self._free_at - (_BURST - 1) * slot) - now
        if wait > _NEGLIGIBLE_SECONDS:
            return wait
        self._free_at = max(self._free_at, now) + slot
        self._in_flight = min(self._in_flight + 1, self._concurrency)
        self._sample(now)
        return 0.0

    def succeeded(self, now: float) -> None:
        """An attempt was let through."""
        self._landed()
        self._passed += 1
        self._sample(now)

    def refused(self, now: float, retry_after_seconds: float | None) -> None:
        """An attempt was refused for coming too fast; everybody waits for `retry_after_seconds`."""
        is_echo = self._echoes > 0 and now < self._refused_at + _ECHO_SECONDS
        self._landed()
        blocked_before = max(self._blocked_until, now)
        self._blocked_until = max(self._blocked_until, now + (retry_after_seconds or 0.0))
        if not is_echo:
            self._learn(now)
        rate = self.rate = self._rate_at(now) or 1.0
        lost = self._blocked_until - (now if not is_echo else blocked_before) - _BUCKET / rate
        if not is_echo:
            self._hold_seconds = _HOLD_SECONDS
        self._hold_seconds = max(self._hold_seconds, _HOLD_PER_LOST * lost)
        self._free_at = max(self._blocked_until, now + 1 / rate) + (_BURST - 1) / rate

    def _landed(self) -> None:
        self._in_flight = max(0, self._in_flight - 1)
        self._echoes = max(0, self._echoes - 1)

    def _sample(self, now: float) -> None:
        if not self._samples or now >= self._samples[-1][0] + _SAMPLE_SECONDS:
            self._samples.append((now, self._passed))

    def _rate_at(self, now: float) -> float | None:
        if self._base is None:
            return self._ceiling
        quiet = now - self._refused_at
        if not self._measured:
            rate = self._base * 2 ** min(quiet / _DOUBLING_SECONDS, 64)
        else:
            probing = max(0.0, quiet - self._hold_seconds)
            rate = self._base * (1 + 0.01 * probing + 0.02 * probing**2)
        return rate if self._ceiling is None else min(rate, self._ceiling)

    def _learn(self, now: float) -> None:
        bounds = [
            (self._passed - passed - _BUCKET) / (now - since)
            for since, passed in self._samples
            if self._passed - passed >= _ENOUGH and now - since >= _LEAST_STRETCH_SECONDS
        ]
        while len(self._refusals) > 1 and self._passed - self._refusals[1][1] >= _ENOUGH:
            self._refusals.popleft()
        for since, passed in list(self._refusals)[:1]:
            if self._passed - passed >= _ENOUGH:
                bounds.append((self._passed - passed) / (now - since))
        current = self._rate_at(now)
        soon = bool(self._refusals) and self._passed - self._refusals[-1][1] < _ENOUGH
        if bounds:
            base = _BELOW * max(bounds)
            if soon and current is not None:
                base = min(base, 0.8 * current)
            self._measured = True
        else:
            first = self._samples[0][0] if self._samples else now
            fresh = max(1, self._passed) / max(now - first, 0.01)
            base = (fresh if current is None else min(current, fresh) if not self._refusals else current) / 2
        self._base = max(base, _LEAST_RATE)
        self._refused_at = now
        self._echoes = self._in_flight
        self._refusals.append((now, self._passed))
        self._samples.clear()
        self._sample(now)
