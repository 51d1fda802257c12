"""Decides what the next task reads elsewhere, and for how long. Pure.

A task reads what it was given from new to old, and ends at its budget at the latest. What it has not read goes back,
with the density that it has met above and below. So a range is not cut before anything is known of it: each piece is
cut when a task takes it, by what all tasks have met until then.

A piece holds about as many pages as a task reads within its budget. Where nothing was read yet, it is expected to be as
dense as what was met last; but then a piece is a small part of the range at most, because a burst may hide in it.
What no task has begun comes first, newest first, and then what tasks have left: the sooner each burst is known, the
better is known how much is left. Budgets shrink with that, because the last tasks end together only if they are short.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import sqrt
from typing import Final

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.schedule.edges import SPARSE, Edges
from exporter.schedule.stretch import Stretch

#: How long a task should take at most and at least, and how long the first ones: until they end, nothing is known of
#: how dense the list is and how fast it is read, and no progress is shown.
_MOST_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 5.0
_FIRST_SECONDS: Final = 15.0
#: It must end after this many times as long, if its piece holds more than expected; twice as many for each try.
_HEADROOM: Final = 2.0
#: Each slot should take this many more pieces of what is left.
_ROUNDS: Final = 1.0
#: Where nothing was read yet, a piece is at most this part of what a slot has to read.
_PIECES_A_SLOT: Final = 4
#: Nothing is cut into more pieces than this, however dense it seems: many rows of one instant say little of the rest.
_MOST_PIECES_A_SLOT: Final = 32
#: A piece has no more windows than this.
_MOST_WINDOWS: Final = 64
#: A piece that was tried this often is given up.
_MOST_TRIES: Final = 3
#: A piece has no fewer pages than this, because each task makes some requests that bring none.
_LEAST_PIECE_PAGES: Final = 16
#: So few, if otherwise a slot would have nothing to do.
_LEAST_SHARED_PAGES: Final = 8
#: A task reads this many pages a second, until one has shown how many it does.
_FIRST_SPEED: Final = 10.0
#: What is expected of the rest of the range is what was met on the latest share of it.
_MEMORY: Final = 1 / 64
#: A piece may be this many times as long, or as short, if that puts its end at the start of a partition or of
#: what waits.
_ALIGNMENT: Final = 1.2
#: What fewer pages than this hold is read sooner than a task has started. There may be many more than the end of the
#: range lets expect, and to read these alone is the dearer mistake.
_LEAST_PAGES: Final = 32
#: What must be expected to hand over in the middle of a reading, in times of that.
_PRICE_OF_A_HANDOVER: Final = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """Says what one task reads: disjoint `windows`, ascending, for at most about `budget_seconds`. It was tried `tries`
    times before. `density` is the rows a microsecond that are expected at the end of the last window, if it is known.
    """

    windows: tuple[Interval, ...]
    budget_seconds: float
    tries: int = 0
    density: float | None = None


@dataclass(frozen=True, slots=True)
class _Rest:
    """Holds a window that waits: the pages a microsecond that were met right above and below it, both None if nothing
    was read there yet, and how often it was tried."""

    window: Interval
    top: float | None = None
    bottom: float | None = None
    tries: int = 0


def is_worth_it(left: Coverage, *, oldest: Instant, density: float | None, page_size: int) -> bool:
    """Returns whether what is left is worth a task: it fills many pages at `density` rows a microsecond.

    Without a density, the list has few rows, or those of its end were all created at once.
    """
    rows = (density or 0.0) * sum(_length(window, oldest) for window in left)
    return rows >= _LEAST_PAGES * page_size


def is_worth_handing_over(pages: float) -> bool:
    """Returns whether what is left is worth tasks that must wait for what is being read to end, if it has this many
    pages."""
    return pages >= _PRICE_OF_A_HANDOVER * _LEAST_PAGES


class Shares:
    """Hands out what is `left`. The data begins at about `oldest`, which only guides the cuts.

    `density` is the rows a microsecond where `left` ends, if it is known. `align` returns the start of the partition
    that an instant falls into: cuts there leave no small files behind. The number of `slots` may change at any time.
    """

    def __init__(
        self,
        left: Coverage,
        *,
        oldest: Instant,
        density: float | None,
        slots: int,
        align: Callable[[Instant], Instant],
        page_size: int,
    ) -> None:
        self._waiting = [_Rest(window) for window in left]
        self._running: dict[Piece, list[_Rest]] = {}
        self._oldest: Final = oldest
        self._first_density: Final = None if density is None else density / page_size
        self._align: Final = align
        self._page_size: Final = page_size
        self._pages = 0.0
        self._seconds = 0.0
        self._met_pages = self._met_microseconds = 0.0
        self._span: Final = self.left_microseconds
        self.slots = slots

    @property
    def is_done(self) -> bool:
        """Returns whether nothing waits, and no task could give anything back."""
        return not self._waiting and not self._running

    @property
    def waits(self) -> bool:
        """Returns whether something waits for a slot."""
        return bool(self._waiting)

    @property
    def left_microseconds(self) -> int:
        """Returns how much is still to be read, from the guessed beginning of the data; what runs counts in full."""
        windows = chain((rest.window for rest in self._waiting), *(piece.windows for piece in self._running))
        return sum(_length(window, self._oldest) for window in windows)

    @property
    def reading(self) -> tuple[Instant, Instant] | None:
        """Returns where the tasks under way read, from the start of the oldest to the end of the newest."""
        if not self._running:
            return None
        start = max(self._oldest, min(piece.windows[0].start for piece in self._running))
        return start, max(start, *(piece.windows[-1].end for piece in self._running))

    def take(self) -> Piece | None:
        """Returns what a free slot reads next, or None if nothing waits now."""
        if not self._waiting:
            return None
        budget = self._budget_seconds()
        idle = self.slots - len(self._running)
        pages = max(_LEAST_PIECE_PAGES, self._speed * budget)
        if idle > 1:
            # The others would have nothing to do.
            pages = min(pages, max(_LEAST_SHARED_PAGES, self._pages_waiting / idle))
        unseen = self._span / (self.slots * _PIECES_A_SLOT)
        if is_known := bool(self._met_microseconds or self._first_density):
            small = self._speed * _FIRST_SECONDS / self._expected
            unseen = max(unseen, min(small, self._span / self.slots))
        newest = self._waiting[-1]
        taken: list[_Rest] = []
        while self._waiting and self._waiting[-1].tries == newest.tries and len(taken) < _MOST_WINDOWS:
            rest = self._waiting.pop()
            stretch = self._stretch(rest)
            depth = stretch.depth_of(pages)
            kept = self._cut(rest, max(min(depth, unseen), stretch.length / (self.slots * _MOST_PIECES_A_SLOT)))
            taken.append(kept)
            length = _length(kept.window, self._oldest)
            pages, unseen = pages - stretch.pages_above(length), unseen - length
            if kept != rest or pages <= 0 or unseen <= 0:
                break
        windows = Coverage(rest.window for rest in taken).intervals
        top = self._expected if newest.top is None and is_known else newest.top
        density = None if top is None else top * self._page_size
        # Until one has shown how fast tasks read, a piece may hold much more or much less.
        slack = _HEADROOM if self._seconds else _HEADROOM**2
        piece = Piece(windows, budget * slack * 2**newest.tries, newest.tries, density)
        self._running[piece] = taken
        return piece

    def ended(
        self,
        piece: Piece,
        covered: Coverage,
        parts: Sequence[tuple[Interval, int]],
        seconds: float,
        *,
        has_failed: bool = False,
    ) -> bool:
        """Notes that a task has `covered` some of its piece in `seconds`, and the windows and rows of its `parts`. The
        rest goes back, as tried once more if the task `has_failed` or has covered nothing.

        Returns False after the third try of the same times: then the run must end. Raises `KeyError`, and changes
        nothing, for a piece that no task reads.
        """
        read = Coverage(piece.windows) & covered
        if not read:
            return self.lost(piece)
        taken = self._running.pop(piece)
        pages = sum(rows for _, rows in parts) / self._page_size
        length = sum(_length(window, self._oldest) for window in read)
        # The requests that bring nothing are too large a share of a small task.
        if pages >= _LEAST_PIECE_PAGES or read != Coverage(piece.windows):
            self._pages += pages
            self._seconds += seconds
        if taken[0].top is None:
            kept = max(0.0, 1 - length / (self._span * _MEMORY)) if self._span else 0.0
            self._met_pages = self._met_pages * kept + pages
            self._met_microseconds = self._met_microseconds * kept + length
        edges = Edges(read, parts, self._page_size)
        tries = piece.tries + 1 if has_failed else 0
        left = [
            replace(_beside(edges, replace(rest, window=window)), tries=tries)
            for rest in taken
            for window in Coverage([rest.window]) - read
        ]
        # What a task has left may turn out to be the beginning of a desert.
        self._waiting = [rest if rest.top is None else _beside(edges, rest) for rest in self._waiting]
        self._put_back(left)
        return tries < _MOST_TRIES or not left

    def lost(self, piece: Piece) -> bool:
        """Notes that a task has brought nothing: its piece goes back whole. Returns False after the third try of the
        same times: then the run must end. Raises `KeyError` for a piece that no task reads."""
        self._put_back(replace(rest, tries=piece.tries + 1) for rest in self._running.pop(piece))
        return piece.tries + 1 < _MOST_TRIES

    def _put_back(self, left: Iterable[_Rest]) -> None:
        self._waiting += left
        self._waiting.sort(key=lambda rest: (rest.top is None, rest.window))

    @property
    def _expected(self) -> float:
        """Returns the pages a microsecond that are expected where nothing was read yet."""
        if self._met_microseconds:
            return max(SPARSE, self._met_pages / self._met_microseconds)
        return self._first_density or SPARSE

    @property
    def _speed(self) -> float:
        """Returns how many pages a second a task reads."""
        return self._pages / self._seconds if self._pages and self._seconds else _FIRST_SPEED

    @property
    def _least_seconds(self) -> float:
        return max(_LEAST_SECONDS, _LEAST_PIECE_PAGES / self._speed)

    @property
    def _pages_waiting(self) -> float:
        """Returns how many pages may wait: a burst may end at once, or last to the end of what waits. What is guessed
        too large is recalled; what is guessed too small takes more tasks than it need."""
        return sum(sqrt(stretch.pages * stretch.most_pages) for stretch in map(self._stretch, self._waiting))

    def _stretch(self, rest: _Rest) -> Stretch:
        expected = self._expected
        top, bottom = (expected if density is None else density for density in (rest.top, rest.bottom))
        return Stretch(max(1, _length(rest.window, self._oldest)), top, bottom)

    def _budget_seconds(self) -> float:
        """Returns how long the next task should take."""
        seconds = self._pages_waiting / self._speed
        if not self._seconds:
            # Of what is small, each slot takes one part.
            return min(_FIRST_SECONDS, max(seconds / max(1, self.slots - len(self._running)), self._least_seconds))
        return min(_MOST_SECONDS, max(seconds / self.slots / _ROUNDS, self._least_seconds))

    def _cut(self, rest: _Rest, depth: float) -> _Rest:
        """Returns the newest `depth` microseconds, and puts back what is below."""
        window, bottom = rest.window, max(rest.window.start, self._oldest)
        cut = window.end - max(1, int(depth))
        edges = self._align(cut), self._align(cut - 1 + int(depth * (1 - 1 / _ALIGNMENT)))
        least, most = max(1.0, depth) / _ALIGNMENT, max(1.0, depth) * _ALIGNMENT
        near = [edge for edge in edges if bottom < edge < window.end and least <= window.end - edge <= most]
        cut = min(near, key=lambda edge: abs(edge - cut), default=cut)
        if cut <= bottom or window.end - bottom <= _ALIGNMENT * depth:
            return rest
        between = None if rest.top is None else self._stretch(rest).density_at(window.end - cut)
        self._waiting.append(replace(rest, window=Interval(window.start, cut), top=between))
        return replace(rest, window=Interval(cut, window.end), bottom=between)


def _length(window: Interval, oldest: Instant) -> int:
    return max(0, window.end - max(window.start, oldest))


def _beside(edges: Edges, rest: _Rest) -> _Rest:
    """Returns what is known of a window that waits, if it touches what was read."""
    top, bottom = edges.beside(rest.window, rest.top, rest.bottom)
    return replace(rest, top=top, bottom=bottom)
