"""Days, periods and hours of the week are those that clocks of the zone show, in SQL and in Python alike."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.contract import (
    BEGINNING,
    DAY,
    END_OF_TIME,
    HOUR,
    SECOND,
    Instant,
    instant_of,
    parse_timestamp,
    to_datetime,
)
from exporter.coverage import Interval
from exporter.partitions import date_of, interval_of_day
from exporter.report.calendar import MOST_PERIODS, Calendar, first_day, offsets, unit_of

#: Since then, no zone has set its clocks back over midnight.
_FIRST, _LAST = parse_timestamp("2012-01-01"), parse_timestamp("2037-01-01")
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
    "America/St_Johns",
    "Pacific/Kiritimati",
)
instants = st.integers(_FIRST, _LAST - 1)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as found:
        yield found


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    start = draw(instants)
    length = draw(st.one_of(st.integers(1, 40 * DAY), st.integers(1, 25 * 366 * DAY)))
    return Calendar(Interval(start, min(start + length, _LAST)), draw(st.sampled_from(ZONES)))


def asked(connection: duckdb.DuckDBPyConnection, calendar: Calendar, some: list[Instant]) -> list[tuple[Any, ...]]:
    columns = ", ".join(make("moment") for make in (calendar.day_sql, calendar.week_hour_sql, calendar.period_sql))
    query = f"SELECT {columns} FROM (SELECT unnest($some::BIGINT[]) AS us, make_timestamptz(us) AS moment)"
    return connection.execute(query, {"some": some}).fetchall()


@settings(deadline=None)
@given(calendars(), st.data())
@example(Calendar(Interval(parse_timestamp("2026-01-01"), parse_timestamp("2027-01-01")), "Europe/Berlin"), None)
def test_sql_counts_by_what_clocks_show(
    connection: duckdb.DuckDBPyConnection, calendar: Calendar, data: st.DataObject | None
) -> None:
    span = calendar.span
    if data is None:
        # Around both changes of a year: the hour that does not exist, and the one that is there twice.
        changes = [parse_timestamp("2026-03-29T01:00Z"), parse_timestamp("2026-10-25T01:00Z")]
        some = [change + hours * HOUR // 2 - 1 for change in changes for hours in range(-5, 6)]
    else:
        some = data.draw(st.lists(st.integers(span.start, span.end - 1), min_size=1, max_size=8))
    for instant, (day, hour, period) in zip(some, asked(connection, calendar, some), strict=True):
        local = to_datetime(instant).astimezone(ZoneInfo(calendar.zone))
        assert date_of(day) == local.date()
        assert hour == local.weekday() * 24 + local.hour
        assert period in calendar.periods
        assert period == unit_of(day, calendar.grain)
        assert day in calendar.days
        assert instant in interval_of_day(day, calendar.zone)


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Pacific/Kiritimati"])
def test_sql_counts_the_ends_of_time_among_the_days_that_can_be_written(
    connection: duckdb.DuckDBPyConnection, zone: str
) -> None:
    early = Calendar(Interval(BEGINNING, BEGINNING + 9 * DAY), zone)
    late = Calendar(Interval(END_OF_TIME - 9 * DAY, END_OF_TIME), zone)
    for calendar, instant, place in ((early, BEGINNING, 0), (late, END_OF_TIME - 1, -1)):
        ((day, _, period),) = asked(connection, calendar, [instant])
        assert (day, period) == (calendar.days[place], calendar.periods[place])


@settings(deadline=None)
@given(calendars())
def test_periods_have_no_gap_and_are_not_too_many(calendar: Calendar) -> None:
    assert 1 <= len(calendar.periods) <= MOST_PERIODS
    assert len(calendar.period_texts) == len(calendar.periods) == len({*calendar.period_texts})
    days = [date.fromisoformat(text) for text in calendar.period_texts]
    assert days == sorted(days)
    for unit in calendar.periods:
        first = first_day(unit, calendar.grain)
        assert unit_of(first, calendar.grain) == unit
        assert unit_of(first - 1, calendar.grain) == unit - 1
    if calendar.grain == "week":
        assert {day.weekday() for day in days} == {0}


@settings(deadline=None)
@given(calendars())
def test_parts_of_days_make_up_the_span(calendar: Calendar) -> None:
    if len(calendar.days) > 800:
        return
    parts = [calendar.interval_of(day) for day in calendar.days]
    assert (parts[0].start, parts[-1].end) == (calendar.span.start, calendar.span.end)
    assert all(one.end == other.start for one, other in pairwise(parts))
    first, last = (interval_of_day(calendar.days[place], calendar.zone) for place in (0, -1))
    assert (calendar.starts_within, calendar.ends_within) == (parts[0].start != first.start, parts[-1].end != last.end)


@settings(deadline=None)
@given(calendars(), st.data())
def test_each_offset_holds_until_the_next(calendar: Calendar, data: st.DataObject) -> None:
    found = [*offsets(calendar.span, calendar.zone)]
    instant = data.draw(st.integers(calendar.span.start, calendar.span.end - 1))
    offset = next(offset for since, offset in reversed(found) if since <= instant)
    there = to_datetime(instant).astimezone(ZoneInfo(calendar.zone)).utcoffset()
    assert timedelta(microseconds=offset) == there


@settings(deadline=None)
@given(instants, st.sampled_from(ZONES))
def test_a_text_names_the_instant_and_the_offset(instant: Instant, zone: str) -> None:
    text = Calendar(Interval(instant, instant + SECOND), zone).text(instant)
    found = datetime.fromisoformat(text)
    assert instant_of(found) == instant
    assert found.utcoffset() == found.astimezone(ZoneInfo(zone)).utcoffset()


def test_the_ends_of_time_can_be_shown() -> None:
    calendar = Calendar(Interval(-62_135_596_800 * SECOND, parse_timestamp("2026-01-01")), "America/New_York")
    assert datetime.fromisoformat(calendar.text(calendar.span.start)).astimezone(UTC).year == 1
    assert calendar.grain == "year"
