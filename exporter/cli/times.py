"""Shows times and periods: to people as short as they can be, to programs as the manifest writes them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from exporter.contract import format_datetime
from exporter.coverage import Period

if TYPE_CHECKING:
    from exporter.jobs.doubts import Doubt

_FIRST: Final = datetime.min.replace(tzinfo=UTC)


def for_people(moment: datetime) -> str:
    """Returns a time in UTC as short as it can be; parts of a second are left out."""
    date, time = moment.date().isoformat(), moment.time().isoformat("seconds")
    if time == "00:00:00":
        return date
    return f"{date} {time.removesuffix(':00')}"


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
