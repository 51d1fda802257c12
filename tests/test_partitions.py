"""Partitions agree with the calendar and the clocks of a time zone, and each is one interval with a key of its own."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, END_OF_TIME, HOUR, MINUTE, Instant, format_instant, parse_timestamp
from exporter.partitions import day_text, key_of, local_day, partition_of
from exporter.settings import PartitionBy
from exporter.zones import UTC_NAME, known_zones

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANTS = st.integers(BEGINNING, END_OF_TIME - 1)
ZONES = st.sampled_from(sorted(known_zones()))
UNITS = st.sampled_from(["day", "hour", "week", "month"])


def moment(instant: int, zone: str = UTC_NAME) -> datetime:
    return (EPOCH + timedelta(microseconds=instant)).astimezone(ZoneInfo(zone))


def value(text: str, by: PartitionBy, zone: str = UTC_NAME) -> str:
    return next(iter(partition_of(parse_timestamp(text), by, zone)[0].values()))


@cache
def changes(zone: str, year: int) -> list[Instant]:
    """Returns about when the clocks of a zone were or will be changed in a year."""
    hours = range(parse_timestamp(f"{year}-01-01"), parse_timestamp(f"{year + 1}-01-01"), 6 * HOUR)
    offsets = [moment(hour, zone).utcoffset() for hour in hours]
    return [hours[at + 1] for at in range(len(hours) - 1) if offsets[at] != offsets[at + 1]]


@st.composite
def places(draw: st.DrawFn) -> tuple[Instant, str]:
    """Draws an instant and a zone, mostly from the days around a change of its clocks."""
    zone = draw(ZONES)
    near = changes(zone, draw(st.integers(1840, 2040)))
    if not near:
        return draw(INSTANTS), zone
    return draw(st.sampled_from(near)) + draw(st.integers(-30 * 60, 30 * 60)) * MINUTE, zone


@given(INSTANTS)
def test_partitions_agree_with_the_calendar(instant: int) -> None:
    at = moment(instant)
    date = f"{at.year:04d}-{at.month:02d}-{at.day:02d}"
    year, week, _ = at.isocalendar()
    assert partition_of(instant, "day")[0] == {"created_date": date}
    assert partition_of(instant, "hour")[0] == {"created_hour": f"{date}T{at.hour:02d}"}
    assert partition_of(instant, "week")[0] == {"created_week": f"{year:04d}-W{week:02d}"}
    assert partition_of(instant, "month")[0] == {"created_month": date[:7]}
    assert partition_of(instant, "none") == ({}, None)
    assert day_text(local_day(instant)) == date


@given(INSTANTS | st.sampled_from([BEGINNING, END_OF_TIME - 1]), UNITS)
def test_a_partition_is_exactly_its_interval(instant: int, by: PartitionBy) -> None:
    check_partition(instant, by, UTC_NAME)


@given(places(), UNITS)
def test_a_partition_of_a_time_zone_is_exactly_its_interval(place: tuple[Instant, str], by: PartitionBy) -> None:
    check_partition(place[0], by, place[1])


@given(st.sampled_from([BEGINNING, END_OF_TIME - 1]), st.integers(0, 30 * HOUR), ZONES, UNITS)
def test_time_ends_inside_partitions(end: Instant, inward: int, zone: str, by: PartitionBy) -> None:
    check_partition(end + inward if end == BEGINNING else end - inward, by, zone)


def check_partition(instant: Instant, by: PartitionBy, zone: str) -> None:
    partition, interval = partition_of(instant, by, zone)
    assert interval is not None
    assert instant in interval
    for inside in (interval.start, (interval.start + interval.end) // 2, interval.end - 1):
        assert partition_of(inside, by, zone) == (partition, interval)
    if interval.end < END_OF_TIME:
        later, touching = partition_of(interval.end, by, zone)
        assert later != partition
        assert touching is not None
        assert touching.start == interval.end
    if interval.start > BEGINNING:
        assert partition_of(interval.start - 1, by, zone)[0] != partition


@given(places(), UNITS)
def test_no_two_partitions_have_one_key(place: tuple[Instant, str], by: PartitionBy) -> None:
    instant, zone = place
    seen: dict[str, object] = {}
    while instant < place[0] + 2 * DAY and instant < END_OF_TIME:
        partition, interval = partition_of(instant, by, zone)
        assert interval is not None
        assert seen.setdefault(str(partition), interval) == interval
        instant = interval.end


@given(ZONES, st.integers(parse_timestamp("2012-01-01"), parse_timestamp("2037-01-01")))
def test_since_2012_partitions_are_what_the_clocks_show(zone: str, instant: int) -> None:
    at = moment(instant, zone)
    year, week, _ = at.isocalendar()
    keys = {by: partition_of(instant, by, zone)[0].get(key_of(by) or "", "") for by in get_args(PartitionBy)}
    assert keys["day"] == at.date().isoformat() == day_text(local_day(instant, zone))
    assert keys["week"] == f"{year}-W{week:02d}"
    assert keys["month"] == f"{at:%Y-%m}"
    assert keys["hour"] == f"{at:%Y-%m-%dT%H}" + ("" if zone == UTC_NAME else f"{at:%z}")


def test_a_day_has_as_many_hours_as_clocks_show() -> None:
    for day, hours in (("2026-03-29", 23), ("2026-06-01", 24), ("2026-10-25", 25)):
        _, interval = partition_of(parse_timestamp(f"{day}T12:00:00Z"), "day", "Europe/Berlin")
        assert interval is not None
        assert interval.end - interval.start == hours * HOUR


def test_an_hour_that_comes_twice_has_two_keys_below_one_prefix() -> None:
    keys = [value(f"2026-10-25T0{hour}:30:00Z", "hour", "Europe/Berlin") for hour in (0, 1, 2)]
    assert keys == ["2026-10-25T02+0200", "2026-10-25T02+0100", "2026-10-25T03+0100"]


@pytest.mark.parametrize(
    ("at", "zone", "by", "expected"),
    [
        ("2026-02-09T18:15:00Z", "Asia/Kathmandu", "day", "2026-02-10"),
        ("2026-02-09T18:14:59Z", "Asia/Kathmandu", "hour", "2026-02-09T23+0545"),
        # Clocks went from 2:00 back to 1:30.
        ("2026-04-04T14:45:00Z", "Australia/Lord_Howe", "hour", "2026-04-05T01+1100"),
        ("2026-04-04T15:15:00Z", "Australia/Lord_Howe", "hour", "2026-04-05T01+1030"),
        # Midnight did not exist.
        ("2018-11-04T02:59:59Z", "America/Sao_Paulo", "day", "2018-11-03"),
        ("2018-11-04T03:00:00Z", "America/Sao_Paulo", "day", "2018-11-04"),
        # A day did not exist.
        ("2011-12-30T09:59:59Z", "Pacific/Apia", "day", "2011-12-29"),
        ("2011-12-30T10:00:00Z", "Pacific/Apia", "day", "2011-12-31"),
        # Clocks passed midnight twice.
        ("2010-11-07T02:30:30Z", "America/St_Johns", "day", "2010-11-06"),
        ("2010-11-07T03:30:00Z", "America/St_Johns", "day", "2010-11-07"),
        # The offset has seconds.
        ("1890-01-01T00:00:00Z", "Europe/Berlin", "hour", "1890-01-01T00+005328"),
        # The ISO year differs from that of the day.
        ("2027-01-03T12:00:00Z", "UTC", "week", "2026-W53"),
        ("2027-01-03T23:30:00Z", "Europe/Berlin", "week", "2027-W01"),
    ],
)
def test_the_clocks_of_odd_places(at: str, zone: str, by: PartitionBy, expected: str) -> None:
    assert value(at, by, zone) == expected


@given(st.lists(INSTANTS, min_size=2, max_size=2).map(sorted), ZONES, st.sampled_from(["day", "week", "month"]))
def test_keys_sort_as_text(instants: list[Instant], zone: str, by: PartitionBy) -> None:
    earlier, later = (value(format_instant(instant), by, zone) for instant in instants)
    assert earlier <= later


def test_the_day_of_a_partition_is_that_of_an_audit() -> None:
    at = parse_timestamp("2026-02-09T23:30:00Z")
    assert date.fromisoformat(value("2026-02-09T23:30:00Z", "day", "Europe/Berlin")) == date(2026, 2, 10)
    assert day_text(local_day(at, "Europe/Berlin")) == "2026-02-10"
