"""Tells how large a file of a number of rows is, by a few that were made. Pure.

A file with few rows is mostly what each file has: statistics, the names of columns, pages that hardly pack.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

#: Files of about this many rows are made; what lies between is interpolated.
STEPS: Final = (1, 4, 16, 64, 256)


@dataclass(slots=True)
class FileSizes:
    """Holds the sizes in bytes of files, by their number of rows, and that of one that is empty."""

    empty: int = 0
    made: dict[int, list[int]] = field(default_factory=dict)

    def add(self, rows: int, size_bytes: int) -> None:
        self.made.setdefault(rows, []).append(size_bytes)

    def of(self, rows: float) -> float:
        """Returns about how many bytes a file of this many rows has; 0 if nothing was made."""
        points = [(0, float(self.empty)), *((each, sum(of) / len(of)) for each, of in sorted(self.made.items()))]
        most = points[-1][0]
        if not most:
            return 0.0
        if rows >= most:
            # The largest are whole pages, of which each has rows of other times.
            whole = [(each, size) for each, size in points if 2 * each > most]
            one = sum(size - self.empty for _, size in whole) / sum(each for each, _ in whole)
            return self.empty + one * rows
        place = bisect_left(points, rows, key=lambda point: point[0])
        (below, small), (above, large) = points[max(0, place - 1)], points[max(1, place)]
        return small + (large - small) * (rows - below) / (above - below)
