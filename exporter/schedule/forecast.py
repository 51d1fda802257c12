"""Forecasts how many rows a list has from a few questions, and how far that may be wrong. Pure.

A page of the whole list shows little of a long one, and bursts lie between pages. So a few pages of the whole list tell
how long conversations last; then those of at least a length that few of them reach are surveyed, which shows in each
page many times as much of the time. Their number, over their share, is the number of all. A list that a few pages show
whole is counted, and one that does not heed the length is surveyed as it is.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from math import hypot, inf, sqrt
from typing import Final, NamedTuple, TypeAlias

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.schedule.survey import Profile, Survey

#: An interval holds the truth at least this often.
CONFIDENCE: Final = 0.9
#: An error of this many standard errors is as rare as that; more than of a normal distribution, because the errors
#: are estimates themselves.
_WIDTH: Final = 2.0
#: This many pages of the whole list come first.
PILOTS: Final = 4
#: The long conversations should fill about this many pages.
_LONG_PAGES: Final = 5
#: A share of fewer rows than these is not known well enough.
_FEWEST: Final = 30
_LARGEST_SHARE: Final = 0.4


class Question(NamedTuple):
    """Asks for the newest rows below an instant: all, or those of conversations that last `least_seconds` or longer."""

    below: Instant
    least_seconds: int | None = None


class Shown(NamedTuple):
    """Holds the rows of a page, from new to old: their times, and how many seconds conversations last, where known.

    `cost` is how many requests it took. If `down_to` is given, there are no other rows from there on; otherwise there
    are none down to the oldest, and none at all below a page without rows.
    """

    times: Sequence[Instant]
    seconds: Sequence[int | None]
    cost: int = 1
    down_to: Instant | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Says that there are about `rows`, and in at least nine of ten cases from `low` to `high`, which is infinite if
    nothing bounds them. Each row of the `profile` stands for `scale` of them.

    If it `is_counted`, all rows were seen, and the three are the same. If it `is_cut`, an instant has more rows than a
    page; if it `is_contradicted`, what it rests on and a few pages exclude each other. `parts` are the forecasts of
    lists that make it up.
    """

    rows: float
    low: float
    high: float
    profile: Profile
    scale: float = 1.0
    is_counted: bool = False
    is_cut: bool = False
    is_contradicted: bool = False
    parts: tuple["Forecast", ...] = ()

    @classmethod
    def of_parts(cls, parts: Sequence["Forecast"]) -> "Forecast":
        """Returns the forecast for several lists together, whose errors have nothing to do with each other."""
        rows = sum(part.rows for part in parts)
        return cls(
            rows,
            max(0.0, rows - hypot(*(part.rows - part.low for part in parts))),
            rows + hypot(*(part.high - part.rows for part in parts)),
            Profile(),
            is_counted=all(part.is_counted for part in parts),
            is_cut=any(part.is_cut for part in parts),
            parts=tuple(parts),
        )

    def rows_in(self, interval: Interval) -> float:
        """Returns about how many of the rows lie in an interval."""
        inside = self.profile.rows_in(interval) + sum(part.rows_in(interval) for part in self.parts)
        return inside * self.scale

    def of_share(self, share: float, low: float, high: float) -> "Forecast":
        """Returns the forecast for a share of the rows, which is from `low` to `high`."""
        return replace(
            self,
            rows=self.rows * share,
            low=self.low * low,
            high=self.high * high,
            scale=self.scale * share,
            is_counted=False,
        )


Asking: TypeAlias = Generator[Question, Shown, Forecast]


@dataclass(slots=True)
class _Budget:
    """Holds how many more requests may be made."""

    left: int


