"""Draws what is covered as a band, and judges days by it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from exporter.contract import BEGINNING, SECOND, Instant
from exporter.coverage import Coverage as Times
from exporter.coverage import Interval
from exporter.partitions import date_of, day_text
from exporter.report.calendar import Calendar
from exporter.report.model import Band, BandKind, Coverage, Day, DayState, Span
from exporter.report.texts import WEEKDAYS

#: The most pieces that a band has.
MOST_BANDS: Final = 200
_MOST_HOLES: Final = 50


@dataclass(frozen=True)
class Standing:
    """Says of which times an export has all rows: those of its `range` that are `covered`, except before the `floor`,
    where rows have expired. In `unproven` rows may be missing, and in `quarantined` some are in no table."""

    range: Interval
    covered: Times
    unproven: Times
    quarantined: Times
    floor: Instant = BEGINNING

    @cached_property
    def missing(self) -> Times:
        return Times([self.range]) - self.covered

    def kinds(self, span: Interval) -> dict[BandKind, Times]:
        """Divides a span of the range, from the mildest kind to the worst."""
        whole = Times([span])
        missing = whole & self.missing
        unproven = (whole & self.unproven) - missing
        expired = Times([Interval(BEGINNING, self.floor)] if self.floor > BEGINNING else [])
        expired = (whole & expired) - missing - unproven
        return {
            "covered": whole - missing - unproven - expired,
            "expired": expired,
            "unproven": unproven,
            "missing": missing,
        }


def draw_coverage(standing: Standing, calendar: Calendar, begins: Instant, share: float | None) -> Coverage:
    """Draws the range as a band; if it has no beginning, from `begins` on. `share` of it is covered."""
    axis = Interval(begins, standing.range.end) if standing.range.open_below else standing.range
    kinds = standing.kinds(axis)
    bands = sorted((interval, kind) for kind, times in kinds.items() for interval in times)
    is_coarse = len(bands) > MOST_BANDS
    if is_coarse:
        bands = list(_coarse(axis, kinds))
    length = axis.end - axis.start
    holes = standing.missing.intervals
    return Coverage(
        start=calendar.text(axis.start),
        end=calendar.text(axis.end),
        is_open=standing.range.open_below,
        is_coarse=is_coarse,
        covered_share=share,
        bands=tuple(
            Band(
                kind=kind,
                start=calendar.text(one.start),
                end=calendar.text(one.end),
                at=round((one.start - axis.start) / length, 6),
                share=round((one.end - one.start) / length, 6),
            )
            for one, kind in bands
        ),
        holes=tuple(span_of(hole, calendar) for hole in holes[:_MOST_HOLES]),
        holes_count=len(holes),
    )


def _coarse(axis: Interval, kinds: dict[BandKind, Times]) -> Iterator[tuple[Interval, BandKind]]:
    """Yields pieces of equal length, joined where they are alike: each is of the worst kind that lies in it."""
    length, begun = axis.end - axis.start, axis.start
    shown: BandKind | None = None
    for place in range(MOST_BANDS):
        start, end = (axis.start + length * edge // MOST_BANDS for edge in (place, place + 1))
        cell = Times([Interval(start, end)])
        kind = next(kind for kind, times in reversed(kinds.items()) if times & cell)
        if shown not in (None, kind):
            yield Interval(begun, start), shown
            begun = start
        shown = kind
    if shown is not None:
        yield Interval(begun, axis.end), shown


def judge_day(standing: Standing, calendar: Calendar, day: int, conversations: int) -> Day:
    """Says whether all conversations of a day are there."""
    span = calendar.interval_of(day)
    whole = Times([span])
    missing = (whole & standing.missing).length
    last, first = day == calendar.days[-1], day == calendar.days[0]
    starts = calendar.starts_within and first
    ends = calendar.ends_within and last
    state: DayState = "whole"
    if missing:
        state = "hole"
    elif span.start < standing.floor:
        state = "expired"
    elif whole & standing.unproven or whole & standing.quarantined:
        state = "doubtful"
    elif starts or ends:
        state = "cut"
    length = span.end - span.start
    return Day(
        day=day_text(day),
        weekday=WEEKDAYS[date_of(day).weekday()],
        conversations=conversations,
        state=state,
        covered_share=round((length - missing) / length, 6),
        starts_at=calendar.text(span.start) if starts else None,
        ends_at=calendar.text(span.end) if ends else None,
    )


def span_of(interval: Interval, calendar: Calendar) -> Span:
    """Returns an interval as a report shows it."""
    return Span(
        start=None if interval.open_below else calendar.text(interval.start),
        end=calendar.text(interval.end),
        seconds=None if interval.open_below else (interval.end - interval.start) / SECOND,
    )
