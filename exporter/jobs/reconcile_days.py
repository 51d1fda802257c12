"""Compares the platform's totals with what is stored, day by day, and explains what differs. Pure.

An explanation is a fact of the export that can cause just such a difference: what was not read yet may be missing here,
and cannot be too much. What no fact explains is named as a difference.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import structs

from exporter.contract import BEGINNING, DAY, HOUR, MINUTE, SECOND, Instant
from exporter.coverage import Coverage, Interval
from exporter.jobs.reconcile_erasures import Taken, explained_by
from exporter.jobs.reconcile_reading import (
    NOTHING,
    Comparable,
    Figures,
    Minutes,
    Reading,
    figures_by_day,
    readings_of,
)
from exporter.jobs.reconcile_tally import Tally
from exporter.partitions import date_of, day_number, interval_of_day, local_day
from exporter.run.usage import Usage, UsageDay

#: Explains a difference, in the order in which explanations are looked for.
Reason: TypeAlias = Literal[
    "not over",
    "not read",
    "expired",
    "encrypted",
    "quarantined",
    "late",
    "filtered",
    "unsure",
    "erased",
    "not counted yet",
    "open",
]
NO_CONVERSATION: Final = Usage(total=0, voice=0, chat=0, inbound=0, outbound=0, voice_minutes=0.0, chat_minutes=0.0)
#: A conversation may show up, and be counted, this long after it began.
_LATE: Final = DAY
#: The longest conversation that may end on another day than it began.
_LONGEST: Final = 6 * HOUR
#: Minutes that are written as whole numbers, or with two digits, differ by no more than this from others.
_WHOLE_MINUTES, _PARTS_OF_MINUTES = 1.0, 0.1


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Holds what may explain a difference.

    `range` is what the export is for and `covered` what it has read of that; `reads` say from when on changes may be
    unknown, as in `State`. Rows before `floor` have expired. `quarantined` are the times of rows that fit no column,
    and `erased` says what erasures took away. What is `unreadable` holds rows whose day is not
    known, because they are encrypted. `unlisted` says that the platform lists only some of its days.
    """

    range: Interval
    covered: Coverage
    reads: tuple[tuple[Instant, Coverage], ...]
    now: Instant
    floor: Instant = BEGINNING
    quarantined: tuple[Instant, ...] = ()
    erased: tuple[Taken, ...] = ()
    unreadable: Coverage = field(default_factory=Coverage)
    unlisted: bool = False


class Pair(msgspec.Struct, frozen=True):
    """Holds a figure as the platform counts it, and as it is stored `here`. None: it does not say."""

    there: float | None
    here: float

    @property
    def missing(self) -> float:
        """Returns how much less is here; negative if there is more."""
        return 0 if self.there is None else self.there - self.here


class ComparedDay(msgspec.Struct, frozen=True, kw_only=True):
    """Compares a day by its `figures`, the first of which counts its conversations; minutes come last.

    `reasons` explain all figures that are `differing`; there are none if something is not explained. If the platform
    does not list a day, it says nothing of any figure.
    """

    day: date
    figures: dict[str, Pair]
    differing: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()

    @property
    def is_explained(self) -> bool:
        """Returns whether nothing differs that no fact of the export explains."""
        return not self.differing or bool(self.reasons)


