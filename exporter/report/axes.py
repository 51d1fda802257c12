"""Lays out the axes of charts: which times and amounts they show, and how these are written."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from exporter.report.texts import GAP

Spec: TypeAlias = dict[str, Any]

#: More than these have no room on a telephone.
MOST_TICKS: Final = 5
#: From this many days on, ticks name months, and not days.
_MANY_DAYS: Final = 250
#: From this many days on, ticks name years.
_MOST_DAYS: Final = 4000
_DAY_SECONDS: Final = 86400
_LAST_TICK_AT: Final = 0.9


class Form(NamedTuple):
    """Says how an axis writes its values, as `texts` does: an expression of Vega. Ticks are `least_step` apart."""

    text: str
    least_step: float = 0


#: Ticks of small counts stand at halves all the same, and have no text there.
COUNTS: Final = Form("datum.value % 1 ? '' : format(datum.value, datum.value < 1e5 ? ',' : '~s')", least_step=1)
SECONDS: Final = Form(f"format(datum.value, ',~r') + '{GAP}s'")
SHARES: Final = Form(f"format(100 * datum.value, '~r') + '{GAP}%'")
BYTES: Final = Form(f"datum.value ? replace(format(datum.value, '~s'), /([kMGT]?)$/, '{GAP}$1B') : '0'")


def midnight(day: str) -> float:
    """Returns the beginning of a day in milliseconds, as if its time zone were UTC: a chart knows no other."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000


def end_of(day: str, grain: str) -> float:
    """Returns the end of the period that begins with a day, in milliseconds."""
    first = date.fromisoformat(day)
    if grain == "year":
        last = first.replace(year=first.year + 1)
    elif grain == "month":
        last = (first.replace(day=1) + timedelta(days=31)).replace(day=1)
    else:
        last = first + timedelta(days=7 if grain == "week" else 1)
    return midnight(last.isoformat())


def time_axis(field: str, periods: Sequence[str], grain: str) -> Spec:
    """Returns the axis of periods, at least one, with ticks where some of them begin."""
    start, end = midnight(periods[0]), end_of(periods[-1], grain)
    days = (end - start) / _DAY_SECONDS / 1000
    # What stands nearer to the end would be cut off.
    shown = periods[: int(_LAST_TICK_AT * len(periods)) + 1]
    axis = {
        "format": "%Y" if days > _MOST_DAYS else "%b %Y" if days > _MANY_DAYS else "%-d %b",
        "grid": False,
        "values": [midnight(each) for each in shown[:: -(-len(periods) // MOST_TICKS)]],
    }
    scale = {"type": "utc", "domain": [start, end], "nice": False}
    return {"field": field, "type": "temporal", "scale": scale, "axis": axis}


def amount_axis(field: str, form: Form) -> Spec:
    """Returns the axis of amounts, which begins with 0."""
    return {"field": field, "type": "quantitative", "scale": {"zero": True, "nice": 4}, "axis": _axis(form)}


def _axis(form: Form) -> Spec:
    axis = {"labelExpr": form.text, "tickCount": 4, "domain": False, "ticks": False}
    return axis | ({"tickMinStep": form.least_step} if form.least_step else {})
