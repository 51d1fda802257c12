"""Draws charts as specifications of Vega-Lite: plain values in, plain values out.

All have one size, and a layout that no font can move, so that a chart is the same on every machine. Colors are CSS
variables of the page, by which it follows a light or a dark screen, or paper. No name of the API becomes a part of a
specification other than as a value of its data.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Final, TypeAlias

from exporter.report.axes import (
    COUNTS,
    MOST_TICKS,
    Form,
    Spec,
    amount_axis,
    end_of,
    midnight,
    time_axis,
)
from exporter.report.markup import writable
from exporter.report.texts import WEEKDAYS

Values: TypeAlias = Sequence[float | None]

#: The size of every chart, in units that are about a pixel.
WIDTH: Final = 440
HEIGHT: Final = 210
#: So many series have a color of their own.
COLORS: Final = 8
#: The fills of a heat map, from the palest.
HEAT_LEVELS: Final = 6
_TOP: Final = 10
_RIGHT: Final = 14
_BOTTOM: Final = 30
_LEFT: Final = 56
#: The names beside a chart of ranges have this much room.
_NAMES: Final = 150
_NAME_CHARACTERS: Final = 22
_FONT_SIZE: Final = 12
#: What a digit takes at most, also on a telephone, where letters are larger.
_CHARACTER_WIDTH: Final = 8.5
_WEEK: Final = tuple(day[:3] for day in WEEKDAYS)


def stacked(
    periods: Sequence[str],
    grain: str,
    series: Sequence[Values],
    form: Form = COUNTS,
    colors: Sequence[int] = range(COLORS),
) -> Spec:
    """Returns bars over days, weeks, months or years, one series upon the other, the first at the bottom."""
    starts = [midnight(each) for each in periods]
    ends = [*starts[1:], *([end_of(periods[-1], grain)] if periods else [])]
    rows = [
        {"from": start, "to": end, "low": low, "high": high, "series": colors[index]}
        for start, end, column in zip(starts, ends, zip(*series, strict=True), strict=True)
        for index, low, high in _stack(column)
    ]
    bars = {
        "mark": {"type": "rect", "stroke": None},
        "encoding": {
            "x": time_axis("from", periods, grain),
            "x2": {"field": "to"},
            "y": amount_axis("low", form),
            "y2": {"field": "high"},
            "fill": _colors(),
        },
    }
    return _chart(rows, bars)


def lines(periods: Sequence[str], grain: str, series: Sequence[Values], form: Form) -> Spec:
    """Returns lines over days, weeks, months or years, which are broken where there is no value."""
    middle = (end_of(periods[0], grain) - midnight(periods[0])) / 2 if periods else 0
    rows = [
        {"at": midnight(each) + middle, "value": value, "series": index, "piece": piece}
        for index, values in enumerate(series)
        for each, (value, piece) in zip(periods, _pieces(values), strict=True)
        if value is not None
    ]
    return _lined(rows, time_axis("at", periods, grain), form)


def growth(generations: Sequence[int], values: Sequence[float], form: Form) -> Spec:
    """Returns one line over generations, at least two."""
    rows = [{"at": at, "value": value, "series": 0, "piece": 0} for at, value in zip(generations, values, strict=True)]
    axis = {"format": "d", "tickCount": MOST_TICKS, "tickMinStep": 1, "grid": False}
    x = {"field": "at", "type": "quantitative", "scale": {"zero": False, "nice": False}, "axis": axis}
    return _lined(rows, x, form)


def histogram(labels: Sequence[str], counts: Sequence[int], form: Form = COUNTS) -> Spec:
    """Returns a bar for each bin, all of one width. `labels`, which differ, say where each begins."""
    rows = [{"bin": index, "count": count} for index, count in enumerate(counts)]
    width = (WIDTH - _LEFT - _RIGHT) / (len(labels) or 1)
    longest = max(map(len, labels), default=0)
    step = max(1, -(-len(labels) // MOST_TICKS), ceil((longest + 1) * _CHARACTER_WIDTH / width))
    ticks = [
        {"bin": index, "label": label}
        for index, label in enumerate(labels)
        if index % step == 0 and len(label) * _CHARACTER_WIDTH <= (len(labels) - index) * width + _RIGHT
    ]
    x = {"field": "bin", "type": "ordinal", "scale": {"paddingInner": 0.08}, "axis": None}
    bars = {
        "mark": {"type": "bar", "fill": "var(--s0)"},
        "encoding": {"x": x, "y": amount_axis("count", form)},
    }
    # An axis of bands would write the middle of a bin, where these are about its beginning.
    below = {
        "data": {"values": ticks},
        "mark": {"type": "text", "fill": "var(--soft)", "align": "left", "xOffset": {"expr": "-bandwidth('x')/2"}},
        "encoding": {
            "x": x,
            "y": {"value": HEIGHT - _TOP - _BOTTOM + 16},
            "text": {"field": "label", "type": "nominal"},
        },
    }
    return _chart(rows, bars, below)


def week(counts: Sequence[int]) -> Spec:
    """Returns the hours of a week, a row a day, the darker the more."""
    steps = heat_steps(max(counts, default=0))
    rows = [
        {"hour": index % 24, "day": _WEEK[index // 24], "level": bisect_right(steps, count)}
        for index, count in enumerate(counts)
    ]
    cells = {
        "mark": {"type": "rect", "stroke": "var(--paper)", "strokeWidth": 1},
        "encoding": {
            "x": {
                "field": "hour",
                "type": "ordinal",
                "axis": {"values": list(range(0, 24, 3)), "labelAngle": 0, "ticks": False, "domain": False},
            },
            "y": {"field": "day", "type": "ordinal", "sort": list(_WEEK), "axis": {"ticks": False, "domain": False}},
            "fill": {
                "field": "level",
                "type": "ordinal",
                "legend": None,
                "scale": {
                    "domain": list(range(HEAT_LEVELS)),
                    "range": [f"var(--h{level})" for level in range(HEAT_LEVELS)],
                },
            },
        },
    }
    return _chart(rows, cells)


def heat_steps(most: int) -> list[int]:
    """Returns the least count of each fill but that of nothing, in about equal steps up to the largest count."""
    fills = HEAT_LEVELS - 1
    return sorted({step for fill in range(fills) if (step := 1 + most * fill // fills) <= most})


def ranges(names: Sequence[str], starts: Values, ends: Values, form: Form) -> Spec:
    """Returns a bar from one value to another for each name, with a dot at both, from the top to the bottom."""
    rows = [
        {"place": place, "name": shortened(name), "start": start, "end": end}
        for place, (name, start, end) in enumerate(zip(names, starts, ends, strict=True))
    ]
    y = {"field": "place", "type": "ordinal", "axis": None}
    bar = {
        "mark": {"type": "rule", "strokeWidth": 5, "strokeCap": "round", "stroke": "var(--line)"},
        "encoding": {"x": amount_axis("start", form), "x2": {"field": "end"}, "y": y},
    }
    dots = [
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "fill": f"var(--s{color})"},
            "encoding": {"x": {"field": field, "type": "quantitative"}, "y": y},
        }
        for color, field in enumerate(("start", "end"))
    ]
    text = {
        "mark": {"type": "text", "align": "right", "fill": "var(--ink)", "x": -8},
        "encoding": {"y": y, "text": {"field": "name", "type": "nominal"}},
    }
    return _chart(rows, bar, *dots, text, left=_NAMES)


def shortened(name: str) -> str:
    """Returns a name that fits beside a chart."""
    name = writable(name)
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"


def _lined(rows: list[dict[str, Any]], x: Spec, form: Form) -> Spec:
    y = amount_axis("value", form)
    stroke = {**_colors(), "field": "series"}
    line = {
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {"x": x, "y": y, "stroke": stroke, "detail": {"field": "piece", "type": "ordinal"}},
    }
    # A value between two that are missing has no line.
    dots = {
        "mark": {"type": "point", "filled": True, "size": 14, "opacity": 1},
        "encoding": {"x": x, "y": y, "fill": stroke},
    }
    return _chart(rows, line, dots)


def _stack(column: Values) -> Iterator[tuple[int, float, float]]:
    low = 0.0
    for index, value in enumerate(column):
        if value:
            yield index, low, low + value
            low += value


def _pieces(values: Values) -> Iterator[tuple[float | None, int]]:
    piece = 0
    for value in values:
        piece += value is None
        yield value, piece


def _colors() -> Spec:
    domain = list(range(COLORS))
    return {
        "field": "series",
        "type": "ordinal",
        "legend": None,
        "scale": {"domain": domain, "range": [f"var(--s{color})" for color in domain]},
    }


def _chart(rows: list[dict[str, Any]], *layers: Spec, left: int = _LEFT) -> Spec:
    return {
        "width": WIDTH - left - _RIGHT,
        "height": HEIGHT - _TOP - _BOTTOM,
        "padding": {"left": left, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM},
        # Any other way measures texts, by the fonts of the machine.
        "autosize": {"type": "none"},
        "background": "transparent",
        "data": {"values": rows},
        "layer": list(layers),
        "config": {
            "aria": False,
            "view": {"stroke": None},
            "axis": {
                "title": None,
                "labelColor": "var(--soft)",
                "labelFontSize": _FONT_SIZE,
                "labelLimit": 1000,
                "labelOverlap": False,
                "gridColor": "var(--grid)",
                "domainColor": "var(--line)",
                "tickColor": "var(--line)",
                "labelPadding": 6,
            },
            "text": {"fontSize": _FONT_SIZE, "limit": 0},
            "font": "inherit",
        },
    }
