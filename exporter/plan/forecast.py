"""Forecasts how many rows a list has from a few questions, and how far that may be wrong. Pure.

A page of the whole list shows little of a long one, and bursts lie between pages. So a few pages of the whole list tell
how long conversations last; then those of at least a length that few of them reach are surveyed, which shows in each
page many times as much of the time. Their number, over their share, is the number of all. A list that a few pages show
whole is counted, and one that does not heed the length is surveyed as it is.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, NamedTuple, TypeAlias

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.plan.survey import Survey

#: An interval holds the truth at least this often.
CONFIDENCE: Final = 0.9
#: An error of this many standard errors is as rare as that; more than of a normal distribution, because the errors are
#: estimates, too.
_WIDTH: Final = 2.0
#: This many pages of the whole list come first.
_PILOTS: Final = 4
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
    """Holds the rows of a page, from new to old: their times, and how many seconds each conversation lasts, if known."""

    times: Sequence[Instant]
    seconds: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Says that there are about `rows`, and in at least nine of ten cases from `low` to `high`. If they are `exact`,
    they were counted."""

    rows: float
    low: float
    high: float
    is_exact: bool
    survey: Survey
    #: Each row of the survey stands for this many.
    scale: float = 1.0

    def rows_in(self, interval: Interval) -> float:
        """Returns about how many of the rows lie in an interval."""
        return self.survey.rows_within(interval) * self.scale


Asking: TypeAlias = Generator[Question, Shown, Forecast]


@dataclass(slots=True)
class _Pilots:
    """Holds what pages of the whole list have shown."""

    below: list[Instant]
    pages: list[Shown]

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
    """Yields at most so many questions about the `wanted` times, is sent what pages show, and returns a forecast.

    Unless it `thins`, no length is asked for.
    """
    pilots, first = _Pilots([], []), Survey(wanted, _PILOTS)
    left = requests
    while left and len(pilots.pages) < _PILOTS and (below := first.next()) is not None:
        pilots.below.append(below)
        pilots.pages.append((yield Question(below)))
        first.add(below, pilots.pages[-1].times)
        left -= 1
    rows = first.rows
    least = pilots.least_seconds(_LONG_PAGES * first.page_rows / max(1, rows)) if thins else None
    if first.unknown and least is not None and rows > left * first.page_rows:
        found, left = yield from _thinned(wanted, left, pilots, least)
        if found is not None:
            return found
    survey = Survey(wanted, max(_PILOTS, left))
    for below, page in zip(pilots.below, pilots.pages, strict=True):
        survey.add(below, page.times)
    yield from _ask(survey, left, None)
    return _forecast(survey.rows, survey.error, len(survey.times), survey)


def _thinned(
    wanted: Coverage, left: int, pilots: _Pilots, least: int
) -> Generator[Question, Shown, tuple[Forecast | None, int]]:
    survey = Survey(wanted, _PILOTS)
    spent = yield from _ask(survey, left, least)
    if spent is None:
        return None, left - 1
    times = sorted(survey.times)
    for number in range(left - spent if times else 0):
        # Spread by what there is, and not by time.
        pilots.below.append(times[len(times) * (2 * number + 1) // (2 * (left - spent))])
        pilots.pages.append((yield Question(pilots.below[-1])))
    share, error = pilots.share(least)
    if not share:
        return None, 0
    rows = survey.rows / share
    error = rows * sqrt(error**2 + (survey.error / max(1.0, survey.rows)) ** 2)
    return _forecast(rows, error, 0, survey, 1 / share), 0


def _ask(survey: Survey, most: int, least: int | None) -> Generator[Question, Shown, int | None]:
    """Returns how many questions were asked, or None if the first answer shows that the length was not heeded."""
    for number in range(most):
        if (below := survey.next()) is None:
            return number
        page = yield Question(below, least)
        if least is not None and any(each is None or each < least for each in page.seconds):
            return None
        survey.add(below, page.times)
    return most


def _forecast(rows: float, error: float, seen: int, survey: Survey, scale: float = 1.0) -> Forecast:
    if not error:
        return Forecast(rows, rows, rows, not survey.unknown and scale == 1, survey, scale)
    factor = 1 + _WIDTH * error / max(1.0, rows)
    return Forecast(rows, max(float(seen), rows / factor), rows * factor, False, survey, scale)
