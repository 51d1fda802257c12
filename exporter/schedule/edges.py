"""Measures how dense the rows are at the edges of what a task has read. Pure."""

from collections.abc import Sequence
from typing import Final

from exporter.contract import SECOND
from exporter.coverage import Coverage, Interval

#: Densities are measured on this many pages, if there are as many.
_PAGES_TO_MEASURE: Final = 2
#: The least number of pages a microsecond: less than one in a thousand years.
SPARSE: Final = 1e-17


class Edges:
    """Knows what was `read`, by its `parts`: a window and the number of rows of each."""

    def __init__(self, read: Coverage, parts: Sequence[tuple[Interval, int]], page_size: int) -> None:
        self._starts = {interval.start: interval for interval in read}
        self._ends = {interval.end: interval for interval in read}
        self._parts = sorted(parts)
        self._page_size = page_size

    def beside(self, window: Interval, top: float | None, bottom: float | None) -> tuple[float | None, float | None]:
        """Returns the pages a microsecond right above and below a window that waits, by what was read where it touches
        that, and otherwise by what was known: `top` and `bottom`."""
        above, below = self._starts.get(window.end), self._ends.get(window.start)
        if above is not None:
            top = self._density(above, from_start=True)
        if below is not None:
            bottom = self._density(below, from_start=False)
        if above is None and below is None:
            return top, bottom
        return (bottom if top is None else top), (top if bottom is None else bottom)

    def _density(self, read: Interval, *, from_start: bool) -> float:
        """Returns the pages a microsecond near one edge of an interval that was read."""
        rows, reached = 0, read.start if from_start else read.end
        for window, number in self._parts if from_start else reversed(self._parts):
            if window.end <= read.start or window.start >= read.end:
                continue
            rows += number
            reached = min(window.end, read.end) if from_start else max(window.start, read.start)
            if rows >= _PAGES_TO_MEASURE * self._page_size:
                break
        else:
            reached = read.end if from_start else read.start
        length = reached - read.start if from_start else read.end - reached
        return max(SPARSE, rows / self._page_size / max(SECOND, length))
