"""Cuts a range into windows that processes read apart from one another. Pure.

A window that was given away is never cut again, so there are many more than processes: a burst then keeps one of them
busy for longer, and not all of the others waiting.
"""

from itertools import pairwise
from math import ceil
from typing import Final

from exporter.contract import Instant
from exporter.coverage import Interval

#: A window costs about five requests beside its pages, which is little beside the hundred pages of this many rows.
_ROWS: Final = 100_000
#: More windows than this for each slot are cut neither finer nor more evenly.
_MOST_FOR_A_SLOT: Final = 32
#: The slots of an engine that does not tell: at least, and at most.
_LEAST_SLOTS: Final = 8
_MOST_SLOTS: Final = 32


def window_count(rows: float | None, slots: int | None, page_size: int) -> int:
    """Returns the number of windows for about this many rows, or for an unknown number, in so many slots."""
    least = slots or _LEAST_SLOTS
    if rows is None:
        return least
    most = _MOST_FOR_A_SLOT * (slots or _MOST_SLOTS)
    return max(1, min(max(ceil(rows / _ROWS), least), ceil(rows / page_size), most))


def even_cut(range_: Interval, oldest: Instant, windows: int) -> list[Interval]:
    """Returns this many windows, or fewer in a range of as few microseconds, which together are the range, ascending.

    They are of equal length from `oldest` on, at about which the data begins; the first also has what lies below.
    """
    start = min(max(oldest, range_.start), range_.end - 1)
    length = range_.end - start
    cuts = sorted({start + length * number // windows for number in range(1, windows)} - {start})
    bounds = [range_.start, *cuts, range_.end]
    return [Interval(one, other) for one, other in pairwise(bounds)]
