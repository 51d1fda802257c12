"""Decides whether to stop because answers say that no request is left, before the server refuses one. Pure.

Headers are tested before they are believed: when none is left, one request is sent nevertheless, and all others
wait for its answer. If it is let through, the headers mean something else, and are not heeded again. A refusal while
none is left shows that they mean it, and they are believed for several resets; then they are tested again. No wait is
longer than a minute. So headers that make no sense cost a run a request, or a few minutes.

A reset that was never more than a second or two away is left to the pace: rounded up, it says nothing.
"""

from math import inf
from typing import Final

from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.rate import ROUNDED_SECONDS

LONGEST_SECONDS: Final = 60.0
#: The number of resets that are believed after one test.
_BELIEVED: Final = 8
#: Two answers mean the same reset if they put it less than this apart.
_SAME_RESET_SECONDS: Final = 1.5


class Allowance:
    """Tracks how many requests are left. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        #: True if the headers mean what they say; None: not known yet.
        self._is_meant: bool | None = None
        self._resets_until_trial = 0
        self._left = 0
        self._reset_at = -inf
        self._tried_at: float | None = None

    def told(self, quota: Quota, now: float) -> None:
        """Takes the quota that an answer states."""
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
        """Returns the seconds until it makes sense to send; infinite: until another answer has come."""
        if now >= self._reset_at or self._left > in_flight:
            return 0.0
        if self._left > 0:
            # The requests under way will use up what is left.
            return inf if self._is_meant and in_flight else 0.0
        if self._is_meant and self._resets_until_trial > 0:
            return self._reset_at - now
        return 0.0 if self._tried_at is None else inf

    def sent(self, now: float) -> None:
        """Notes that a request is sent, perhaps as a test."""
        if self._is_exhausted(now) and self._tried_at is None:
            self._tried_at = now

    def passed(self, sent_at: float, now: float) -> None:
        """Notes that the request sent at `sent_at` was let through."""
        if self._tried_at is not None and sent_at >= self._tried_at:
            # Close to the reset, it may have been let through after the reset.
            if now < self._reset_at - ROUNDED_SECONDS:
                self._is_meant = False
            self._reset_at = -inf
            self._tried_at = None

    def refused(self, now: float) -> bool:
        """Notes that a request was refused. Returns whether the reason is that none was left."""
        if not self._is_exhausted(now):
            return False
        self._is_meant = True
        self._resets_until_trial = _BELIEVED
        return True

    def _is_exhausted(self, now: float) -> bool:
        return self._left == 0 and now < self._reset_at
