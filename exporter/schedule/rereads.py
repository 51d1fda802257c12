"""Chooses which times to read again, because a row there may have changed or moved. Pure."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

from exporter.contract import MILLISECOND, SECOND, Instant
from exporter.coverage import Coverage, Interval
from exporter.model import DataFile

#: A window of its own takes about four requests, however little is in it: this many more rows on a page cost less.
_ROWS_BETWEEN: Final = 500


def density_of(file: DataFile) -> float:
    """Returns the rows a microsecond, roughly."""
    return file.rows / (file.created_at_max - file.created_at_min + 1)


def windows_around(times: Iterable[tuple[Instant, float]]) -> Coverage:
    """Returns windows around all of these `created_at`, each given with the density there, in rows a microsecond.

    Two that have few rows between them share a window.
    """
    windows: list[Interval] = []
    for instant, density in sorted(times):
        if windows and (instant - windows[-1].end) * density <= _ROWS_BETWEEN:
            windows[-1] = Interval(windows[-1].start, max(windows[-1].end, instant + 1))
        else:
            windows.append(Interval(instant, instant + 1))
    return Coverage(windows)


def seams(known: Coverage, fresh: Coverage, times_in: Callable[[Coverage], Iterable[Instant]]) -> Coverage:
    """Returns what of `known`, which was read before, must be read again because `fresh` was read next to it: a second
    beside each place where they meet, unless the times there were served in the same precision before and now.

    A row belongs to a window by the time that was served. One that is served finer or coarser than before may then have
    been on the other side: in neither window, or in both. `times_in` returns times of the first and the last rows of
    parts that reach there.
    """
    if not (known and fresh):
        return Coverage()
    unit = _unit(times_in(fresh))
    if unit is not None and unit == _unit(times_in(known)):
        return Coverage()
    edges = {edge for interval in fresh for edge in (interval.start, interval.end)}
    return known & Coverage([Interval(edge - SECOND, edge + SECOND) for edge in edges])


def breaks(parts: Iterable[tuple[Instant, Instant, Instant, Instant, str]]) -> Coverage:
    """Returns what must be read again of what one run has read, although the precision changed meanwhile: a second
    beside each place where parts of two writers meet whose times were served in different ones, as for `seams`.

    Of each part, it is told where its window starts and ends, when its first and last rows were created, and by whom it
    was written. The pages of one window overlap, and no precision is expected to change while one writer reads.
    """
    edges: set[Instant] = set()
    for lower, upper in pairwise(sorted(parts)):
        (_, end, first, last, writer), (start, _, next_first, next_last, next_writer) = lower, upper
        # Within a part, the precision may have changed as well.
        differ = _unit((first, last)) != _unit((next_first, next_last)) or _unit((last,)) != _unit((next_first,))
        if differ and writer != next_writer:
            edges |= {end, start}
    return Coverage([Interval(edge - SECOND, edge + SECOND) for edge in edges])


def _unit(some: Iterable[Instant]) -> int | None:
    """Returns the precision of these times; None if there are none."""
    times = list(some)
    units = (unit for unit in (SECOND, MILLISECOND, 1) if all(time % unit == 0 for time in times))
    return next(units) if times else None
