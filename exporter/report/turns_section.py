"""Draws what transcripts say of agents: how soon they answer, how often they are interrupted, which tools they call."""

from collections.abc import Callable, Sequence
from typing import Final

from exporter.report import axes, charts, texts
from exporter.report.answers import from_slowest
from exporter.report.blocks import (
    Column,
    Figure,
    Table,
    bar,
    draw_figure,
    draw_table,
    grid,
    named,
    version_name,
    version_text,
    without,
)
from exporter.report.distribution import draw_distribution
from exporter.report.markup import Markup, element
from exporter.report.model import Absent, Quantiles, Report, Tool, Turns

#: So many versions have room in a chart; the table of versions has more.
_VERSIONS: Final = 8
_QUANTILES: Final = (("s0", "median: half of the answers are faster"), ("s1", "95 % of the answers are faster"))


def draw_turns(report: Report) -> tuple[Markup, ...]:
    """Returns what stands below the heading of the section."""
    turns = report.turns
    if isinstance(turns, Absent):
        return (element("p", texts.sentence(turns.reason), class_="none"),)
    counts = (
        f"{texts.counted(turns.items, 'item')} of transcripts, {texts.counted(turns.messages, 'message')} of agents."
    )
    about = "Latency is the time from the end of what a user says to the beginning of the agent's answer."
    return (
        element("p", f"{counts} {about}"),
        grid(
            _by_version(report),
            _by_period(turns.latency_by_period, turns.grain),
            draw_distribution("Latency of answers", turns.latency, "answer", texts.seconds, texts.bound),
            _interruptions(turns),
            draw_distribution("Confidence of the transcription", turns.confidence, "message", texts.quantity),
        ),
        _tools(turns.tools),
    )


def _by_version(report: Report) -> Markup:
    title, versions = "Latency by version", report.versions
    if isinstance(versions, Absent):
        return without(title, versions)
    timed = from_slowest(versions)
    if not timed:
        return without(title, Absent("No version has a message with a latency"))
    shown, slowest, fastest = timed[:_VERSIONS], timed[0], timed[-1]
    finding = f"The longest median has {version_text(slowest)}, with {texts.seconds(slowest.latency_p50)}"
    finding += (
        "."
        if slowest is fastest
        else f"; the shortest {version_text(fastest)}, with {texts.seconds(fastest.latency_p50)}."
    )
    if len(timed) > len(shown):
        finding += f" Of {len(timed):,} versions, the chart has the {len(shown)} slowest."
    columns = (Column("version", False), Column("answers"), Column("median"), Column("95\N{NO-BREAK SPACE}% at most"))
    rows = [
        [
            version_name(each),
            texts.number(each.latency_count),
            texts.seconds(each.latency_p50),
            texts.seconds(each.latency_p95),
        ]
        for each in timed
    ]
    alone = len({each.name for each in shown}) == len(shown)
    spec = charts.ranges(
        [(each.name or "?") if alone else version_text(each) for each in shown],
        [each.latency_p50 for each in shown],
        [each.latency_p95 for each in shown],
        axes.SECONDS,
    )
    return draw_figure(
        Figure(title, finding, spec, Table("Latency by version of agents", columns, rows), "Seconds.", _QUANTILES)
    )


def _by_period(data: Quantiles | Absent, grain: str) -> Markup:
    title = f"Latency by {grain}"
    if isinstance(data, Absent):
        return without(title, data)
    finding = _extremes("The median", data.periods, data.p50, grain, texts.seconds)
    if finding is None:
        return without(title, Absent("No message of an agent has a latency"))
    columns = (Column(grain, False), Column("answers"), Column("median"), Column("95\N{NO-BREAK SPACE}% at most"))
    rows = [
        [texts.period(period, grain), texts.number(count), texts.seconds(p50), texts.seconds(p95)]
        for period, count, p50, p95 in zip(data.periods, data.counts, data.p50, data.p95, strict=True)
    ]
    spec = charts.lines(data.periods, grain, (data.p50, data.p95), axes.SECONDS)
    return draw_figure(Figure(title, finding, spec, Table(title, columns, rows), "Seconds.", _QUANTILES))


def _extremes(
    what: str, periods: Sequence[str], values: Sequence[float | None], grain: str, write: Callable[[float | None], str]
) -> str | None:
    """Says where values are largest and smallest; None if there is none."""
    known = [(value, period) for value, period in zip(values, periods, strict=True) if value is not None]
    if not known:
        return None
    most, least = max(known, key=lambda one: one[0]), min(known, key=lambda one: one[0])
    if len(known) == 1:
        return f"{what} is {write(most[0])}."
    high, low = texts.period(most[1], grain), texts.period(least[1], grain)
    return f"{what} is largest, {write(most[0])}: {high}; smallest, {write(least[0])}: {low}."


def _interruptions(turns: Turns) -> Markup:
    title, data, grain = "Interrupted messages of agents", turns.interruption_by_period, turns.grain
    if isinstance(data, Absent):
        return without(title, data)
    part = _extremes("The share", turns.periods, data.values, grain, texts.share)
    if part is None:
        return without(title, Absent("No agent has said anything"))
    whole = f"Users interrupted {turns.interrupted:,} of {texts.counted(turns.messages, 'message')} of agents"
    whole += f" ({texts.share(turns.interrupted / turns.messages)})." if turns.messages else "."
    rows = [
        [texts.period(period, grain), texts.share(value)]
        for period, value in zip(turns.periods, data.values, strict=True)
    ]
    table = Table(f"Share of interrupted messages by {grain}", (Column(grain, False), Column("interrupted")), rows)
    spec = charts.lines(turns.periods, grain, (data.values,), axes.SHARES)
    return draw_figure(Figure(title, f"{whole} {part}", spec, table, "Share of the messages of agents."))


def _tools(tools: tuple[Tool, ...] | Absent) -> Markup:
    title = "Calls of tools"
    if isinstance(tools, Absent):
        return without(title, tools)
    if not tools:
        return without(title, Absent("No agent has called a tool"))
    most = max(tool.calls for tool in tools)
    columns = (
        Column("tool", False),
        Column("calls"),
        Column("", False),
        Column("errors"),
        Column("of calls"),
        Column("no answer"),
        Column("duration, median"),
        Column("95\N{NO-BREAK SPACE}% at most"),
    )
    rows = [
        [
            element("i", "all others") if tool.is_rest else named(tool.name),
            texts.number(tool.calls),
            bar(tool.calls / most),
            texts.number(tool.errors),
            texts.share(tool.errors / tool.calls if tool.calls else None),
            texts.number(tool.unanswered),
            texts.seconds(tool.duration_p50),
            texts.seconds(tool.duration_p95),
        ]
        for tool in tools
    ]
    return draw_table(Table(title, columns, rows))
