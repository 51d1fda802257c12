"""Intervals of time, and sets of them. Pure.

Instants are integers in microseconds (`contract.Instant`); intervals are half-open.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from operator import attrgetter
from typing import Final

import msgspec

from exporter.contract import BEGINNING, Instant, to_datetime


class Period(msgspec.Struct, frozen=True):
    """Represents an interval for Python programs: from `start` (None for the beginning) up to `end`, which is excluded.

    Both are in UTC.
    """

    start: datetime | None
    end: datetime

    @property
    def is_instant(self) -> bool:
        """Returns whether this is one microsecond."""
        return self.start is not None and self.end - self.start <= timedelta(microseconds=1)

    @property
    def seconds(self) -> float | None:
        """Returns how long it is; None from the beginning."""
        return None if self.start is None else (self.end - self.start).total_seconds()


class Interval(msgspec.Struct, frozen=True, order=True):
    """Holds `[start, end)`, which is never empty. An interval that starts at `BEGINNING` is open below."""

    start: Instant
    end: Instant

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"empty interval [{self.start}, {self.end})")

    @property
    def open_below(self) -> bool:
        return self.start <= BEGINNING

    @property
    def since(self) -> Instant | None:
        """Returns the start; None if the interval is open below."""
        return None if self.open_below else self.start

    @property
    def period(self) -> Period:
        return Period(to_datetime(self.since), to_datetime(self.end))

    def __contains__(self, instant: object) -> bool:
        return isinstance(instant, int) and self.start <= instant < self.end


def are_disjoint(intervals: Iterable[Interval]) -> bool:
    """Returns whether no instant is in two of the intervals."""
    return all(one.end <= other.start for one, other in pairwise(sorted(intervals)))


_START: Final = attrgetter("start")


_END: Final = attrgetter("end")


class Coverage:
    """Holds a set of instants as disjoint intervals in ascending order, of which no two touch. What is far from the
    intervals of a small set costs nothing where that is added or taken away."""

    __slots__ = ("intervals",)

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        merged: list[Interval] = []
        for interval in sorted(intervals):
            if merged and interval.start <= merged[-1].end:
                if interval.end > merged[-1].end:
                    merged[-1] = Interval(merged[-1].start, interval.end)
            else:
                merged.append(interval)
        self.intervals: tuple[Interval, ...] = tuple(merged)

    def __or__(self, other: "Coverage") -> "Coverage":
        if len(other.intervals) > len(self.intervals):
            return other | self
        if not other.intervals:
            return self
        first = bisect_left(self.intervals, other.intervals[0].start, key=_END)
        last = bisect_right(self.intervals, other.intervals[-1].end, lo=first, key=_START)
        between = Coverage((*self.intervals[first:last], *other.intervals))
        return self._with(first, between.intervals, last)

    def __sub__(self, other: "Coverage") -> "Coverage":
        if not other.intervals:
            return self
        first = bisect_right(self.intervals, other.intervals[0].start, key=_END)
        last = bisect_left(self.intervals, other.intervals[-1].end, lo=first, key=_START)
        if first == last:
            return self
        left: list[Interval] = []
        holes = iter(other.intervals[bisect_right(other.intervals, self.intervals[first].start, key=_END) :])
        hole = next(holes, None)
        for interval in self.intervals[first:last]:
            start = interval.start
            while hole is not None and hole.start < interval.end:
                if start < hole.start:
                    left.append(Interval(start, hole.start))
                start = max(start, hole.end)
                if hole.end >= interval.end:
                    break
                hole = next(holes, None)
            if start < interval.end:
                left.append(Interval(start, interval.end))
        return self._with(first, left, last)

    def _with(self, first: int, between: Iterable[Interval], last: int) -> "Coverage":
        """Returns a set with other intervals between two positions; they touch none of the rest."""
        found = Coverage()
        found.intervals = (*self.intervals[:first], *between, *self.intervals[last:])
        return found

    def __and__(self, other: "Coverage") -> "Coverage":
        small, large = sorted((self, other), key=lambda one: len(one.intervals))
        return small - (small - large)

    def within(self, interval: Interval) -> bool:
        """Returns whether nothing lies outside `interval`."""
        found = self.intervals
        return not found or (interval.start <= found[0].start and found[-1].end <= interval.end)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coverage) and self.intervals == other.intervals

    def __hash__(self) -> int:
        return hash(self.intervals)

    def __iter__(self) -> Iterator[Interval]:
        return iter(self.intervals)

    def __bool__(self) -> bool:
        return bool(self.intervals)

    def __contains__(self, instant: object) -> bool:
        position = bisect_right(self.intervals, instant, key=_START) if isinstance(instant, int) else 0
        return position > 0 and instant in self.intervals[position - 1]

    def __repr__(self) -> str:
        return f"Coverage({list(self.intervals)!r})"

    @property
    def length(self) -> int:
        """Returns the number of microseconds covered."""
        return sum(interval.end - interval.start for interval in self.intervals)
