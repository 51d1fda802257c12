"""Reads times and durations as people write them.

A day, a month, a year or a word such as `yesterday` stands for its first instant, in a time zone; `now` is the instant
itself. So a range whose end is excluded reads as it is meant: `--since 2026-01 --until 2026-02` is January,
`--since yesterday --until today` a day.
"""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from exporter.contract import (
    BEGINNING,
    END_OF_TIME,
    SECOND,
    Instant,
    TimestampStyle,
    instant_of,
    parse_timestamp,
    to_datetime,
)
from exporter.errors import UsageError
from exporter.words import did_you_mean

_PART: Final = (
    r"(\d{1,9})\s*(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?|w(?:eeks?)?)(?![A-Za-z])\s*"
)
_PARTS: Final = re.compile(_PART, re.ASCII)
_DURATION: Final = re.compile(rf"(?:{_PART})+", re.ASCII)
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NUMBER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_MONTH: Final = re.compile(r"(\d{4})(?:-(\d{2}))?", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ONE_DAY: Final = timedelta(days=1)

_DAYS: Final = {"yesterday": -1, "today": 0, "tomorrow": 1}
_PERIODS: Final = tuple(f"{which}-{period}" for period in ("week", "month", "year") for which in ("this", "last"))
WORDS: Final = ("now", *_DAYS, *_PERIODS)
_FORMS: Final = "2026-02-10, 2026-02-10T05:00:00Z, 2026-02, yesterday, last-month, or an age such as 36h or 7d"


def to_instant(value: str | date, now: Instant, option: str, zone: tzinfo = UTC) -> Instant:
    """Returns the instant that a text, a date or a datetime names.

    A text is ISO 8601, a month, a year, one of `WORDS`, or an age such as `7d`, which counts back from `now`. What has
    no offset of its own is in `zone`: a time that clocks show twice there is the first of the two, unless it is a
    datetime with a `fold`, and one that they leave out is refused. Raises `UsageError`, naming `option`.
    """
    try:
        instant = _instant(value, now, zone)
    except ValueError as error:
        text = str(value)
        near = did_you_mean(text, WORDS) if text.strip()[:1].isalpha() else ""
        raise UsageError(f"{option} {text!r}: {error}.{near} Write a time as {_FORMS}") from error
    if not BEGINNING < instant < END_OF_TIME:
        raise UsageError(f"{option} {str(value)!r}: outside the years 1 to 9999")
    return instant


def to_age(age: str | int | timedelta, now: Instant, option: str) -> Instant:
    """Returns the instant that an age names: a text such as `36h` or `7d`, a number of seconds, or a timedelta.

    Raises `UsageError`, naming `option`.
    """
    number = age.total_seconds() if isinstance(age, timedelta) else age
    seconds = duration_of(number) if isinstance(number, str) else number
    if seconds is None or not 0 <= round(seconds * SECOND) < now - BEGINNING:
        raise UsageError(f"{option} {str(age)!r}: must be an age, such as 36h or 7d")
    return now - round(seconds * SECOND)


def depends_on_now(text: str) -> bool:
    """Returns whether a text is an age or a word, and so names another time on another day."""
    return duration_of(text) is not None or _word(text) in WORDS


def are_comparable(*values: object) -> bool:
    """Returns whether the order of these times is the same in every time zone. None is an instant."""
    return len({_basis_of(value) for value in values}) <= 1


def to_seconds(value: int | str, option: str) -> int:
    """Returns a number of seconds, which may also be given as a text: `90`, `5m`, `2 hours`, `1h30m`.

    Raises `UsageError`, naming `option`.
    """
    if isinstance(value, int):
        return value
    seconds = int(value) if _NUMBER.fullmatch(value.strip()) else duration_of(value)
    if seconds is None:
        raise UsageError(f"{option} {value!r}: must be a duration such as 90s, 5m or 2h, or a number of seconds")
    return seconds


def duration_of(text: str) -> int | None:
    """Returns the seconds of a text such as `36h` or `2 weeks`, or None; a number without a unit is no duration."""
    text = text.strip().removesuffix(" ago")
    if _DURATION.fullmatch(text) is None:
        return None
    return sum(int(part[1]) * _UNIT_SECONDS[part[2][0]] for part in _PARTS.finditer(text))


def _basis_of(value: object) -> str:
    """Returns what a time is: an instant, a date, or a word for a day or period."""
    if isinstance(value, str):
        text, word = value.strip(), _word(value)
        if word in _DAYS:
            return "day"
        if word in _PERIODS:
            return word.partition("-")[2]
        is_date = duration_of(text) is None and word != "now" and not TimestampStyle.of(text).offset
    else:
        is_date = isinstance(value, date) and not (isinstance(value, datetime) and value.tzinfo)
    return "date" if is_date else "instant"


def _instant(value: str | date, now: Instant, zone: tzinfo) -> Instant:
    if isinstance(value, str):
        return _read(value.strip(), now, zone)
    if isinstance(value, datetime):
        return instant_of(value) if value.tzinfo else _local_instant(value, zone)
    return _first_instant(value, zone)


def _read(text: str, now: Instant, zone: tzinfo) -> Instant:
    if (age := duration_of(text)) is not None:
        return now - age * SECOND
    if _word(text) == "now":
        return now
    if (day := _day(text, now, zone)) is not None:
        return _first_instant(day, zone)
    instant = parse_timestamp(text)
    if TimestampStyle.of(text).offset:
        return instant
    local = to_datetime(instant)
    return _first_instant(local.date(), zone) if _DATE.fullmatch(text) else _local_instant(local, zone)


def _day(text: str, now: Instant, zone: tzinfo) -> date | None:
    if month := _MONTH.fullmatch(text):
        try:
            return date(int(month[1]), int(month[2] or 1), 1)
        except ValueError as error:
            raise ValueError("there is no such month") from error
    if (word := _word(text)) not in (*_DAYS, *_PERIODS):
        return None
    today = to_datetime(now).astimezone(zone).date()
    if word in _DAYS:
        return today + _DAYS[word] * _ONE_DAY
    which, _, period = word.partition("-")
    first = _start_of(period, today)
    return first if which == "this" else _start_of(period, first - _ONE_DAY)


def _start_of(period: str, day: date) -> date:
    """Returns the first day of the week, month or year that `day` is in; a week begins on Monday."""
    if period == "week":
        return day - day.weekday() * _ONE_DAY
    return day.replace(day=1) if period == "month" else day.replace(month=1, day=1)


def _word(text: str) -> str:
    return "-".join(re.split(r"[\s_-]+", text.strip().casefold()))


def _local_instant(moment: datetime, zone: tzinfo) -> Instant:
    """Returns the instant at which clocks in `zone` show a time. Raises `ValueError` if they never do."""
    first, second = (instant_of(moment.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if first > second:
        raise ValueError(f"no clock in {zone} shows this time, because clocks are set forward there")
    return second if moment.fold else first


def _first_instant(day: date, zone: tzinfo) -> Instant:
    return instant_of(datetime(day.year, day.month, day.day, tzinfo=zone))
