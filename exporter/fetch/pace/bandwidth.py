"""Decides how long to wait after bytes have come, so that all downloads together keep within a rate, and which bytes
come too slowly to be waited for. Pure.

There is one debt, in seconds, which all downloads share: bytes add to it, and time pays it off.
"""

from math import inf
from typing import Final

#: The time that may be saved up while nothing comes.
BURST_SECONDS: Final = 0.1


class Bandwidth:
    """Shares `bytes_per_second`, which must be above 0; None means no limit. Times are seconds of one monotonic clock.

    In any stretch of time, at most *rate x time* pass, and in addition the bytes of 0.1 seconds or, if larger, of one
    chunk.
    """

    def __init__(self, bytes_per_second: float | None) -> None:
        self._bytes_per_second = bytes_per_second
        self._paid_at = -inf

    def pause(self, byte_count: int, now: float) -> float:
        """Returns the seconds to wait before `byte_count` bytes that have come are passed on, and more are read."""
        if self._bytes_per_second is None:
            return 0.0
        self._paid_at = max(self._paid_at, now - BURST_SECONDS) + byte_count / self._bytes_per_second
        return max(0.0, self._paid_at - now)


class LeastRate:
    """Tells a body that comes at less than `bytes_per_second` for `over_seconds`: it would hold its place for hours."""

    def __init__(self, bytes_per_second: float, over_seconds: float, began: float) -> None:
        self._least_bytes = bytes_per_second * over_seconds
        self._over_seconds = over_seconds
        self._since = began
        self._bytes = 0

    def is_met(self, byte_count: int, now: float) -> bool:
        """Takes bytes that have come; `now` is a clock that stands still while the download itself waits."""
        self._bytes += byte_count
        if now - self._since < self._over_seconds:
            return True
        is_met = self._bytes >= self._least_bytes
        self._since, self._bytes = now, 0
        return is_met
