"""Decides which worker reads what next: windows that wait, and halves of what the busiest walks have left.

Pure: it decides on what the walks have seen, without clock or network. Nothing is split before something is known of
its density, and nothing that a page or two will read; so a sparse range costs few more requests than it has pages.

*How much a walk has left* is judged by the density of its last page, or of all it has read if that is more, and by that
at the top of the window below, where its own will end. A window that is given away starts out with the density that was
expected there. So all idle workers can be served at once: the windows that were just given away can be split too,
before the first of them has brought a page. What its pages then show replaces the guess.

*Which walk is cut* is decided by the most that it could have left: a burst that has just been entered is worth a try,
at the price of a request that finds little. Otherwise, a walk that read a burst alone to its end would keep all the
others waiting. *Where it is cut* is at half of the pages that are expected, which is not half of the time. *Whether any
is cut* depends on how the guesses have turned out: where there is little to read, little is tried.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from exporter.contract import BEGINNING, END_OF_TIME, MAX_PAGE_SIZE, SECOND, Instant
from exporter.coverage import Interval
from exporter.schedule.stretch import Stretch

#: What takes fewer pages than this is not worth a window of its own.
_LEAST_PAGES_TO_SPLIT: Final = 2
#: On average, this share of the page that a walk has asked for is still to come.
_PAGES_UNDER_WAY: Final = 0.5
#: Up to this share of the pages left is kept beyond half, if that puts the cut at the start of a partition.
_PAGES_FOR_ALIGNMENT: Final = 0.2
#: This many pages must make up for a window that turned out to hold less than a quarter of a page.
_PAGES_FOR_A_MISS: Final = 2
#: Until they do, at most this share of the windows under way may have been given away and not yet shown what they hold.
_GUESSES_AFTER_MISSES: Final = 1 / 2


class Divisible(Protocol):
    """Describes a walk, as far as the scheduler sees it."""

    start: Instant
    end: Instant
    settled_from: Instant
    rows_settled: int

    def give_away_below(self, instant: Instant) -> Interval: ...


class _Density(msgspec.Struct):
    """Holds the pages a microsecond in a window: at its end, on its latest page, and on the whole; None until a guess.

    `is_guess` says that it was given away with what was expected there, `is_measured` that what is there has been seen.
    """

    first: float | None = None
    last: float = 0.0
    mean: float = 0.0
    is_guess: bool = False
    is_measured: bool = False

    @classmethod
    def guess(cls, density: float) -> "_Density":
        return cls(density, density, density, is_guess=True)


class _Reading(msgspec.Struct):
    """Holds how far a walk had come, and its latest page, if that was short: its rows, its span, and its oldest time.

    Rows below such a page show that the server serves no longer ones. Until then, it may be all there is.
    """

    settled_from: Instant
    short: tuple[int, Instant, Instant] | None = None


class Scheduler:
    """Hands out windows, newest first. `oldest` is a guess at where the data begins; it only guides the splits. As
    long as it is None, nothing is split.

    `density` is the rows a microsecond at the end of the newest window, if that is known beforehand. `align` returns
    the start of the partition that an instant falls into: cuts there leave no small files behind.
    """

    def __init__(
        self,
        windows: Iterable[Interval],
        oldest: Instant | None,
        align: Callable[[Instant], Instant],
        page_size: int = MAX_PAGE_SIZE,
        density: float | None = None,
    ) -> None:
        self._windows: Final = tuple(sorted(windows))
        self._waiting = [*self._windows]
        self.oldest = oldest
        self._align = align
        self._page_size = page_size
        self._active: dict[Divisible, _Reading] = {}
        # Keyed by the end of the window: what is known there tells the walk above what it is coming to.
        self._seen: dict[Instant, _Density] = {}
        if density is not None and self._waiting:
            self._seen[self._waiting[-1].end] = _Density.guess(density / page_size)
        self._has_changed = True
        self._pages = 0
        self._misses = 0
        #: The rows of the latest whole page; before there is one, as many as it should have.
        self.page_rows = page_size

    @property
    def is_done(self) -> bool:
        """Tells whether no window waits, and no walk is under way that could give one away."""
        return not self._waiting and not self._active

    @property
    def left(self) -> int:
        """Returns the microseconds of the range that are still to be read, from the guessed beginning of the data."""
        waiting = sum(self._length(window.start, window.end) for window in self._waiting)
        return waiting + sum(self._length(walk.start, walk.settled_from) for walk in self._active)

    def share_of(self, covered: int, before: float) -> float:
        """Returns the share that has been read of the range, of which `covered` microseconds were read before.

        It stays as it was `before` as long as it is not known where the data begins.
        """
        if self.oldest is None:
            return before
        span = sum(self._length(window.start, window.end) for window in self._windows)
        return 1 - min(1.0, self.left / max(1, covered + span))

    @property
    def pages_left(self) -> float:
        """Returns how many pages are expected in what the walks under way have left, as far as anything is known of
        it."""
        return sum(stretch.pages for walk in self._active if (stretch := self._stretch_of(walk)) is not None)

    @property
    def reading(self) -> tuple[Instant, Instant] | None:
        """Returns where the walks under way are, from the start of the oldest to the position of the newest."""
        if not self._active:
            return None
        start = min(walk.start for walk in self._active)
        start = start if self.oldest is None else max(start, self.oldest)
        return start, max(start, *(walk.settled_from for walk in self._active))

    def take(self) -> Interval | None:
        """Returns a window for an idle worker, or None when none is available now."""
        if self._waiting:
            return self._waiting.pop()
        # The first of many idle workers that is sent away has looked for all of them.
        if self._has_changed and self._may_guess():
            known = [(walk, stretch) for walk in self._active if (stretch := self._stretch_of(walk)) is not None]
            if known:
                walk, stretch = max(known, key=lambda pair: (pair[1].most_pages, pair[1].length))
                if stretch.most_pages >= _LEAST_PAGES_TO_SPLIT:
                    return self._split(walk, stretch)
        self._has_changed = False
        return None

    def started(self, walk: Divisible) -> None:
        """Notes that a worker has begun to read what it took."""
        self._active[walk] = _Reading(walk.settled_from)
        self._seen.setdefault(walk.end, _Density())
        self._has_changed = True

    def advanced(self, walk: Divisible, times: Sequence[Instant], *, ids_only: bool = False) -> None:
        """Notes that the walk has had a page, with these `created_at` from new to old."""
        self._has_changed = True
        reading = self._active[walk]
        # Once the server is known to serve no more, pages of about that length are whole.
        least = self.page_rows / 2 if self.page_rows < self._page_size else self.page_rows
        is_whole = len(times) >= least and not ids_only
        self._pages += is_whole
        has_settled = walk.settled_from < reading.settled_from
        reading.settled_from = walk.settled_from
        seen = self._seen[walk.end]
        if walk.settled_from <= walk.start:
            self._measure(walk, seen, walk.rows_settled / self.page_rows / max(SECOND, walk.end - walk.settled_from))
            return
        if reading.short is not None and times and times[-1] < reading.short[2]:
            self.page_rows, span, _ = reading.short
            reading.short = None
            seen.last = 1 / max(SECOND, span)
            self._measure(walk, seen, seen.last)
        # A group of equals shows no density, and a page that settles nothing may be of another list.
        if ids_only or not has_settled or not times or times[0] <= times[-1]:
            return
        if not is_whole:
            reading.short = len(times), times[0] - times[-1], times[-1]
            return
        reading.short = None
        self.page_rows = len(times)
        seen.last = 1 / max(SECOND, times[0] - times[-1])
        self._measure(walk, seen, seen.last)

    def _measure(self, walk: Divisible, seen: _Density, density: float) -> None:
        if not seen.is_measured:
            seen.first = seen.mean = density
            seen.is_measured = True
        # Less than a second of the window says less than the page, most of which then was above it.
        span = walk.end - walk.settled_from
        if span >= SECOND:
            seen.mean = walk.rows_settled / self.page_rows / span

    def found_oldest(self, oldest: Instant) -> None:
        """Notes where the data begins: what is left below is not split, however dense it was guessed."""
        self.oldest = oldest if self.oldest is None else max(self.oldest, oldest)
        self._has_changed = True

    def shown_oldest(self, oldest: Instant) -> None:
        """Notes where the oldest row is, as `Traits.oldest_row` tells it."""
        if BEGINNING < oldest < END_OF_TIME:
            self.found_oldest(oldest)

    def ended(self, walk: Divisible) -> None:
        """Notes that the walk has read its window, or will read no further."""
        del self._active[walk]
        self._misses += self._seen[walk.end].is_guess and 4 * walk.rows_settled < self.page_rows
        self._has_changed = True

    def _may_guess(self) -> bool:
        if self._misses * _PAGES_FOR_A_MISS <= self._pages:
            return True
        seen = [self._seen[walk.end] for walk in self._active]
        return sum(each.is_guess and not each.is_measured for each in seen) <= len(seen) * _GUESSES_AFTER_MISSES

    def _stretch_of(self, walk: Divisible) -> Stretch | None:
        """Returns what the walk has left, or None when there is nothing, or nothing is known of it."""
        seen, length = self._seen[walk.end], self._length(walk.start, walk.settled_from)
        if seen.first is None or not length:
            return None
        least = 0.1 / length
        top = max(seen.last, seen.mean, least)
        below = self._seen.get(walk.start)
        bottom = top if below is None or below.first is None else max(below.first, below.mean, least)
        return Stretch(length, top, bottom)

    def _split(self, walk: Divisible, stretch: Stretch) -> Interval | None:
        kept = min((stretch.pages + _PAGES_UNDER_WAY) / 2, 0.9 * stretch.pages)
        cut = walk.settled_from - stretch.depth_of(kept)
        edge = self._align(cut)
        if self.oldest is not None and edge > max(walk.start, self.oldest):
            more = stretch.pages_above(walk.settled_from - edge) - kept
            if more <= _PAGES_FOR_ALIGNMENT * stretch.pages:
                cut = edge
        if not walk.start < cut < walk.settled_from:
            return None
        self._seen[cut] = _Density.guess(stretch.density_at(walk.settled_from - cut))
        return walk.give_away_below(cut)

    def _length(self, start: Instant, end: Instant) -> Instant:
        return 0 if self.oldest is None else max(0, end - max(start, self.oldest))
