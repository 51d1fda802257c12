"""Narrows a range by the filters that Spark pushes down to a data source. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from exporter.contract import BEGINNING, END_OF_TIME, MICROSECOND, Instant, instant_of
from exporter.coverage import Interval

_COLUMN: Final = ("created_at",)


def narrowed(range_: Interval, filters: Iterable[object]) -> Interval | None:
    """Returns the part of a range outside of which no row can match all filters; None if that is empty.

    Only comparisons of `created_at` with instants narrow it. They are known by the names of their classes, which the
    oldest version of Spark that reads the source does not have.
    """
    start, end = range_.start, range_.end
    for filter_ in filters:
        if getattr(filter_, "attribute", None) == _COLUMN:
            least, most = _bounds(type(filter_).__name__, getattr(filter_, "value", None))
            start, end = max(start, least), min(end, most + MICROSECOND)
    return Interval(start, end) if start < end else None


def _bounds(kind: str, value: object) -> tuple[Instant, Instant]:
    """Returns the least and the greatest instant that can match."""
    values = value if isinstance(value, tuple) else (value,)
    instants = [instant_of(each) for each in values if isinstance(each, datetime) and each.tzinfo is not None]
    if instants and len(instants) == len(values):
        match kind:
            case "GreaterThan":
                return instants[0] + MICROSECOND, END_OF_TIME
            case "GreaterThanOrEqual":
                return instants[0], END_OF_TIME
            case "LessThan":
                return BEGINNING, instants[0] - MICROSECOND
            case "LessThanOrEqual":
                return BEGINNING, instants[0]
            case "EqualTo" | "EqualNullSafe" | "In":
                return min(instants), max(instants)
    return BEGINNING, END_OF_TIME
