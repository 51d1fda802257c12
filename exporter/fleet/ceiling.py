"""Keeps all requests to one host under a ceiling, whoever sends them. Pure.

Requests that leave evenly do not arrive evenly: one that is held up on its way meets those that follow it, and for a
moment a server sees more than left. So a window of requests (about a second's worth) ends when the first of them *has
come back*, and not when it was sent; one that takes long counts as arrived after a thirtieth of the window. Thus the
host sees no more than the ceiling in any window as long as requests arrive within that time, and the rate is at least
96 % of the ceiling however long answers take.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

#: The most requests that one window is made of.
_MOST_IN_WINDOW: Final = 1000
_LATE: Final = 1 / 30
_NEGLIGIBLE_SECONDS: Final = 1e-6


@dataclass(slots=True)
class Sending:
    """Represents a request that was sent `at`; `landed_at` is when its answer came, if it has come."""

    at: float
    landed_at: float | None = None


class Ceiling:
    """Says when the next request may be sent. Times are seconds of one monotonic clock.

    `max_rps` may change at any time; None means that there is no ceiling.
    """

    def __init__(self) -> None:
        self.max_rps: float | None = None
        self._sent: deque[Sending] = deque(maxlen=_MOST_IN_WINDOW)

    def delay_seconds(self, now: float) -> float:
        """Returns the seconds until the next request may be sent."""
        if self.max_rps is None or not self._sent:
            return 0.0
        in_window = int(max(1, min(self.max_rps, _MOST_IN_WINDOW)))
        window_seconds = in_window / self.max_rps
        at = self._sent[-1].at + 1 / self.max_rps
        if len(self._sent) >= in_window:
            first = self._sent[-in_window]
            arrived = first.at + window_seconds * _LATE
            if first.landed_at is not None:
                arrived = min(arrived, first.landed_at)
            at = max(at, arrived + window_seconds)
        wait = at - now
        return wait if wait > _NEGLIGIBLE_SECONDS else 0.0

    def sent(self, now: float) -> Sending:
        """Notes that a request is sent; `landed_at` is for the caller to set."""
        sending = Sending(now)
        self._sent.append(sending)
        return sending
