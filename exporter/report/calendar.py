"""Divides the time of a report into days, periods and hours of the week, as clocks of its zone show them. Pure.

What a query counts by is a number that Python turns back into a day: so SQL and Python agree on every instant, and
neither needs a database of time zones but Python's own.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

from exporter.contract import BEGINNING, DAY, HOUR, SECOND, Instant, to_datetime
from exporter.coverage import Interval
from exporter.partitions import date_of, day_number, day_text, interval_of_day, local_day, offset_of
from exporter.report.model import Grain
from exporter.zones import load_zone

#: The most periods that a section shows.
MOST_PERIODS: Final = 200
#: Local times are counted from a Monday before the year 1, because SQL divides towards zero.
_SHIFT_DAYS: Final = 719_169
_WEEK_DAYS: Final = 7
#: How far apart offsets are compared to find where they change. Two changes were never closer.
_STEP: Final = DAY
#: Before it, no zone had set its clocks.
_FIRST_CHANGE: Final = -100 * 366 * DAY


@dataclass(frozen=True)
class Calendar:
    """Knows the days of the `span` that a report is about, in the time `zone`."""

    span: Interval
    zone: str

    @cached_property
    def days(self) -> range:
        """Returns the local days that `span` touches, as numbers of days since 1970."""
        return range(local_day(self.span.start, self.zone), local_day(self.span.end - 1, self.zone) + 1)

    @cached_property
    def grain(self) -> Grain:
        """Returns the shortest unit of which `span` has few enough."""
        first, last = self.days[0], self.days[-1]
        grains: tuple[Grain, ...] = ("day", "week", "month")
        return next((one for one in grains if unit_of(last, one) - unit_of(first, one) < MOST_PERIODS), "year")

    @cached_property
    def periods(self) -> range:
        """Returns the periods that `span` touches, as `unit_of` numbers them."""
        return range(unit_of(self.days[0], self.grain), unit_of(self.days[-1], self.grain) + 1)

    @cached_property
    def period_texts(self) -> tuple[str, ...]:
        """Returns the first day of each period; the first and the last may begin or end outside of `span`."""
        return tuple(day_text(first_day(unit, self.grain)) for unit in self.periods)

    @cached_property
    def starts_within(self) -> bool:
        """Returns whether `span` begins after the first day has begun."""
        return interval_of_day(self.days[0], self.zone).start < self.span.start

    @cached_property
    def ends_within(self) -> bool:
        """Returns whether `span` ends before the last day does."""
        return interval_of_day(self.days[-1], self.zone).end > self.span.end

    def interval_of(self, day: int) -> Interval:
        """Returns the part of a day that lies in `span`."""
        whole = interval_of_day(day, self.zone)
        return Interval(max(whole.start, self.span.start), min(whole.end, self.span.end))

    def text(self, instant: Instant) -> str:
        """Returns an instant as ISO 8601 with the offset of the zone."""
        if offset_of(instant, self.zone) + instant < BEGINNING:
            return to_datetime(instant).isoformat()
        return to_datetime(instant).astimezone(load_zone(self.zone)).isoformat()

    def day_sql(self, column: str) -> str:
        """Returns SQL for the number of the local day of a column of instants of `span`.

        Near the ends of time, clocks show a day that cannot be written; it counts as the nearest one of `days`.
        """
        day = f"({self._local_sql(column)}) // {DAY} - {_SHIFT_DAYS}"
        return f"greatest({self.days[0]}, least({self.days[-1]}, {day}))"

    def week_hour_sql(self, column: str) -> str:
        """Returns SQL for the local hour of the week, from 0 to 167; Monday's first is 0."""
        return f"(({self._local_sql(column)}) // {HOUR}) % {24 * _WEEK_DAYS}"

    def period_sql(self, column: str) -> str:
        """Returns SQL for the number of the period."""
        day = self.day_sql(column)
        match self.grain:
            case "day":
                return day
            case "week":
                # Monday is the first day of a week, and 1970 began on a Thursday.
                return f"({day} + 3 + {_SHIFT_DAYS - 3}) // 7 - {(_SHIFT_DAYS - 3) // 7}"
            case "month":
                return f"year({_date_sql(day)}) * 12 + month({_date_sql(day)}) - 1"
        return f"year({_date_sql(day)})"

    def _local_sql(self, column: str) -> str:
        """Returns SQL for what clocks of the zone show, in microseconds since the Monday that `_SHIFT_DAYS` names."""
        micros, shift = f"epoch_us({column})", _SHIFT_DAYS * DAY
        *changes, (_, first) = reversed(self._offsets)
        if not changes:
            return f"{micros} + {shift + first}"
        # Most rows are young.
        cases = " ".join(f"WHEN {micros} >= {since} THEN {shift + offset}" for since, offset in changes)
        return f"{micros} + CASE {cases} ELSE {shift + first} END"

    @cached_property
    def _offsets(self) -> tuple[tuple[Instant, int], ...]:
        return tuple(offsets(self.span, self.zone))


def offsets(span: Interval, zone: str) -> Iterator[tuple[Instant, int]]:
    """Yields the offsets of a zone from UTC, in microseconds, each with the instant of `span` since when it holds."""
    known = offset_of(span.start, zone)
    yield span.start, known
    for end in range(max(span.start, _FIRST_CHANGE), span.end + _STEP, _STEP):
        offset = offset_of(end, zone)
        if offset == known:
            continue
        seconds = range((end - _STEP) // SECOND, end // SECOND + 1)
        change = bisect_left(seconds, True, key=lambda each: offset_of(each * SECOND, zone) == offset)
        yield seconds[change] * SECOND, offset
        known = offset


def unit_of(day: int, grain: Grain) -> int:
    """Returns the number of the period that a day lies in."""
    match grain:
        case "day":
            return day
        case "week":
            return (day + 3) // _WEEK_DAYS
        case "month":
            found = date_of(day)
            return found.year * 12 + found.month - 1
    return date_of(day).year


def first_day(unit: int, grain: Grain) -> int:
    """Returns the first day of a period; inverts `unit_of`."""
    match grain:
        case "day":
            return unit
        case "week":
            return max(unit * _WEEK_DAYS - 3, day_number(date.min))
        case "month":
            return day_number(date(unit // 12, unit % 12 + 1, 1))
    return day_number(date(unit, 1, 1))


def _date_sql(day: str) -> str:
    return f"(DATE '1970-01-01' + ({day})::INTEGER)"
