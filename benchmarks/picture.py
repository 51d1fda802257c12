"""Draws all results in one picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

import altair as alt
import vl_convert

from benchmarks import cost, flight, memory, reading, simulated, stages
from benchmarks.results import Results

_WIDTH, _HEIGHT = 360, 210
_OURS, _IDEAL = "#1f6f8b", "#999999"
_COLOURS: Final = ("#1f6f8b", "#e07a3f", "#7a9e57", "#b04a6f", "#8c7853", "#5b5ea6", "#c9a227")

_Row: TypeAlias = dict[str, Any]
#: altair has no types for most of this.
_Panel: TypeAlias = Any


def draw(results: Results, target: Path) -> None:
    """Writes an SVG of the parts that have been measured, if any."""
    panels = [panel(part) for name, panel in _PANELS.items() if (part := getattr(results, name)) is not None]
    if not panels:
        return
    chart = alt.concat(*panels, columns=2, spacing={"row": 130, "column": 120}, bounds="flush").resolve_scale(
        color="independent", yOffset="independent"
    )
    chart = (
        chart.configure(background="white", font="Helvetica, Arial, sans-serif", padding=20)
        .configure_axis(
            grid=True, gridColor="#eeeeee", domainColor="#888888", labelFontSize=11, titleFontWeight="normal"
        )
        .configure_title(
            anchor="start", frame="group", fontSize=14, subtitleFontSize=11, subtitleColor="#555555", offset=10
        )
        .configure_view(stroke=None)
        .configure_legend(title=None, labelFontSize=11, orient="bottom", columns=3, labelLimit=0)
        .configure_range(category=list(_COLOURS))
    )
    target.write_text(vl_convert.vegalite_to_svg(chart.to_dict()), encoding="utf-8")


def _cost(result: cost.Result) -> _Panel:
    rows = [
        {
            "case": "with transcripts" if case.transcripts else "without",
            "contender": name,
            **_middle([taken.cpu_seconds for taken in costs]),
        }
        for case in result.cases
        for name, costs in case.costs.items()
    ]
    for row in rows:
        row["text"] = f"{row['value']:.1f} s"
    base = _chart(rows).encode(
        y=alt.Y("contender:N", title=None, sort=list(result.cases[0].costs)),
        yOffset=alt.YOffset("case:N", sort=["with transcripts", "without"]),
    )
    bars = base.mark_bar().encode(
        x=alt.X("value:Q", title="CPU seconds (user + system)"),
        color=alt.Color("case:N", sort=["with transcripts", "without"]),
    )
    text = base.mark_text(align="left", dx=4, fontSize=11).encode(x="value:Q", text="text:N")
    megabytes = max(case.json_bytes for case in result.cases) / 1e6
    return _panel(
        bars + text,
        f"CPU of {result.cases[0].rows:,} conversations",
        f"{megabytes:.0f} MB of JSON with transcripts; DuckDB reads it from the local disk",
    )


def _stages(result: stages.Result) -> _Panel:
    rows = [{"stage": what, **_middle(result.of(stage))} for stage, what in stages.STAGES.items()]
    for row in rows:
        row["text"] = f"{row['value']:.2f} s"
    base = _chart(rows).encode(y=alt.Y("stage:N", title=None, sort=list(stages.STAGES.values())))
    bars = base.mark_bar(color=_OURS).encode(x=alt.X("value:Q", title="CPU seconds"))
    text = base.mark_text(align="left", dx=4, fontSize=11).encode(x="value:Q", text="text:N")
    return _panel(bars + text, "Where the CPU goes", f"{result.rows:,} conversations with transcripts")


def _flight(result: flight.Result) -> _Panel:
    rows = [{"x": case.in_flight, "who": "exporter", **_middle(case.rates)} for case in result.cases]
    rows += [{"x": case.in_flight, "who": "ideal", "value": case.ideal_rate} for case in result.cases]
    x = alt.X("x:Q", title="requests in flight", scale=alt.Scale(type="log", base=2), axis=_at(result, "in_flight"))
    y = alt.Y("value:Q", title="rows a second", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s"))
    return _panel(
        _lines(rows, x, y, ["exporter", "ideal"]),
        "Rows a second against requests in flight",
        f"{result.cases[0].latency_seconds:g} s a page, a few fields; start included",
    )


def _reading(result: reading.Result) -> _Panel:
    rows = [
        {"case": case.name, "what": what, **_middle(values)}
        for case in result.cases
        for what, values in (("time ÷ ideal", case.slowdowns), ("requests ÷ pages", case.overheads))
    ]
    for row in rows:
        row["text"] = f"{row['value']:.2f}"
    base = _chart(rows).encode(
        y=alt.Y("case:N", title=None, sort=[case.name for case in result.cases]),
        yOffset=alt.YOffset("what:N", sort="descending"),
    )
    bars = base.mark_bar().encode(x=alt.X("value:Q", title="1 is ideal"), color=alt.Color("what:N", sort="descending"))
    text = base.mark_text(align="left", dx=4, fontSize=11).encode(x="value:Q", text="text:N")
    rule = _chart([{"one": 1}]).mark_rule(color=_IDEAL, strokeDash=[4, 3]).encode(x="one:Q")
    first = result.cases[0]
    return _panel(
        bars + text + rule,
        "Reading, by how the rows lie in time",
        f"over HTTP: {first.in_flight} in flight, {first.latency_seconds * 1000:.0f} ms a page",
    )


def _memory(result: memory.Result) -> _Panel:
    levels = sorted({case.in_flight for case in result.cases})
    rows = [{"x": case.rows, "who": f"{case.in_flight} in flight", **_middle(case.peaks)} for case in result.cases]
    x = alt.X("x:Q", title="rows of 5 kB", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=5))
    y = alt.Y("value:Q", title="peak MB", scale=alt.Scale(zero=True))
    return _panel(
        _lines(rows, x, y, [f"{level} in flight" for level in levels]),
        "Memory over rows",
        "the process at its peak (RSS)",
    )


def _simulated(result: simulated.Result) -> _Panel:
    pages = min(case.pages for case in result.cases)
    cases = [case for case in result.cases if case.pages == pages]
    densities = list(dict.fromkeys(case.density for case in cases))
    rows = [{"x": case.workers, "who": case.density, **_middle(case.slowdowns)} for case in cases]
    x = alt.X("x:Q", title="workers", scale=alt.Scale(type="log", base=2), axis=_at(result, "workers"))
    y = alt.Y(
        "value:Q",
        title="makespan ÷ ideal",
        scale=alt.Scale(type="log", domainMin=1, nice=False),
        axis=alt.Axis(tickCount=6),
    )
    return _panel(
        _lines(rows, x, y, densities),
        "Sharing the work, simulated",
        f"{pages} pages, which is little for the most workers",
    )


def _at(result: flight.Result | simulated.Result, name: str) -> alt.Axis:
    """Returns an axis with a tick at each point."""
    return alt.Axis(values=sorted({getattr(case, name) for case in result.cases}), format="d")


def _lines(rows: Sequence[_Row], x: alt.X, y: alt.Y, order: Sequence[str]) -> _Panel:
    """Draws a line and points for each `who`, with the spread of its values."""
    colour = alt.Color("who:N", sort=list(order))
    base = _chart(rows).encode(x=x, color=colour)
    spreads = base.mark_rule(strokeWidth=1).encode(y=alt.Y("least:Q"), y2="most:Q")
    return base.mark_line(point=True).encode(y=y) + spreads


def _chart(rows: Sequence[_Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def _middle(values: Sequence[float]) -> _Row:
    return {"value": median(values), "least": min(values), "most": max(values)}


def _panel(chart: _Panel, title: str, subtitle: str) -> _Panel:
    return chart.properties(width=_WIDTH, height=_HEIGHT, title=alt.Title(title, subtitle=subtitle))


_PANELS: Final[dict[str, Callable[[Any], _Panel]]] = {
    "cost": _cost,
    "stages": _stages,
    "flight": _flight,
    "reading": _reading,
    "simulated": _simulated,
    "memory": _memory,
}
