"""Decides how the server reads the times in a request before it compares them (source.md, 14).

A *reading* is a word: `cut-ms`, `half-up-s`, `up-minute` or `cut-day` put the time on a coarser grid, `+3h` and `-90m`
shift it, `as-Europe/Berlin` takes it for a local time of that zone, and `in-Europe/Berlin` turns it into local time and
then takes that for UTC. When a zone's clocks change, one of the two leaves out an hour and the other repeats one.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from exporter.contract import DAY, HOUR, MILLISECOND, MINUTE, SECOND, Instant

Reading: TypeAlias = Callable[[Instant], Instant]

#: These parameters hold a time.
TIMES: Final = ("created_after", "created_before", "updated_after", "updated_before", "cursor")

_UNITS: Final = {"ms": MILLISECOND, "s": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
_GRID: Final = re.compile(r"(cut|half-up|up)-(ms|s|minute|hour|day)")
_SHIFT: Final = re.compile(r"([+-]\d{1,6})([hms])")
_SHIFTS: Final = {"h": HOUR, "m": MINUTE, "s": SECOND}
_ZONE: Final = re.compile(r"(as|in)-(\w+(?:[/+-]\w+)*)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1)


def reads_of(texts: Iterable[str], parameter: str) -> Reading:
    """Returns how `parameter` is read: by each text, in turn, that names it, as in `cursor:cut-ms`, or names none.

    Raises `ValueError` for a text that is not a reading, or names a parameter that is not a time.
    """
    readings = []
    for text in texts:
        named, _, word = text.rpartition(":")
        if named not in ("", *TIMES):
            raise ValueError(f"{named!r} holds no time: {text!r} must name one of {', '.join(TIMES)}, or none")
        if named in ("", parameter):
            readings.append(_reading(word))

    def read(instant: Instant) -> Instant:
        for reading in readings:
            instant = reading(instant)
        return instant

    return read


def on_grid(instant: Instant, unit: Instant, rounding: str) -> Instant:
    """Puts `instant` on a grid of `unit`: `cut` takes the point below, `up` the one above, others the nearer one."""
    whole, rest = divmod(instant, unit)
    if rounding == "up":
        up = rest > 0
    elif rounding == "half-up":
        up = 2 * rest >= unit > 1
    elif rounding == "half-even":
        up = 2 * rest > unit or (2 * rest == unit and whole % 2 == 1)
    else:
        up = False
    return (whole + up) * unit


@lru_cache
def _reading(word: str) -> Reading:
    if grid := _GRID.fullmatch(word):
        rounding, unit = grid.group(1), _UNITS[grid.group(2)]
        return lambda instant: on_grid(instant, unit, rounding)
    if shift := _SHIFT.fullmatch(word):
        by = int(shift.group(1)) * _SHIFTS[shift.group(2)]
        return lambda instant: instant + by
    if match := _ZONE.fullmatch(word):
        zone = _zone(match.group(2))
        return (
            (lambda instant: _local_to_utc(instant, zone))
            if match.group(1) == "as"
            else (lambda instant: _utc_to_local(instant, zone))
        )
    raise ValueError(f"{word!r} is no way to read a time; ways are cut-ms, half-up-s, up-minute, +3h, as-Europe/Berlin")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"this machine knows no time zone {name!r}") from error


def _local_to_utc(instant: Instant, zone: ZoneInfo) -> Instant:
    return instant - _offset((_EPOCH + timedelta(microseconds=instant)).replace(tzinfo=zone))


def _utc_to_local(instant: Instant, zone: ZoneInfo) -> Instant:
    return instant + _offset((_EPOCH + timedelta(microseconds=instant)).replace(tzinfo=UTC).astimezone(zone))


def _offset(moment: datetime) -> Instant:
    return (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)
