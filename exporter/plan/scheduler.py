"""Who reads what next: windows that wait, and halves of what the busiest walks have left.

Pure: decides on what the walks have seen, without clock or network. Nothing is split before something is known of its
density, and nothing that a few pages will read; so a sparse range costs few requests more than it has pages.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from exporter.contract import SECOND, Instant
from exporter.model import Interval

#: A window that is given away costs about three requests at its end; what takes fewer pages is not worth it.
_LEAST_PAGES_TO_SPLIT: Final = 4


class Divisible(Protocol):
    """A walk, as far as the scheduler sees it."""

    start: Instant
    end: Instant
    settled_from: Instant
    rows_settled: int

    def give_away_below(self, instant: Instant) -> Interval: ...


@dataclass(slots=True)
class _Seen:
    """What a walk had settled when its density was last taken, and that density (rows a microsecond)."""

    settled_from: Instant
    rows: int = 0
    density: float = 0.0


class Scheduler:
    """Hands out windows, newest first. `oldest`: a guess at where the data begins; it only guides the splits.

    `align` gives the start of the partition that an instant falls into: cuts there leave no small files behind.
    """

    def __init__(self, windows: Iterable[Interval], oldest: Instant, align: Callable[[Instant], Instant]) -> None:
        self._waiting = sorted(windows)
        self._oldest = oldest
        self._align = align
        self._active: dict[Divisible, _Seen] = {}
        self.page_rows = 1
        #: Microseconds to be read in all, from the guessed beginning of the data.
        self.span: Final = self.left

    @property
    def is_done(self) -> bool:
        """No window waits, and no walk is under way that could give one away."""
        return not self._waiting and not self._active

    @property
    def left(self) -> int:
        """Microseconds of the range that are still to be read, from the guessed beginning of the data."""
        waiting = sum(self._length(window.start, window.end) for window in self._waiting)
        return waiting + sum(self._length(walk.start, walk.settled_from) for walk in self._active)

    def take(self) -> Interval | None:
        """A window for an idle worker; None when there is none to be had now."""
        if self._waiting:
            return self._waiting.pop()
        walk = max(self._active, key=self._rows_left, default=None)
        if walk is None or self._rows_left(walk) < _LEAST_PAGES_TO_SPLIT * self.page_rows:
            return None
        start = max(walk.start, self._oldest)
        middle = (start + walk.settled_from) // 2
        edge = self._align(middle)
        cut = edge if start < edge else middle
        return walk.give_away_below(cut) if walk.start < cut < walk.settled_from else None

    def started(self, walk: Divisible) -> None:
        """A worker has begun to read what it took."""
        self._active[walk] = _Seen(walk.settled_from)

    def advanced(self, walk: Divisible, page_rows: int) -> None:
        """The walk has had a page of `page_rows`."""
        self.page_rows = max(self.page_rows, page_rows)
        seen = self._active[walk]
        span, rows = seen.settled_from - walk.settled_from, walk.rows_settled - seen.rows
        # A group of equals, and the last row of a window, are settled over a microsecond, which is no density.
        if span >= SECOND and 2 * rows >= self.page_rows:
            self._active[walk] = _Seen(walk.settled_from, walk.rows_settled, rows / span)

    def ended(self, walk: Divisible) -> None:
        """The walk has read its window, or will read no further."""
        del self._active[walk]

    def _rows_left(self, walk: Divisible) -> float:
        read = max(SECOND, walk.end - walk.settled_from)
        density = max(self._active[walk].density, walk.rows_settled / read)
        return density * self._length(walk.start, walk.settled_from)

    def _length(self, start: Instant, end: Instant) -> Instant:
        return max(0, end - max(start, self._oldest))
