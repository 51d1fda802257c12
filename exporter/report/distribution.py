"""Draws how values are distributed, as a chart of bins."""

from collections.abc import Callable
from typing import TypeAlias

from exporter.report import charts, texts
from exporter.report.blocks import Column, Figure, Table, draw_figure, without
from exporter.report.markup import Markup
from exporter.report.model import Absent, Distribution

Write: TypeAlias = Callable[[float | None], str]


def draw_distribution(
    title: str, data: Distribution | Absent, noun: str, write: Write, write_bound: Write | None = None
) -> Markup:
    """Returns the chart of a distribution over things called `noun`, or why there is none.

    `write` puts a value into words, and `write_bound` a bound of bins.
    """
    write_bound = write_bound or write
    if isinstance(data, Absent):
        return without(title, data)
    if not data.count:
        return without(title, Absent(f"No {noun} has a value"))
    finding = (
        f"Half are at most {write(data.p50)}, 95 % at most {write(data.p95)}; the largest is {write(data.maximum)}."
    )
    if data.missing:
        finding += f" {texts.counted(data.missing, noun)} without a value."
    rows = [
        [
            write_bound(each.low),
            texts.NONE if each.high is None else write_bound(each.high),
            texts.number(each.count),
            texts.share(each.count / data.count),
        ]
        for each in data.bins
    ]
    columns = (Column("from"), Column("to less than"), Column(f"{noun}s"), Column("share"))
    return draw_figure(
        Figure(
            title=title,
            finding=finding,
            spec=charts.histogram([write_bound(each.low) for each in data.bins], [each.count for each in data.bins]),
            table=Table(f"{title}: how many have which value", columns, rows),
            unit=f"Upward: {noun}s. A bar begins at the value below it; the last one has no end.",
        )
    )