@dataclass(slots=True)
class _Pilots:
    """Holds what pages of the whole list have shown."""

    below: list[Instant]
    pages: list[Shown]

    def ask(self, below: Instant, budget: _Budget) -> Generator[Question, Shown, Shown]:
        """Asks for a page of the whole list, and returns it."""
        page = yield Question(below)
        budget.left -= page.cost
        self.below.append(below)
        self.pages.append(page)
        return page

    @property
    def rows(self) -> int:
        return sum(len(page.times) for page in self.pages)

    def least_seconds(self, share: float) -> int | None:
        """Returns the length that about this share of the conversations reach, or None if none is reached by few."""
        known = sorted((each for page in self.pages for each in page.seconds if each is not None), reverse=True)
        place = max(_FEWEST, round(share * self.rows))
        if place > len(known):
            return None
        least = known[place - 1]
        return least if self.share(least)[0] <= _LARGEST_SHARE else None

    def share(self, least_seconds: int) -> tuple[float, float]:
        """Returns the share of rows that last that long, and its standard error as a part of it."""
        sizes = [len(page.times) for page in self.pages if page.times]
        longs = [sum(each is not None and each >= least_seconds for each in page.seconds) for page in self.pages]
        longs = [each for each, page in zip(longs, self.pages, strict=True) if page.times]
        share, rows, pages = sum(longs) / max(1, sum(sizes)), sum(sizes), len(sizes)
        if not share:
            return 0.0, 1.0
        by_chance = (1 - share) / (share * rows)
        # Days and hours may differ in it.
        squares = sum((long - share * size) ** 2 for long, size in zip(longs, sizes, strict=True))
        by_page = pages / max(1, pages - 1) * squares / (share * rows) ** 2
        return share, sqrt(by_chance + 2 * max(0.0, by_page - by_chance))


def forecast(wanted: Coverage, requests: int, *, thins: bool = True) -> Asking:
    """Yields questions about the `wanted` times until answers have cost this many `requests`, is sent what pages show,
    and returns a forecast.

    Unless it `thins`, no length is asked for.
    """
    budget, pilots, first = _Budget(requests), _Pilots([], []), Survey(wanted, PILOTS)
    while budget.left > 0 and len(pilots.pages) < PILOTS and (below := first.next()) is not None:
        page = yield from pilots.ask(below, budget)
        first.add(below, page.times, page.down_to)
    least = pilots.least_seconds(_LONG_PAGES * first.page_rows / max(1.0, first.rows)) if thins else None
    if least is not None and first.rows > budget.left * first.page_rows > 0 and first.unknown:
        found = yield from _thinned(wanted, budget, pilots, least)
        if found is not None:
            return found
    survey = Survey(wanted, max(PILOTS, budget.left))
    for below, page in zip(pilots.below, pilots.pages, strict=True):
        survey.add(below, page.times, page.down_to)
    yield from _ask(survey, budget, None)
    return _forecast(survey.rows, survey.error, len(survey.times), survey)


def _thinned(
    wanted: Coverage, budget: _Budget, pilots: _Pilots, least: int
) -> Generator[Question, Shown, Forecast | None]:
    """Returns a forecast by the conversations that last so long, or None if there are none, or the API does not heed
    the length."""
    survey = Survey(wanted, PILOTS)
    if not (yield from _ask(survey, budget, least)):
        return None
    times, more = sorted(survey.times), budget.left
    for number in range(more if times else 0):
        # Spread by what there is, and not by time.
        if budget.left > 0:
            yield from pilots.ask(times[len(times) * (2 * number + 1) // (2 * more)], budget)
    share, error = pilots.share(least)
    if not share:
        return None
    rows = survey.rows / share
    error = rows * sqrt(error**2 + (survey.error / max(1.0, survey.rows)) ** 2)
    return _forecast(rows, error, 0, survey, 1 / share)


def _ask(survey: Survey, budget: _Budget, least: int | None) -> Generator[Question, Shown, bool]:
    """Asks until nothing is unknown. Returns False if the first answer shows that the length was not heeded."""
    while budget.left > 0 and (below := survey.next()) is not None:
        page = yield Question(below, least)
        budget.left -= page.cost
        if least is not None and any(each is None or each < least for each in page.seconds):
            return False
        survey.add(below, page.times, page.down_to)
    return True


def _forecast(rows: float, error: float, seen: int, survey: Survey, scale: float = 1.0) -> Forecast:
    is_counted, is_cut = survey.is_counted and scale == 1.0, bool(survey.cut)
    factor = 1 + _WIDTH * error / max(1.0, rows)
    low, high = max(float(seen), rows / factor), rows * factor if survey.is_bounded else inf
    return Forecast(rows, low, high, survey.profile(), scale, is_counted, is_cut)
