"""Decides what the next task reads elsewhere, and for how long. Pure.

A task reads what it was given from new to old, and ends at its budget at the latest. What it has not read goes back,
with the density that it has met. So a range is not cut before anything is known of it: each piece is cut when a task
takes it, by what all tasks have met until then.

A piece holds about as many rows as a task reads within its budget, where the density is known. Where it is not, a piece
is as long as each slot's eighth of the time that is left. Budgets shrink with what is left, because the last tasks end
together only if they are short.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Final

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval

#: The longest that a task reads, and the shortest that is worth starting one.
_MOST_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 5.0
#: The first tasks end early: until they do, nothing is known of densities, and no progress is shown.
_FIRST_SECONDS: Final = 15.0
#: A slot takes this many pieces of what is left, if it were all known.
_PIECES_A_SLOT: Final = 8
#: A piece that was tried this often is given up.
_MOST_TRIES: Final = 3
#: A budget leaves room for a piece to hold more than was expected.
_HEADROOM: Final = 1.5
_MOST_WINDOWS: Final = 64
#: A slot should take this many more pieces of what is left, so that the last ones are small.
_ROUNDS: Final = 2.0
#: A task reads about so many pages a second until one has shown it.
_FIRST_PAGES: Final = 10
#: Less than a row a year.
_LEAST_DENSITY: Final = 1e-14
#: What fewer pages than this hold is read sooner than a task has started.
_LEAST_PAGES: Final = 64


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
class _Stretch:
    """Holds a window that waits, its rows a microsecond if they were met nearby, and how often it was tried."""

    window: Interval
    density: float | None = None
    tries: int = 0


def is_worth_it(left: Coverage, *, oldest: Instant, density: float | None, page_size: int) -> bool:
    """Returns whether what is left is worth a task: it fills many pages at `density` rows a microsecond.

    Without a density, the list has few rows, or those of its end were all created at once.
    """
    rows = (density or 0.0) * sum(_length(window, oldest) for window in left)
    return rows >= _LEAST_PAGES * page_size


class Shares:
    """Hands out what is `left`, newest first. The data begins at about `oldest`, which only guides the cuts.

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
        self._waiting = [_Stretch(window) for window in left]
        self._running: dict[Piece, None] = {}
        self._oldest: Final = oldest
        self._first_density: Final = density
        self._align: Final = align
        self._page_size: Final = page_size
        self._rows = 0
        self._microseconds = 0
        self._seconds = 0.0
        self._span: Final = self.left_microseconds
        self.slots = slots

    @property
    def is_done(self) -> bool:
        """Returns whether nothing waits, and no task could give anything back."""
        return not self._waiting and not self._running

    @property
    def left_microseconds(self) -> int:
        """Returns how much is still to be read, from the guessed beginning of the data; what runs counts in full."""
        windows = chain((stretch.window for stretch in self._waiting), *(piece.windows for piece in self._running))
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
        rows = self._speed * budget
        # Where nothing was read yet, a piece is no longer than this, however few rows it seems to hold.
        unseen = max(self._span / (self.slots * _PIECES_A_SLOT), self._speed * _LEAST_SECONDS / self._guess)
        tries, density = self._waiting[-1].tries, self._waiting[-1].density
        windows: list[Interval] = []
        while self._waiting and self._waiting[-1].tries == tries and len(windows) < _MOST_WINDOWS:
            if min(rows, unseen) <= 0:
                break
            stretch = self._waiting.pop()
            length = rows / max(self._density_of(stretch), _LEAST_DENSITY)
            kept = self._cut(stretch, length if stretch.density is not None else min(length, unseen))
            windows.append(kept)
            rows -= _length(kept, self._oldest) * self._density_of(stretch)
            unseen -= _length(kept, self._oldest) if stretch.density is None else 0
            if kept != stretch.window:
                break
        budget = budget * _HEADROOM if self._seconds else _FIRST_SECONDS
        piece = Piece(Coverage(windows).intervals, budget, tries, density)
        self._running[piece] = None
        return piece

    def ended(self, piece: Piece, covered: Coverage, rows: int, seconds: float, *, has_failed: bool = False) -> bool:
        """Notes that a task has read `rows` in `seconds`, and has `covered` some of its piece. The rest goes back, as
        tried once more if the task `has_failed` or has covered nothing.

        Returns False after the third try of the same times: then the run must end.
        """
        whole = Coverage(piece.windows)
        read = whole & covered
        if not read:
            return self.lost(piece)
        del self._running[piece]
        length = sum(_length(window, self._oldest) for window in read)
        self._rows += rows
        self._microseconds += length
        self._seconds += seconds
        tries = piece.tries + 1 if has_failed else 0
        left = whole - read
        self._put_back(left, rows / max(1, length), tries)
        return tries < _MOST_TRIES or not left

    def lost(self, piece: Piece) -> bool:
        """Notes that a task has brought nothing: its piece goes back whole. Returns False after the third try of the
        same times: then the run must end."""
        del self._running[piece]
        self._put_back(piece.windows, None, piece.tries + 1)
        return piece.tries + 1 < _MOST_TRIES

    def _put_back(self, windows: Iterable[Interval], density: float | None, tries: int) -> None:
        self._waiting += (_Stretch(window, density, tries) for window in windows)
        self._waiting.sort(key=lambda stretch: stretch.window)

    @property
    def _guess(self) -> float:
        """Returns the rows a microsecond that are expected where nothing was read yet."""
        if self._microseconds:
            return max(_LEAST_DENSITY, self._rows / self._microseconds)
        return self._first_density or _LEAST_DENSITY

    @property
    def _speed(self) -> float:
        """Returns how many rows a second a task reads."""
        return self._rows / self._seconds if self._rows and self._seconds else _FIRST_PAGES * self._page_size

    def _density_of(self, stretch: _Stretch) -> float:
        return self._guess if stretch.density is None else stretch.density

    def _budget_seconds(self) -> float:
        """Returns how long the next task should take."""
        rows = sum(_length(stretch.window, self._oldest) * self._density_of(stretch) for stretch in self._waiting)
        return min(_MOST_SECONDS, max(_LEAST_SECONDS, rows / self._speed / self.slots / _ROUNDS))

    def _cut(self, stretch: _Stretch, span: float) -> Interval:
        """Returns the newest `span` of the stretch, and puts the rest back."""
        window = stretch.window
        if span >= _length(window, self._oldest):
            return window
        cut = window.end - max(1, int(span))
        edge = self._align(cut)
        if edge > max(window.start, self._oldest) and window.end - edge <= 1.5 * span:
            cut = edge
        if cut <= max(window.start, self._oldest):
            return window
        self._waiting.append(_Stretch(Interval(window.start, cut), stretch.density, stretch.tries))
        return Interval(cut, window.end)


def _length(window: Interval, oldest: Instant) -> int:
    return max(0, window.end - max(window.start, oldest))
