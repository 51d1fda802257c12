"""Puts the values of a report into words: counts, durations, shares, days and instants, always in English."""

from datetime import date, datetime
from typing import Final

from exporter.words import count_of, format_size

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: Stands for a value that there is none of.
NONE: Final = "–"
#: Stands between a number and its unit, where no line may break.
GAP: Final = "\N{NO-BREAK SPACE}"
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def number(value: int | None) -> str:
    """Returns a count such as `61,234`."""
    return NONE if value is None else f"{value:,}"


def counted(value: int, noun: str) -> str:
    """Returns a count of things, such as `1 day` or `61,234 days`."""
    return count_of(value, noun).replace(" ", GAP, 1)


def seconds(value: float | None) -> str:
    """Returns a duration with three digits at least: `0.84 s`, `12.3 s`, `3 min 05 s`, `2 h 07 min`, `2.5 days`."""
    if value is None:
        return NONE
    if round(value, 1) < 10:
        return f"{value:.2f}{GAP}s"
    if round(value, 1) < _MINUTE:
        return f"{value:.1f}{GAP}s"
    whole = round(value)
    if whole < _HOUR:
        return f"{whole // _MINUTE}{GAP}min{GAP}{whole % _MINUTE:02d}{GAP}s"
    if value >= 2 * _DAY:
        return f"{quantity(round(value / _DAY, 1))}{GAP}days"
    minutes = round(value / _MINUTE)
    return f"{minutes // 60:,}{GAP}h{GAP}{minutes % 60:02d}{GAP}min"


def bound(value: float | None) -> str:
    """Returns a duration that bounds others, as short as it can be: `0.5 s`, `2 min`, `1 h`."""
    if value is None or value % 1 or value < _MINUTE or value % _MINUTE:
        return NONE if value is None else f"{quantity(value)}{GAP}s"
    if value % _HOUR:
        return f"{value / _MINUTE:.0f}{GAP}min"
    return f"{value / _HOUR:,.0f}{GAP}h"


def share(value: float | None) -> str:
    """Returns a share in percent; one that is neither nothing nor all is never shown as 0 % or 100 %."""
    if value is None:
        return NONE
    percent = 100 * value
    if 0 < percent < 0.1:
        return f"< 0.1{GAP}%"
    if 99.9 < percent < 100:
        return f"> 99.9{GAP}%"
    return f"{percent:.1f}{GAP}%".replace(".0", "")


def size(size_bytes: float | None) -> str:
    """Returns a size such as `1.5 kB`."""
    return NONE if size_bytes is None else format_size(size_bytes).replace(" ", GAP)


def quantity(value: float | None) -> str:
    """Returns a number with at most two decimals."""
    return NONE if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")


def isolated(name: str | None, otherwise: str) -> str:
    """Returns a name of the API within a sentence, whose direction of writing it cannot turn around."""
    return otherwise if name is None else f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def were(count: int) -> str:
    """Returns the verb that follows a count: was or were."""
    return "was" if count == 1 else "were"


def sentence(text: str) -> str:
    """Returns a clause as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def day(text: str) -> str:
    """Returns a day such as `10 Feb 2026`."""
    known = date.fromisoformat(text)
    return f"{known.day}{GAP}{_MONTHS[known.month - 1]}{GAP}{known.year}"


def short_day(text: str) -> str:
    """Returns a day with its weekday in a table, such as `Tue 10 Feb 2026`."""
    return f"{WEEKDAYS[date.fromisoformat(text).weekday()][:3]}{GAP}{day(text)}"


def long_day(text: str) -> str:
    """Returns a day with its weekday, such as `Tuesday, 10 Feb 2026`."""
    return f"{WEEKDAYS[date.fromisoformat(text).weekday()]}, {day(text)}"


def period(text: str, grain: str) -> str:
    """Returns a period by its first day: `2026`, `Feb 2026`, `week of 9 Feb 2026`, or the day."""
    if grain == "year":
        return text[:4]
    if grain == "month":
        return day(text).split(GAP, 1)[1]
    return f"week of {day(text)}" if grain == "week" else day(text)


def instant(text: str | None) -> str:
    """Returns an instant to the second, without its time zone, which the page names: `10 Feb 2026, 14:03`."""
    if text is None:
        return NONE
    known = datetime.fromisoformat(text)
    clock = known.strftime("%H:%M:%S").removesuffix(":00")
    return f"{day(known.date().isoformat())}, {clock}"
