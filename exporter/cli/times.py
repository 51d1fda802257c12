"""Shows times and periods: to people as short as they can be, to programs as the manifest writes them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from exporter.contract import format_datetime
from exporter.coverage import Period
from exporter.words import told_apart

if TYPE_CHECKING:
    from exporter.jobs.doubts import Doubt

_FIRST: Final = datetime.min.replace(tzinfo=UTC)


def for_people(moment: datetime, digits: int = 0) -> str:
    """Returns a time in UTC as short as it can be, with this many digits of its second's parts."""
    date, time = moment.date().isoformat(), moment.time().isoformat("seconds")
    if digits:
        return f"{date} {time}.{moment.microsecond:06d}"[: len(f"{date} {time}.") + digits]
    if time == "00:00:00":
        return date
    return f"{date} {time.removesuffix(':00')}"


def span_for_people(start: datetime | None, end: datetime) -> str:
    """Returns a period in UTC as short as it can be: `from 2026-02-01 up to 2026-02-10 11:30 UTC`."""
    if start is None:
        return f"up to {for_people(end)} UTC"
    first, last = told_apart(for_people, start, end)
    return f"from {first} up to {last} UTC"


def for_programs(moment: datetime | None) -> str | None:
    """Returns a time as the manifest writes it; None for None."""
    return None if moment is None else format_datetime(moment)


def describe_period(period: Period | None) -> str:
    """Returns a period in words."""
    if period is None:
        return ""
    start = "the beginning" if period.start is None else format_datetime(period.start)
    return f"from {start} up to {format_datetime(period.end)}"


def describe_time(period: Period | None) -> str:
    """Returns a period in words; one of a single microsecond is that time."""
    if period is None or period.start is None or not period.is_instant:
        return describe_period(period)
    return format_datetime(period.start)


def period_figures(period: Period | None) -> dict[str, str | None]:
    """Returns a period as the manifest writes it."""
    return {} if period is None else {"start": for_programs(period.start), "end": for_programs(period.end)}


def by_start(doubt: "Doubt") -> tuple[datetime, datetime]:
    """Returns the key that sorts doubts by time."""
    start, end = (None, _FIRST) if doubt.period is None else (doubt.period.start, doubt.period.end)
    return start or _FIRST, end
