"""Finds where a row that is read again belongs: in the part that may hold it, or in a gap for a new one. Pure.

The windows of parts are disjoint, but a window may reach over other partitions in which there were no rows when it was
read. A row that shows up there later cannot go into that part: it has a home of its own.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TypeAlias

import msgspec

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.model import DataFile

#: Returns the partition of an instant, and the instants that share it (None means all).
Place: TypeAlias = Callable[[Instant], tuple[dict[str, str], Interval | None]]


class Home(msgspec.Struct, frozen=True):
    """Pairs an interval inside one partition with the part whose rows it has; `file` is None in a gap.

    Homes that differ share no instant.
    """

    interval: Interval
    partition: dict[str, str]
    file: DataFile | None


class Homes:
    """Finds the homes inside `coverage`: a gap ends where what has been read does. `files` are a table's live parts."""

    def __init__(self, files: Iterable[DataFile], coverage: Coverage, place: Place) -> None:
        self._files = files
        self._covered = coverage.intervals
        self._place = place

    @cached_property
    def _homes(self) -> list[Home]:
        return sorted((self._own(file) for file in self._files), key=lambda home: home.interval)

    @cached_property
    def _starts(self) -> list[Instant]:
        return [home.interval.start for home in self._homes]

    def __iter__(self) -> Iterator[Home]:
        """Yields the homes of parts, from old to new."""
        return iter(self._homes)

    def of(self, instant: Instant) -> Home:
        """Returns the home of a row with this `created_at`, which must be covered."""
        after = bisect_right(self._starts, instant)
        below = self._homes[after - 1] if after else None
        if below is not None and instant in below.interval:
            return below
        above = self._homes[after] if after < len(self._homes) else None
        covered = self._covered[bisect_right(self._covered, instant, key=_start) - 1]
        partition, shared = self._place(instant)
        bounds = [covered, shared or covered]
        start = max(*(bound.start for bound in bounds), below.interval.end if below else covered.start)
        end = min(*(bound.end for bound in bounds), above.interval.start if above else covered.end)
        return Home(Interval(start, end), partition, None)

    def overlapping(self, gap: Interval) -> list[Home]:
        """Returns the homes of parts whose windows reach into `gap`, though their rows do not."""
        return [
            home
            for home in self._homes
            if home.file is not None and home.file.window.start < gap.end and gap.start < home.file.window.end
        ]

    def _own(self, file: DataFile) -> Home:
        partition, shared = self._place(file.created_at_min)
        window = file.window
        if shared is not None:
            # If a time zone's rules were changed for the past, rows may lie beyond their partition.
            start, end = min(shared.start, file.created_at_min), max(shared.end, file.created_at_max + 1)
            window = Interval(max(window.start, start), min(window.end, end))
        return Home(window, partition, file)


def _start(interval: Interval) -> Instant:
    return interval.start
