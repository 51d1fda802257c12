"""Builds the parts of which every section of the page is made: names, bars, tables, charts with what they say."""

from collections.abc import Sequence
from typing import NamedTuple

from exporter.report import texts
from exporter.report.axes import Spec
from exporter.report.markup import Markup, element, joined
from exporter.report.model import Absent, Group
from exporter.report.svg import draw


class Column(NamedTuple):
    """Names a column of a table, whose cells are numbers or not."""

    label: str
    is_number: bool = True


class Table(NamedTuple):
    """Holds a table: what it is of, its columns, and its rows of cells; the first cell of a row names it."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


class Figure(NamedTuple):
    """Holds a chart: what it is of, what can be seen in it in a sentence or two, and the numbers behind it.

    `legend` has the colors of its series, as the style sheet calls them, and their names; `unit` is that of an axis.
    """

    title: str
    finding: str
    spec: Spec
    table: Table
    unit: str = ""
    legend: Sequence[tuple[str, str]] = ()


def named(name: str | None, otherwise: str = "none") -> Markup:
    """Returns a name of the API, whose direction of writing changes nothing around it."""
    return element("i", otherwise) if name is None else element("bdi", name)


def version_name(version: Group) -> Markup:
    """Returns how a version of an agent is called."""
    if version.is_rest:
        return element("i", "all others")
    return joined("version ", named(version.name, "not known"), " of ", named(version.agent_id, "no agent"))


def version_text(version: Group) -> str:
    """Returns how a version of an agent is called beside a chart, where there is little room."""
    return f"{texts.isolated(version.name, '?')} · {texts.isolated(version.agent_id, '?')}"


def bar(share: float, color: str = "s0") -> Markup:
    """Returns a bar for a cell of a table, beside which its number stands."""
    filled = element("rect", width=f"{100 * share:.2f}", height=10, fill=f"var(--{color})")
    return element("svg", filled, class_="bar", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")


def draw_table(table: Table) -> Markup:
    """Returns a table that can be scrolled where it is wider than the screen."""
    classes = ["n" if column.is_number else None for column in table.columns]
    head = [
        element("th", column.label, scope="col", class_=kind)
        for column, kind in zip(table.columns, classes, strict=True)
    ]
    body = [
        element(
            "tr",
            *(
                element("td", cell, class_=kind) if place else element("th", cell, scope="row", class_=kind)
                for place, (cell, kind) in enumerate(zip(row, classes, strict=True))
            ),
        )
        for row in table.rows
    ]
    drawn = element(
        "table",
        element("caption", table.caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    return element("div", drawn, class_="scroll", tabindex=0, role="region", aria_label=table.caption)


def fold(summary: str, *inside: str) -> Markup:
    """Returns what is shown on demand."""
    return element("details", element("summary", summary), *inside)


def draw_figure(figure: Figure) -> Markup:
    """Returns a chart with its title, what it says, its legend, and the table behind it."""
    keys = [
        element("li", element("span", class_=f"key {color}"), element("bdi", name)) for color, name in figure.legend
    ]
    return element(
        "figure",
        element("figcaption", element("h3", figure.title), element("p", figure.finding)),
        element("ul", *keys, class_="legend") if keys else None,
        element("p", figure.unit, class_="unit") if figure.unit else None,
        draw(figure.spec, f"{figure.title}. {figure.finding}"),
        fold("The numbers", draw_table(figure.table)),
    )


def without(title: str, absent: Absent) -> Markup:
    """Returns what stands in place of a chart that cannot be shown, and says why."""
    return element(
        "figure",
        element("figcaption", element("h3", title), element("p", texts.sentence(absent.reason), class_="none")),
    )


def grid(*figures: Markup) -> Markup:
    """Returns figures side by side, as many as there is room for."""
    return element("div", *figures, class_="grid")


def section(name: str, title: str, *inside: Markup | None) -> Markup:
    """Returns a section of the page, which a link can name."""
    return element(
        "section", element("h2", title, id=f"{name}-title"), *inside, id=name, aria_labelledby=f"{name}-title"
    )


def facts(*pairs: tuple[str, str | None]) -> Markup:
    """Returns what is known under a few names; what is None is left out."""
    kept = [(label, value) for label, value in pairs if value is not None]
    return element("dl", *(element("div", element("dt", label), element("dd", value)) for label, value in kept))


def listed(lines: Sequence[str]) -> Markup | None:
    """Returns a list of sentences; None of none."""
    return element("ul", *(element("li", line) for line in lines), class_="lines") if lines else None
