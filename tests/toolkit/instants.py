"""Turns the times of results back into the instants that tests reckon with."""

from collections.abc import Iterable

from exporter.contract import BEGINNING, instant_of
from exporter.coverage import Coverage, Interval, Period


def coverage_of(periods: Iterable[Period]) -> Coverage:
    """Returns what the periods cover."""
    return Coverage(
        Interval(BEGINNING if one.start is None else instant_of(one.start), instant_of(one.end)) for one in periods
    )
