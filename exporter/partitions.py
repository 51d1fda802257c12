"""Divides time into the partitions of tables: hours, days, ISO weeks and months of a time zone. Pure.

Each partition is one interval, its key is its own, and together the intervals cover all time. So where clocks were set
back over midnight (nowhere since 2011), a day lasts until they pass that midnight for the last time; and the key of an
hour names its offset from UTC, because local hours repeat.
"""

from bisect import bisect_left
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, TypeAlias

from exporter.contract import BEGINNING, DAY, END_OF_TIME, HOUR, SECOND, Instant, format_instant, to_datetime
from exporter.coverage import Interval
from exporter.settings import PartitionBy
from exporter.zones import UTC_NAME, load_zone

#: Maps the key that a partition's directory is named by to its value; empty if there is only one partition.
Partition: TypeAlias = dict[str, str]

_KEYS: Final[dict[PartitionBy, str]] = {
    "day": "created_date",
    "hour": "created_hour",
    "week": "created_week",
    "month": "created_month",
}
PARTITION_KEYS: Final = tuple(_KEYS.values())
_EPOCH: Final = date(1970, 1, 1)
#: The local days and hours that can be written. What lies beyond, near the ends of time, belongs to the nearest.
_DAYS: Final = range(BEGINNING // DAY, END_OF_TIME // DAY)
_HOURS: Final = range(BEGINNING // HOUR, END_OF_TIME // HOUR)


def key_of(by: PartitionBy) -> str | None:
    """Returns the key that names the directories of partitions; None if there is only one partition."""
    return _KEYS.get(by)


def partition_of(instant: Instant, by: PartitionBy, zone: str = UTC_NAME) -> tuple[Partition, Interval | None]:
    """Returns the partition that `instant` falls into, and the instants that share it (None: all)."""
    match by:
        case "none":
            return {}, None
        case "hour":
            offset = offset_of(instant, zone)
            value, interval = _hour(_nearest((instant + offset) // HOUR, _HOURS), offset, zone)
        case _:
            value, interval = _days(_unit_of(local_day(instant, zone), by), by, zone)
    return {_KEYS[by]: value}, interval


def local_day(instant: Instant, zone: str = UTC_NAME) -> int:
    """Returns the local day that `instant` falls into, as a number of days since 1970: that of its partition."""
    day = (instant + offset_of(instant, zone)) // DAY
    while zone != UTC_NAME and _beginning(day, zone) > instant:
        day -= 1
    return _nearest(day, _DAYS)


def interval_of_day(day: int, zone: str = UTC_NAME) -> Interval:
    """Returns the instants that fall into a local day, given as a number of days since 1970."""
    return _days(_nearest(day, _DAYS), "day", zone)[1]


def _nearest(number: int, numbers: range) -> int:
    return max(numbers[0], min(number, numbers[-1]))


def day_text(day: int) -> str:
    """Returns a day since 1970 as text, such as `2026-02-10`."""
    return date_of(day).isoformat()


@lru_cache(maxsize=4096)
def _hour(hour: int, offset: int, zone: str) -> tuple[str, Interval]:
    """Returns the part of a local hour, counted since 1970, in which clocks have this offset from UTC."""
    start = BEGINNING if hour == _HOURS[0] else hour * HOUR - offset
    end = END_OF_TIME if hour == _HOURS[-1] else (hour + 1) * HOUR - offset
    text = format_instant(hour * HOUR)[:13]
    if zone == UTC_NAME:
        return text, Interval(start, end)
    seconds = range(start // SECOND, end // SECOND)
    # The offset changes at most once in an hour.
    is_first = offset_of(start, zone) == offset
    change = bisect_left(seconds, True, key=lambda each: (offset_of(each * SECOND, zone) == offset) != is_first)
    turn = start + change * SECOND
    return text + _offset_text(offset), Interval(start, turn) if is_first else Interval(turn, end)


def _offset_text(offset: int) -> str:
    minutes, seconds = divmod(abs(offset) // SECOND, 60)
    return f"{'-' if offset < 0 else '+'}{minutes // 60:02d}{minutes % 60:02d}{f'{seconds:02d}' if seconds else ''}"


@lru_cache(maxsize=4096)
def _days(unit: int, by: PartitionBy, zone: str) -> tuple[str, Interval]:
    """Returns a day, week or month, as `_unit_of` counts them."""
    first = _first_day(unit, by)
    match by:
        case "week":
            year, week, _ = date_of(first).isocalendar()
            text = f"{year:04d}-W{week:02d}"
        case "month":
            text = day_text(first)[:7]
        case _:
            text = day_text(first)
    return text, Interval(_beginning(first, zone), _beginning(_first_day(unit + 1, by), zone))


def _unit_of(day: int, by: PartitionBy) -> int:
    """Returns the day, week or month that a day lies in, as a number that counts them."""
    if by == "week":
        return (day + 3) // 7  # 1970 began on a Thursday, and weeks begin on Monday
    if by == "month":
        found = date_of(day)
        return found.year * 12 + found.month - 1
    return day


def _first_day(unit: int, by: PartitionBy) -> int:
    if by == "week":
        return unit * 7 - 3
    if by == "month":
        year, month = divmod(unit, 12)
        return END_OF_TIME // DAY if year > 9999 else (date(year, month + 1, 1) - _EPOCH).days
    return unit


def day_number(day: date) -> int:
    """Returns a date as a day since 1970."""
    return (day - _EPOCH).days


def date_of(day: int) -> date:
    """Returns a day since 1970 as a date."""
    return _EPOCH + timedelta(days=day)


@lru_cache(maxsize=4096)
def _beginning(day: int, zone: str) -> Instant:
    """Returns the instant from which on it is this local day or a later one."""
    midnight = day * DAY
    if zone == UTC_NAME or not BEGINNING < midnight < END_OF_TIME:
        return max(BEGINNING, min(midnight, END_OF_TIME))
    # No offset is as long as a day, and a change takes clocks back by a day at most.
    end = midnight + 2 * DAY
    while end - HOUR + offset_of(end - HOUR, zone) >= midnight:
        end -= HOUR
    hour = range((end - HOUR) // SECOND, end // SECOND)
    passed = bisect_left(hour, True, key=lambda each: each * SECOND + offset_of(each * SECOND, zone) >= midnight)
    return max(BEGINNING, min((hour.start + passed) * SECOND, END_OF_TIME))


def offset_of(instant: Instant, zone: str) -> int:
    """Returns how far clocks of `zone` are ahead of UTC, in microseconds."""
    if zone == UTC_NAME:
        return 0
    # Near the first and the last year, local times are none that Python can hold.
    inside = max(BEGINNING + 2 * DAY, min(instant, END_OF_TIME - 2 * DAY))
    offset = to_datetime(inside).astimezone(load_zone(zone)).utcoffset()
    return 0 if offset is None else offset // timedelta(microseconds=1)
