"""Intervals of time, and sets of them. Pure.

Instants are integers in microseconds (`contract.Instant`); intervals are half-open.
"""

from bisect import bisect_right
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


class Coverage:
    """Holds a set of instants as disjoint intervals in ascending order, of which no two touch."""

    __slots__ = ("intervals",)

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        merged: list[Interval] = []
        for interval in sorted(intervals):
            if merged and interval.start <= merged[-1].end:
                if interval.end > merged[-1].end:
                    merged[-1] = Interval(merged[-1].start, interval.end)
            else:
                merged.append(interval)
        self.intervals: Final = tuple(merged)

    def __or__(self, other: "Coverage") -> "Coverage":
        return Coverage((*self.intervals, *other.intervals))

    def __sub__(self, other: "Coverage") -> "Coverage":
        left: list[Interval] = []
        holes = iter(other.intervals)
        hole = next(holes, None)
        for interval in self.intervals:
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
        return Coverage(left)

    def __and__(self, other: "Coverage") -> "Coverage":
        return self - (self - other)

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
