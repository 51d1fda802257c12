"""Forecasts of hundreds of made-up lists, in every shape in time, of which the truth is known."""

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from math import pi, sin
from typing import Final, get_args

import pytest

from exporter.contract import DAY, SECOND, Instant
from exporter.coverage import Coverage, Interval
from exporter.sandbox.density import Density, spread
from exporter.schedule.forecast import CONFIDENCE, Forecast, Question, Shown, forecast

PAGE: Final = 100
QUESTIONS: Final = 17
BASE: Final = 1_767_225_600 * SECOND


class List:
    """Answers questions as an API does. Of each conversation it knows when it was created and how long it lasted."""

    def __init__(self, times: Sequence[Instant], chance: random.Random, drift: float = 0.0) -> None:
        self.times = sorted(times)
        self.seconds = [
            round(chance.lognormvariate(4 + drift * sin(2 * pi * at / DAY), 1)) if chance.random() < 0.85 else None
            for at in self.times
        ]
        self.heeds_length = True
        self.asked: list[Question] = []
        self.reaching = cache(self._reaching)

    def _reaching(self, least: int | None) -> tuple[list[Instant], list[int | None]]:
        if least is None or not self.heeds_length:
            return self.times, self.seconds
        kept = [
            (at, long) for at, long in zip(self.times, self.seconds, strict=True) if long is not None and long >= least
        ]
        return [at for at, _ in kept], [long for _, long in kept]

    def answer(self, question: Question) -> Shown:
        self.asked.append(question)
        times, seconds = self.reaching(question.least_seconds)
        end = bisect_left(times, question.below)
        page = slice(max(0, end - PAGE), end)
        return Shown(times[page][::-1], seconds[page][::-1])


def ask(listed: List, wanted: Coverage, answer: Callable[[Question], Shown] | None = None, **how: bool) -> Forecast:
    asking, answer = forecast(wanted, QUESTIONS, **how), answer or listed.answer
    try:
        question = next(asking)
        while True:
            question = asking.send(answer(question))
    except StopIteration as told:
        found: Forecast = told.value
    assert len(listed.asked) <= QUESTIONS
    return found


def make(shape: Density, rows: int, days: int, seed: int, drift: float = 0.0) -> tuple[List, Coverage]:
    chance = random.Random(f"{shape} {rows} {days} {seed}")
    start = BASE + chance.randrange(400 * DAY)
    wanted = Interval(start, start + days * DAY)
    return List(spread(rows, wanted.start, wanted.end, shape, chance), chance, drift), Coverage([wanted])


@pytest.mark.parametrize("drift", [0.0, 0.2])
def test_the_interval_holds_the_truth_nine_times_in_ten(drift: float) -> None:
    held: dict[Density, list[bool]] = defaultdict(list)
    for shape in get_args(Density):
        for seed in range(40):
            rows, days = random.Random(seed).choice([500, 2000, 5000, 15000]), (3, 30, 365)[seed % 3]
            found = ask(*make(shape, rows, days, seed, drift))
            assert found.low <= found.rows <= found.high
            held[shape].append(found.low - 0.5 <= rows <= found.high + 0.5)
    everything = [each for shape in held.values() for each in shape]
    assert sum(everything) / len(everything) >= CONFIDENCE, {shape: sum(each) for shape, each in held.items()}


def test_most_forecasts_are_near() -> None:
    """Otherwise intervals could hold the truth by being wide."""
    errors = sorted(
        abs(ask(*make(shape, 4000, 30, seed)).rows / 4000 - 1) for shape in get_args(Density) for seed in range(12)
    )
    assert errors[len(errors) // 2] < 0.12
    assert errors[len(errors) * 3 // 4] < 0.2


def test_a_list_of_a_few_pages_is_counted() -> None:
    for shape in ("flat", "office", "one-burst", "many-bursts"):
        found = ask(*make(shape, 250, 90, 1))
        assert (found.low, found.rows, found.high) == (250, 250, 250), shape


def test_an_empty_list_has_no_row() -> None:
    found = ask(List([], random.Random(1)), Coverage([Interval(BASE, BASE + 365 * DAY)]))
    assert (found.low, found.rows, found.high) == (0, 0, 0)


def test_years_before_the_first_row_cost_little() -> None:
    listed, (wanted,) = make("office", 4000, 60, 3)
    found = ask(listed, Coverage([Interval(wanted.start - 4000 * DAY, wanted.end)]))
    assert found.low <= 4000 <= found.high
    assert found.high < 3 * found.low
    assert found.rows_in(Interval(wanted.start - 4000 * DAY, wanted.start - DAY)) < 0.05 * found.rows


def test_only_what_is_wanted_counts() -> None:
    """Two gaps in a list of which the rest is stored."""
    listed, (whole,) = make("flat", 4000, 40, 5)
    gaps = Coverage(
        [Interval(whole.start + 2 * DAY, whole.start + 5 * DAY), Interval(whole.end - 4 * DAY, whole.end - 3 * DAY)]
    )
    truth = sum(at in gaps for at in listed.times)
    found = ask(listed, gaps)
    assert truth > 3 * PAGE
    assert found.rows == found.low == truth


def test_a_length_that_is_not_heeded_is_not_believed() -> None:
    """An API that ignores `duration_above` answers as if nothing were asked: the long ones would seem to be all."""
    listed, wanted = make("flat", 4000, 30, 7)
    listed.heeds_length = False
    found = ask(listed, wanted)
    assert sum(each.least_seconds is not None for each in listed.asked) == 1
    assert found.low <= 4000 <= found.high
    assert found.high < 1.5 * found.low


def test_without_lengths_none_is_asked_for() -> None:
    listed, wanted = make("flat", 4000, 30, 7)
    listed.seconds = [None] * len(listed.times)
    assert ask(listed, wanted).low <= 4000
    asked, wanted = make("flat", 4000, 30, 7)
    ask(asked, wanted, thins=False)
    assert all(each.least_seconds is None for each in (*listed.asked, *asked.asked))


def test_the_profile_tells_where_rows_lie() -> None:
    listed, (wanted,) = make("one-burst", 4000, 30, 2)
    found = ask(listed, Coverage([wanted]))
    middle = wanted.start + 15 * DAY
    halves = [Interval(wanted.start, middle), Interval(middle, wanted.end)]
    assert sum(map(found.rows_in, halves)) == pytest.approx(found.rows, rel=0.01)
    truth = sum(at >= middle for at in listed.times)
    assert found.rows_in(halves[1]) == pytest.approx(truth, rel=0.35)


def test_requests_that_failed_count() -> None:
    listed, wanted = make("flat", 4000, 30, 7)
    found = ask(listed, wanted, lambda question: listed.answer(question)._replace(cost=4))
    assert len(listed.asked) == 5
    assert found.low <= 4000 <= found.high


def test_equal_times_beyond_a_page_make_a_forecast_doubtful() -> None:
    """What a page cannot show of one instant is not known, however few pages there are."""
    chance = random.Random(3)
    listed = List([BASE + DAY] * (3 * PAGE) + [BASE + hour * DAY // 24 for hour in range(48)], chance)
    found = ask(listed, Coverage([Interval(BASE, BASE + 2 * DAY)]), thins=False)
    assert found.low < 3 * PAGE + 48 <= found.high
