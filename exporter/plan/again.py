"""Which times to read again for conversations that were not over when they were read. Pure."""

from collections.abc import Iterable
from typing import Final

from exporter.contract import Instant
from exporter.model import Coverage, Interval

#: A window of its own takes about four requests, however little is in it: so many rows more on a page cost less.
_ROWS_BETWEEN: Final = 500


def windows_around(open_rows: Iterable[tuple[Instant, float]]) -> Coverage:
    """Windows that hold all of these times of `created_at`, each given with the density there, in rows a microsecond.

    Two that have few rows between them share a window.
    """
    windows: list[Interval] = []
    for instant, density in sorted(open_rows):
        if windows and (instant - windows[-1].end) * density <= _ROWS_BETWEEN:
            windows[-1] = Interval(windows[-1].start, max(windows[-1].end, instant + 1))
        else:
            windows.append(Interval(instant, instant + 1))
    return Coverage(windows)
