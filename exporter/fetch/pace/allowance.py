"""Whether to stop because answers say that no request is left, before the server refuses one. Pure.

What headers say is tried before it is believed: when none is left, one request is sent all the same, and all others
wait for its answer. If it is let through the headers mean something else, and are not heeded again. A refusal while
none is left shows that they mean it, and they are believed for some resets to come; then they are tried anew. No wait
is longer than a minute. So headers that make no sense cost a run a request, or some minutes.

A reset that was never more than a second or two away is left to the pace: rounded up, it says nothing.
"""

from math import inf
from typing import Final

from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.rate import ROUNDED_SECONDS

LONGEST_SECONDS: Final = 60.0
#: Resets that are believed after one trial.
_BELIEVED: Final = 8
#: Answers that differ by less in when they put the reset mean the same.
_SAME_RESET_SECONDS: Final = 1.5


class Allowance:
    """Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        #: None: not yet known whether the headers mean what they say.
        self._is_meant: bool | None = None
        self._resets_until_trial = 0
        self._left = 0
        self._reset_at = -inf
        self._tried_at: float | None = None

    def told(self, quota: Quota, now: float) -> None:
        """An answer said so."""
        if self._is_meant is False:
            return
        reset_at = now + min(quota.reset_seconds, LONGEST_SECONDS)
        if now < self._reset_at and reset_at <= self._reset_at + _SAME_RESET_SECONDS:
            self._left = min(self._left, quota.remaining)
        elif quota.reset_seconds > ROUNDED_SECONDS:
            self._left = quota.remaining
            self._reset_at = reset_at
            self._tried_at = None
            self._resets_until_trial -= 1

    def delay_seconds(self, in_flight: int, now: float) -> float:
        """Seconds until it makes sense to send; infinite: until another answer has come."""
        if now >= self._reset_at or self._left > in_flight:
            return 0.0
        if self._left > 0:
            # Those under way will have what is left.
            return inf if self._is_meant and in_flight else 0.0
        if self._is_meant and self._resets_until_trial > 0:
            return self._reset_at - now
        return 0.0 if self._tried_at is None else inf

    def sent(self, now: float) -> None:
        """A request is sent, perhaps to try."""
        if self._is_exhausted(now) and self._tried_at is None:
            self._tried_at = now

    def passed(self, sent_at: float, now: float) -> None:
        """The request that was sent then was let through."""
        if self._tried_at is not None and sent_at >= self._tried_at:
            # Close to the reset it may have been let through after it.
            if now < self._reset_at - ROUNDED_SECONDS:
                self._is_meant = False
            self._reset_at = -inf
            self._tried_at = None

    def refused(self, now: float) -> bool:
        """A request was refused. Returns whether that is because none was left."""
        if not self._is_exhausted(now):
            return False
        self._is_meant = True
        self._resets_until_trial = _BELIEVED
        return True

    def _is_exhausted(self, now: float) -> bool:
        return self._left == 0 and now < self._reset_at
