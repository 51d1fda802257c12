"""Remembers at which times bounds were not shifted, as those are that an API takes for the local time of a zone. Pure.

Such a zone may agree with UTC in winter alone, so that a bound tells nothing of one in another season. But no zone
agrees with UTC before and after a time, and not at it, within weeks.
"""

from bisect import bisect_left, bisect_right
from typing import Final

from exporter.contract import DAY, HOUR, MINUTE, Instant

#: No change of a zone's clocks moves them by less.
LEAST_ZONE_SHIFT: Final = 15 * MINUTE
#: Nor by as much.
MOST_ZONE_SHIFT: Final = 3 * HOUR
#: Clocks are not changed and changed back within twice this time.
_FARTHEST: Final = 30 * DAY


class Unshifted:
    """Holds the times, by the hour, at which a bound has shown a row that a shifted one would have left out."""

    def __init__(self) -> None:
        self._hours: list[Instant] = []

    def note(self, bound: Instant, newest: Instant) -> None:
        """Notes the newest row that was shown up to a bound: if it is near enough, the bound was not shifted."""
        hour = bound // HOUR * HOUR
        at = bisect_left(self._hours, hour)
        if bound - newest < LEAST_ZONE_SHIFT and self._hours[at : at + 1] != [hour]:
            self._hours.insert(at, hour)

    def covers(self, bound: Instant) -> bool:
        """Returns whether bounds shortly before and shortly after this time were not shifted."""
        before = bisect_right(self._hours, bound - HOUR) - 1
        after = bisect_right(self._hours, bound)
        if before < 0 or after == len(self._hours):
            return False
        return bound - self._hours[before] < _FARTHEST and self._hours[after] - bound < _FARTHEST