#: How badly a reading fits: on how many days, and by how much in all.
_Misfit: TypeAlias = tuple[int, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Holds the days by one reading. `undecided` are those of its choices that another choice would fit as well."""

    reading: Reading
    minutes: Minutes | None
    days: tuple[ComparedDay, ...]
    undecided: tuple[str, ...] = ()

    def misfit(self, *, partial: bool = False) -> _Misfit:
        """Returns how badly the reading fits, whatever explains that: what explains a loss must not choose the reading.

        Of an export that is `partial`, only what is too much speaks against a reading.
        """
        amounts = [
            sum(max(0, -missing) if partial else abs(missing) for missing in _missing(day))
            for day in self.days
            if day.differing
        ]
        return sum(amount > 0 for amount in amounts), round(sum(amounts), 6)

    @property
    def unexplained(self) -> int:
        return sum(not day.is_explained for day in self.days)


def _missing(day: ComparedDay) -> list[float]:
    return [day.figures[name].missing for name in day.differing]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Holds what is compared: the platform's days between `since` and `until`, with what is stored."""

    there: Mapping[date, UsageDay]
    tally: Tally
    facts: Facts
    by: Comparable
    since: Instant
    until: Instant


def compare(question: Question) -> Comparison:
    """Returns the comparison by the reading that fits best: the plainest, or one that explains less if several fit."""
    by_all = (_compare(question, reading) for reading in readings_of(question.tally))
    best, tied = _least_explained(by_all, partial=question.by.partial)
    names = Reading.__struct_fields__
    best = replace(best, undecided=tuple(name for name in names if len({getattr(one, name) for one in tied}) > 1))
    if not question.by.minutes:
        return best
    by_both = (_with_minutes(question, best, way) for way in ("exact", "rounded up"))
    by_minutes, tied = _least_explained(by_both)
    return replace(by_minutes, undecided=(*best.undecided, "minutes")) if len(tied) > 1 else by_minutes


def _least_explained(found: Iterator[Comparison], *, partial: bool = False) -> tuple[Comparison, list[Reading]]:
    """Returns the comparison that stands for those that fit best, and the readings of all these.

    Nothing is explained that only some of them explain. One comparison is kept at a time, as each holds all days.
    """
    chosen = next(found)
    least, tied = chosen.misfit(partial=partial), [chosen.reading]
    for one in found:
        if (misfit := one.misfit(partial=partial)) < least:
            chosen, least, tied = one, misfit, [one.reading]
        elif misfit == least:
            chosen = max(chosen, one, key=lambda other: other.unexplained)
            tied.append(one.reading)
    return chosen, tied


def _compare(question: Question, reading: Reading) -> Comparison:
    here = figures_by_day(question.tally.days(reading.zone, reading.moment), reading)
    carried = _carried(question, reading, here) if reading.moment == "ended" else 0
    misfits = Counter(local_day(instant, reading.zone) for instant in question.facts.quarantined)
    numbers = range(local_day(question.since, reading.zone), local_day(question.until - 1, reading.zone) + 1)
    days = [_compare_day(question, reading, day, here.get(day, NOTHING), misfits[day], carried) for day in numbers]
    return Comparison(reading=reading, minutes=None, days=_erased(days, reading, question.facts.erased))


def _carried(question: Question, reading: Reading, ended: Mapping[int, Figures]) -> int:
    """Returns how many of the conversations that are stored went on over a midnight, at the most."""
    created = figures_by_day(question.tally.days(reading.zone, "created"), reading)
    most = still = 0
    for day in sorted({*created, *ended}):
        still += created.get(day, NOTHING).counts.total - ended.get(day, NOTHING).counts.total
        most = max(most, still)
    return most


def _compare_day(
    question: Question, reading: Reading, day: int, here: Figures, misfits: int, carried: int
) -> ComparedDay:
    there: Usage | None = question.there.get(date_of(day))
    if there is None and not question.facts.unlisted:
        there = NO_CONVERSATION
    figures = {
        figure: Pair(getattr(there, figure, None), getattr(here.counts, stored) or 0)
        for figure, stored in question.by.figures.items()
    }
    if there is None:
        # The list lacks conversations that the total counts, and these may be of any day that it leaves out.
        return ComparedDay(day=date_of(day), figures=figures, differing=tuple(figures)[:1])
    differing = tuple(name for name, pair in figures.items() if pair.missing)
    if not differing:
        return ComparedDay(day=date_of(day), figures=figures)
    when = _began(question, day, reading, max(figures[name].missing for name in differing), carried)
    reasons = [_reason(question, when, name, figures[name].missing, here.unsure, misfits) for name in differing]
    explained = tuple(dict.fromkeys(reason for reason in reasons if reason is not None))
    return ComparedDay(
        day=date_of(day), figures=figures, differing=differing, reasons=() if None in reasons else explained
    )


def _began(question: Question, day: int, reading: Reading, missing: float, carried: int) -> Interval:
    """Returns when what counts on a day began.

    Before the day itself, no more began than went on over other midnights, twice as much at the most: a day that lacks
    more than that is not explained by what lies before it.
    """
    when = interval_of_day(day, reading.zone)
    if reading.moment == "created" or missing > 2 * carried:
        return when
    return Interval(when.start - _LONGEST, when.end)


def _reason(
    question: Question, when: Interval, figure: str, missing: float, unsure: int, misfits: int
) -> Reason | None:
    """Returns the fact that explains why a figure of what began `when` differs, or None."""
    facts, whole = question.facts, Coverage([when])
    if missing < 0:
        return "not counted yet" if when.end + _LATE > facts.now else None
    if when.end > min(facts.range.end, facts.now):
        return "not over"
    if when.start < facts.floor:
        return "expired"
    if whole & facts.unreadable:
        return "encrypted"
    if whole - facts.covered:
        return "not read"
    if missing <= misfits:
        return "quarantined"
    if any(read < when.end + _LATE and covered & whole for read, covered in facts.reads):
        return "late"
    if question.by.partial:
        return "filtered"
    return "unsure" if figure != "total" and missing <= unsure else None


def _erased(days: Collection[ComparedDay], reading: Reading, taken: tuple[Taken, ...]) -> tuple[ComparedDay, ...]:
    """Returns the days, of which erasures explain those that lack what these took."""
    lacking = dict[int, tuple[Interval, float]]()
    for day in days:
        if taken and not day.is_explained and min(missing := _missing(day)) > 0:
            number = day_number(day.day)
            when = interval_of_day(number, reading.zone)
            before = _LONGEST if reading.moment == "ended" else 0
            lacking[number] = Interval(when.start - before, when.end), max(missing)
    erased = explained_by(taken, lacking)
    return tuple(structs.replace(day, reasons=("erased",)) if day_number(day.day) in erased else day for day in days)


def _with_minutes(question: Question, best: Comparison, way: Minutes) -> Comparison:
    """Returns the comparison with minutes, which are held against one another where conversations are the same."""
    reading, found = best.reading, list[ComparedDay]()
    here = figures_by_day(question.tally.days(reading.zone, reading.moment), reading, way)
    longest = min(question.tally.longest_seconds * SECOND, _LONGEST) / MINUTE
    for day in best.days:
        stored = here.get(day_number(day.day), NOTHING)
        there: Usage | None = question.there.get(day.day)
        if there is None and not question.facts.unlisted:
            there = NO_CONVERSATION
        minutes = {
            name: Pair(getattr(there, name, None), round(getattr(stored.counts, name) or 0.0, 2))
            for name in question.by.minutes
        }
        compared = structs.replace(day, figures=day.figures | minutes)
        if not day.differing and (differing := tuple(name for name, pair in minutes.items() if _differs(pair))):
            # The duration of a conversation that is not over grows, but not beyond that of all others.
            grows = all(0 < minutes[name].missing <= stored.open[name] * longest for name in differing)
            reasons: tuple[Reason, ...] = ("open",) if grows else ()
            compared = structs.replace(compared, differing=differing, reasons=reasons)
        found.append(compared)
    return replace(best, minutes=way, days=tuple(found))


def _differs(pair: Pair) -> bool:
    is_whole = pair.there is not None and pair.there == int(pair.there)
    return abs(pair.missing) > (_WHOLE_MINUTES if is_whole else _PARTS_OF_MINUTES)
