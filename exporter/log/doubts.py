"""Follows doubts, which are times that are named as unproven.

A doubt stays until all of its interval has been dropped, or proven by a whole reading, whatever is committed meanwhile
and whether or not its rows have been read yet. What is left of a doubt is itself a doubt.
"""

from collections.abc import Iterable, Iterator

import msgspec

from exporter.contract import SECOND
from exporter.coverage import Coverage, Interval
from exporter.model import Unproven


def left_of(doubts: Iterable[Unproven], settled: Coverage, range_: Interval) -> Iterator[Unproven]:
    """Yields what is left of `doubts` within `range_` if nothing is in doubt any longer in `settled`."""
    for doubt in doubts:
        if not settled and range_.start <= doubt.interval.start and doubt.interval.end <= range_.end:
            yield doubt
            continue
        whole = Coverage([doubt.interval])
        left = (whole & Coverage([range_])) - settled
        if left == whole:
            yield doubt
            continue
        for interval in left:
            yield msgspec.structs.replace(doubt, created_at=interval.end - 1, since=interval.start)


def joined(doubts: Iterable[Unproven]) -> tuple[Unproven, ...]:
    """Returns doubts with the same reason that touch as one, which is what people count.

    Each reading splits them elsewhere, but all pieces of a doubt count the rows of the whole: the largest number holds.
    """
    found = list[Unproven]()
    for piece in sorted(doubts, key=lambda one: (one.reason, one.interval)):
        last, interval = found[-1] if found else None, piece.interval
        if last is not None and last.reason == piece.reason and interval.start <= last.interval.end:
            interval = Interval(last.interval.start, max(last.interval.end, interval.end))
            found[-1] = _doubt_of(interval, max(last.rows, piece.rows), piece.reason)
        else:
            found.append(_doubt_of(interval, piece.rows, piece.reason))
    return tuple(sorted(found, key=lambda one: one.interval))


def _doubt_of(interval: Interval, rows: int, reason: str) -> Unproven:
    since = None if interval.end == interval.start + 1 else interval.start
    return Unproven(interval.end - 1, rows, reason, since)


def spans_of(doubts: Iterable[Unproven]) -> tuple[float | None, ...]:
    """Returns the seconds of each doubt of more than one instant; None if it is open below."""
    intervals = (one.interval for one in doubts)
    return tuple(
        None if interval.open_below else (interval.end - interval.start) / SECOND
        for interval in intervals
        if interval.end > interval.start + 1
    )
