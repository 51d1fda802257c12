"""Surveys a list by a few of its pages: chooses where to look, and tells how many rows there are. Pure.

A page shows every row between the instant that it was asked from and its oldest row: there nothing is left to guess.
Between two such stretches the density is taken to be like that beside them. The first pages are spread evenly, and each
looks at another hour of the week, because calls follow the clock; further ones go where most may be wrong. A list whose
pages leave nothing out is counted, not guessed.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import gcd, sqrt
from typing import Final

from exporter.contract import DAY, Instant
from exporter.coverage import Coverage, Interval

_WEEK: Final = 7 * DAY
#: Places that are this share of the number of places apart lie evenly, whatever the number.
_GOLDEN: Final = 0.618
#: What has about this many pages is read from its top, because a page more may leave nothing to guess there.
_FEW_PAGES: Final = 1.5
#: Two stretches of one density leave this share of what is between them in doubt.
_LEAST_DOUBT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """Holds what a page has shown: the rows of `[start, asked)`, all of them, `rows` in number.

    `density` is that of the whole page, in rows a microsecond: it may have ended among rows of one instant, which are
    not counted here, and come again on another page. `is_even` says that it is one of those that are spread evenly.
    """

    asked: Instant
    start: Instant
    rows: int
    density: float
    is_even: bool

    @property
    def stretch(self) -> Coverage:
        return Coverage([Interval(self.start, self.asked)])


@dataclass(frozen=True, slots=True)
class Profile:
    """Says how rows lie in time: the `times` of those that were seen, ascending, and how many each of the `gaps` has,
    evenly."""

    times: Sequence[Instant] = ()
    gaps: Sequence[tuple[Interval, float]] = ()

    def rows_in(self, interval: Interval) -> float:
        """Returns about how many of the rows lie in an interval."""
        rows = float(bisect_left(self.times, interval.end) - bisect_left(self.times, interval.start))
        for gap, guessed in self.gaps:
            length = min(gap.end, interval.end) - max(gap.start, interval.start)
            rows += guessed * max(0, length) / (gap.end - gap.start)
        return rows


class Survey:
    """Surveys the `wanted` times of a list, of which `places` are looked at first, spread evenly.

    `times` are those of the wanted rows that were seen, and `unknown` the times that no page has shown. Of each instant
    that fills a page, `cut` has how many rows were seen: there may be any number of others, such as that many. A page
    should show the row again above which it was asked for; if it `is_torn`, one has not, and rows may lie between.
    """

    def __init__(self, wanted: Coverage, places: int) -> None:
        self.wanted: Final = wanted
        self.unknown = wanted
        self.times: list[Instant] = []
        self.cut: dict[Instant, int] = {}
        self.is_torn = False
        self.page_rows = 1
        self.samples: list[Sample] = []
        self._start, self._end = wanted.intervals[0].start, wanted.intervals[-1].end
        self._bounds = [self._at(number, places) for number in range(1, places)]
        self._left = [_place(self._at(n, places), self._at(n + 1, places), n, places) for n in reversed(range(places))]
        self._asks_evenly = False

    def _at(self, number: int, places: int) -> Instant:
        return self._start + (self._end - self._start) * number // places

    def next(self) -> Instant | None:
        """Returns the instant below which to ask for a page, or None if nothing is unknown."""
        self._asks_evenly = True
        while self._left:
            instant = self._left.pop(0)
            if any(gap.start < instant <= gap.end for gap in self.unknown):
                return instant
        self._asks_evenly = False
        if not self.unknown:
            return None
        gap = max(self.unknown, key=self._doubt)
        if self.rows_in(gap) <= _FEW_PAGES * self.page_rows or gap.end - gap.start < self.page_rows:
            return gap.end
        return (gap.start + gap.end) // 2

    def add(self, asked: Instant, times: Sequence[Instant], down_to: Instant | None = None) -> None:
        """Takes the page below `asked`: the times of its rows, from new to old, which are all `down_to` an instant, if
        that is given. Without it, an empty one shows that there is no older row."""
        self.page_rows = max(self.page_rows, len(times))
        start = self._shown_from(asked, times) if down_to is None else max(down_to, self._start - 1)
        seen = set(self.times)
        self.is_torn |= asked - 1 in seen and (not times or times[0] != asked - 1)
        if start >= asked:
            return  # it has shown nothing
        fresh = self.unknown & Coverage([Interval(start, asked)])
        shown = [each for each in times if each in fresh]
        known = self.wanted & Coverage([Interval(start, asked)]) - fresh
        self.is_torn |= any(each in known and each not in seen and each not in self.cut for each in times)
        self.samples.append(Sample(asked, start, len(shown), _density(asked, times), self._asks_evenly))
        if down_to is None and len(times) > 1 and times[0] == times[-1] == start:
            self.cut[start] = len(times)
        self.times += shown
        self.unknown -= fresh

    def _shown_from(self, asked: Instant, times: Sequence[Instant]) -> Instant:
        if not times:
            return min(self._start, asked - 1)
        # The next page begins with the rows of the last instant, unless it can show no more of them than this one.
        return times[-1] + (times[-1] + 1 < asked)

    @property
    def is_counted(self) -> bool:
        """Returns whether every row was seen, and nothing is left that may hide one."""
        return not (self.unknown or self.cut or self.is_torn)

    @property
    def is_bounded(self) -> bool:
        """Returns whether anything says how many rows there are at most."""
        return not (self.cut or self.is_torn or (self.unknown and len(self.samples) < 2))

    @property
    def rows(self) -> float:
        """Returns about how many rows there are."""
        return len(self.times) + sum(self.cut.values()) + sum(map(self.rows_in, self.unknown))

    @property
    def error(self) -> float:
        """Returns the standard error of `rows`, by what they would be without one of the pages each (the jackknife)."""
        squares = float(sum(self.cut.values()) ** 2)
        if self.unknown and len(self.samples) == 1:
            squares += sum(map(self.rows_in, self.unknown)) ** 2
        elif self.unknown:
            without = list(self._without_each())
            mean = sum(without) / max(1, len(without))
            squares += (1 - 1 / max(1, len(without))) * sum((each - mean) ** 2 for each in without)
        return sqrt(squares)

    def _without_each(self) -> Iterator[float]:
        samples, unknown, known = self.samples, self.unknown, len(self.times) + sum(self.cut.values())
        try:
            for number, sample in enumerate(samples):
                self.samples = samples[:number] + samples[number + 1 :]
                self.unknown = unknown | (sample.stretch & self.wanted)
                yield known - sample.rows + sum(map(self.rows_in, self.unknown))
        finally:
            self.samples, self.unknown = samples, unknown

    def rows_in(self, gap: Interval) -> float:
        """Returns about how many rows an unknown interval has."""
        above, below = self._beside(gap)
        if above is None or below is None:
            only = above or below
            return 0.0 if only is None else only.density * (gap.end - gap.start)
        middle = (gap.start + gap.end) // 2
        if above.is_even and below.is_even:
            # Each of the even places stands for as much time as the others.
            between = [bound for bound in self._bounds if below.asked <= bound <= above.asked] or [middle]
            middle = min(gap.end, max(gap.start, between[len(between) // 2]))
        return above.density * (gap.end - middle) + below.density * (middle - gap.start)

    def profile(self) -> "Profile":
        """Returns how the rows lie in time."""
        gaps = [(gap, self.rows_in(gap)) for gap in self.unknown]
        gaps += [(Interval(instant, instant + 1), float(rows)) for instant, rows in self.cut.items()]
        return Profile(tuple(sorted(self.times)), tuple(gaps))

    def _doubt(self, gap: Interval) -> float:
        densities = [sample.density for sample in self._beside(gap) if sample is not None] or [0.0]
        most = max(densities)
        return (most - min(densities) + _LEAST_DOUBT * most) * (gap.end - gap.start)

    def _beside(self, gap: Interval) -> tuple[Sample | None, Sample | None]:
        above = [sample for sample in self.samples if sample.start >= gap.end]
        below = [sample for sample in self.samples if sample.asked <= gap.start]
        nearest: Callable[[Sample], Instant] = lambda sample: sample.start  # noqa: E731
        return min(above, key=nearest, default=None), max(below, key=nearest, default=None)


def _density(asked: Instant, times: Sequence[Instant]) -> float:
    if not times:
        return 0.0
    groups = Counter(times)
    cut = groups[times[-1]]
    # What was cut is as large again, on average, as what was seen of it. The last group made the stretch as long as it
    # is, and does not count.
    rows = len(times) + (cut if cut > 1 else 0)
    return rows * (len(groups) - 1) / len(groups) / max(1, asked - times[-1])


def _place(start: Instant, end: Instant, number: int, places: int) -> Instant:
    """Returns an instant of the interval: of all places, each is at another hour of the week, or else of the day."""
    middle = (start + end) // 2
    unit = _WEEK if end - start >= _WEEK else DAY
    if end - start < unit:
        return middle
    step = max(1, round(places * _GOLDEN))
    while gcd(step, places) > 1:
        step += 1
    instant = middle // unit * unit + round(unit * (number * step % places + 0.5) / places)
    while instant >= end:
        instant -= unit
    while instant <= start:
        instant += unit
    return instant
