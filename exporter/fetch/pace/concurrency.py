"""Decides how many requests may be under way: a ceiling that the user sets, and a limit that refusals teach. Pure.

A server with room for K requests lets in those that find room and refuses the others, however fast or slowly they come.
So, of the requests under way at the first refusal, those that are not refused are as many as there is room for: that
number is the limit from then on. Later, one more is tried, again and again; when as many as the limit have been let in
with that many under way, the limit is *proven*, and the next step is twice as large.

The same proof tells a full server from a fast client: a request that is refused alone, or while fewer are under way
than were recently let in, is not refused because of the crowd.
"""

from typing import Final

#: The seconds for which a limit holds before one more is tried: longer each time that it turns out to be the same.
_HOLD_SECONDS: Final = (2.0, 20.0)
#: If a server asks for a long wait, the limit holds this many times as long, up to the longest hold.
_HOLD_PER_WAIT: Final = 40
_LONGEST_HOLD_SECONDS: Final = 600.0
_LEAST_PASSED: Final = 4
#: Requests that were let in longer ago than this no longer prove anything.
_MEMORY_SECONDS: Final = 10.0
#: Some of many requests are on the wire and take no room: a limit is accurate to one part in this many.
_BLUR: Final = 8


class Crowd:
    """Keeps the limit of requests under way; times are seconds of one monotonic clock."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling: Final = ceiling
        self.limit = ceiling
        #: The latest limit with which all went well, and when that was last seen.
        self._proven = 0
        self._proven_at = 0.0
        #: Requests that were let in with as many under way as the limit allows, since it was set.
        self._passed = 0
        self._step = 1
        self._cut_at: float | None = None
        self._base = 0
        self._hold_seconds = _HOLD_SECONDS[0]
        self._changed_at = 0.0

    def passed(self, sent_at: float, in_flight: int, now: float) -> None:
        """Notes that a request was let in; `in_flight` were under way when it was sent, itself included."""
        if in_flight < self.limit or sent_at < self._changed_at:
            return
        self._passed += 1
        if self._passed < max(_LEAST_PASSED, self.limit):
            return
        self._proven, self._proven_at = self.limit, now
        if self.limit < self._ceiling and self._cut_at is not None and now >= self._cut_at + self._hold_seconds:
            self.limit = min(self._ceiling, self.limit + self._step)
            self._step *= 2
            self._passed = 0
            self._changed_at = now

    def explains(self, in_flight: int, now: float) -> bool:
        """Returns whether a lack of room may explain a refusal with `in_flight` requests under way."""
        proven = self._proven if now < self._proven_at + _MEMORY_SECONDS else 0
        return in_flight > max(1, proven - proven // _BLUR)

    def refused(self, sent_at: float, in_flight: int, now: float, retry_after_seconds: float) -> None:
        """Notes that a request was refused for lack of room; `in_flight` are under way now, itself included."""
        if self._cut_at is not None and sent_at <= self._cut_at:
            self.limit = max(1, self.limit - 1)
        else:
            self.limit = max(1, min(self.limit, in_flight) - 1)
            doubled = min(2 * self._hold_seconds, _HOLD_SECONDS[1])
            self._hold_seconds = doubled if self.limit == self._base else _HOLD_SECONDS[0]
            asked = min(_HOLD_PER_WAIT * retry_after_seconds, _LONGEST_HOLD_SECONDS)
            self._hold_seconds = max(self._hold_seconds, asked)
            self._cut_at = now
        self._base = self.limit
        self._passed = 0
        self._step = 1
        self._changed_at = now
