"""Follows doubts, which are times that are named as unproven.

A doubt stays until all of its interval has been dropped, or proven by a whole reading, whatever is committed meanwhile
and whether or not its rows have been read yet. What is left of a doubt is itself a doubt.
"""

from collections.abc import Iterable, Iterator

import msgspec

from exporter.coverage import Coverage, Interval
from exporter.model import Unproven


def left_of(doubts: Iterable[Unproven], settled: Coverage, range_: Interval) -> Iterator[Unproven]:
    """Yields what is left of `doubts` within `range_` if nothing is in doubt any longer in `settled`."""
    for doubt in doubts:
        whole = Coverage([doubt.interval])
        left = (whole & Coverage([range_])) - settled
        if left == whole:
            yield doubt
            continue
        for interval in left:
            yield msgspec.structs.replace(doubt, created_at=interval.end - 1, since=interval.start)
