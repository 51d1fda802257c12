"""Draws how many conversations there are: by day and hour, by status, by length, by agent and by version."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from exporter.report import charts, texts
from exporter.report.blocks import (
    Column,
    Figure,
    Table,
    bar,
    draw_figure,
    draw_table,
    grid,
    named,
    without,
)
from exporter.report.distribution import draw_distribution
from exporter.report.markup import Markup, element
from exporter.report.model import Absent, Day, Group, Report, Volume

#: So many of the latest days are shown in the open; the numbers behind the chart have all.
_DAYS: Final = 14
_DAY_WORDS: Final = {
    "whole": "all read",
    "cut": "a part of the day lies outside the range",
    "doubtful": "in doubt",
    "hole": "not all read",
    "expired": "deleted because of age",
}


class _Measure(NamedTuple):
    label: str
    write: Callable[[float | None], str]
    of: Callable[[Group], float | None]


#: What is known of a group besides its conversations; a column that all lack is left out.
_GROUP_COLUMNS: Final = (
    _Measure("duration: median", texts.seconds, lambda group: group.duration_p50),
    _Measure("duration: 95\N{NO-BREAK SPACE}%", texts.seconds, lambda group: group.duration_p95),
    _Measure("messages of users: median", texts.quantity, lambda group: group.user_turns_p50),
    _Measure("messages of users: 95\N{NO-BREAK SPACE}%", texts.quantity, lambda group: group.user_turns_p95),
    _Measure("latency: median", texts.seconds, lambda group: group.latency_p50),
    _Measure("latency: 95\N{NO-BREAK SPACE}%", texts.seconds, lambda group: group.latency_p95),
    _Measure("interrupted", texts.share, lambda group: group.interruption_rate),
)
_BY_WORDS: Final = {"agent_id": "agent", "agent_version_id": "version"}


def draw_volume(report: Report) -> tuple[Markup | None, ...]:
    """Returns what stands below the heading of the section."""
    if not report.conversations:
        return (element("p", "There is no conversation to count.", class_="none"),)
    by = _BY_WORDS.get(report.by, report.by)
    title = f"Conversations by {'day' if isinstance(report.volume, Absent) else report.volume.grain}"
    return (
        _latest(report.days),
        grid(
            without(title, report.volume)
            if isinstance(report.volume, Absent)
            else draw_figure(_volume(report.volume, report.days)),
            _week(report),
            draw_distribution(
                "How long conversations take", report.durations, "conversation", texts.seconds, texts.bound
            ),
            draw_distribution("Messages of users", report.user_turns, "conversation", texts.quantity),
        ),
        # The table by groups has the statuses too.
        None if report.by == "status" else _statuses(report),
        element("p", "95 %: so many of the values are no larger.", class_="unit"),
        _groups(by, report.groups),
        _groups("version of agents", report.versions, of_versions=True),
    )


def _latest(days: Sequence[Day]) -> Markup:
    shown = days[-_DAYS:]
    most = max((each.conversations for each in shown), default=0) or 1
    rows = [
        [
            texts.short_day(each.day),
            texts.number(each.conversations),
            bar(each.conversations / most),
            _DAY_WORDS[each.state] + (f", up to {texts.instant(each.ends_at)}" if each.ends_at else ""),
        ]
        for each in reversed(shown)
    ]
    columns = (Column("day", False), Column("conversations"), Column("", False), Column("are these all?", False))
    return draw_table(Table(f"The last {texts.counted(len(rows), 'day')}", columns, rows))


def _volume(volume: Volume, days: Sequence[Day]) -> Figure:
    grain, periods = volume.grain, volume.periods
    cut = {each.day for each in days if each.state == "cut"}
    most = max(volume.total)
    # What the range has only a part of has few for this reason.
    fewest, least = min(
        ((count, each) for count, each in zip(volume.total, periods, strict=True) if each not in cut),
        default=(most, periods[0]),
    )
    at_most = texts.period(periods[volume.total.index(most)], grain)
    finding = f"{texts.counted(sum(volume.total), 'conversation')} in {texts.counted(len(periods), grain)}."
    if len(periods) > 1:
        at_least = texts.period(least, grain)
        finding += f" The most, {most:,}: {at_most}; the fewest, {fewest:,}: {at_least}."
    names = [_series_name(each.name, each.is_rest) for each in volume.series]
    columns = [Column(grain, False), Column("all"), *(Column(name) for name in names)]
    values = [each.values for each in volume.series]
    rows = [
        [texts.period(period, grain), texts.number(total), *(texts.quantity(column[place]) for column in values)]
        for place, (period, total) in enumerate(zip(periods, volume.total, strict=True))
    ]
    return Figure(
        title=f"Conversations by {grain}",
        finding=finding,
        spec=charts.stacked(periods, grain, values),
        table=Table(f"Conversations by {grain} and {_BY_WORDS.get(volume.by, volume.by)}", columns, rows),
        legend=[(f"s{place}", name) for place, name in enumerate(names)],
    )


def _series_name(name: str | None, is_rest: bool) -> str:
    return "all others" if is_rest else "none" if name is None else name


def _week(report: Report) -> Markup:
    title, week = "When conversations begin, over the week", report.week
    if isinstance(week, Absent):
        return without(title, week)
    most = max(week)
    busiest = week.index(most)
    day, hour = texts.WEEKDAYS[busiest // 24], busiest % 24
    finding = f"The busiest hour is {day} from {hour}:00 to {hour + 1}:00, with {texts.counted(most, 'conversation')}."
    columns = [Column("hour", False), *(Column(each[:3]) for each in texts.WEEKDAYS)]
    rows = [[f"{at:02d}:00", *(texts.number(week[24 * day + at]) for day in range(7))] for at in range(24)]
    return draw_figure(
        Figure(
            title=title,
            finding=finding,
            spec=charts.week(week),
            table=Table("Conversations by hour of the week", columns, rows),
            unit=f"Hours of the day in {report.timezone}, and days of the week.",
            legend=[(f"h{place}", name) for place, name in enumerate(_heat_names(most))],
        )
    )


def _heat_names(most: int) -> list[str]:
    """Names the fills of the heat map by the counts that they stand for."""
    steps = charts.heat_steps(most)
    lasts = [*(step - 1 for step in steps[1:]), most]
    return [
        "0",
        *(f"{low:,}" if low == last else f"{low:,} to {last:,}" for low, last in zip(steps, lasts, strict=True)),
    ]


def _statuses(report: Report) -> Markup:
    if isinstance(report.statuses, Absent):
        return without("Conversations by status", report.statuses)
    rows = [
        [_name(each.name, each.is_rest), texts.number(each.count), texts.share(each.share), bar(each.share)]
        for each in report.statuses
    ]
    columns = (Column("status", False), Column("conversations"), Column("share"), Column("", False))
    return draw_table(Table("Conversations by status", columns, rows))


def _groups(label: str, groups: tuple[Group, ...] | Absent, *, of_versions: bool = False) -> Markup:
    title = f"Conversations by {label}"
    if isinstance(groups, Absent):
        return without(title, groups)
    shown = [column for column in _GROUP_COLUMNS if any(column.of(each) is not None for each in groups)]
    names = (Column("agent", False), Column("version", False)) if of_versions else (Column(label, False),)
    columns = [*names, Column("conversations"), Column("share")]
    columns += [Column(column.label) for column in shown]
    rows = [
        [
            *((_name(each.agent_id, each.is_rest),) if of_versions else ()),
            texts.NONE if of_versions and each.is_rest else _name(each.name, each.is_rest),
            texts.number(each.conversations),
            texts.share(each.share),
            *(column.write(column.of(each)) for column in shown),
        ]
        for each in groups
    ]
    return draw_table(Table(title, columns, rows))


def _name(name: str | None, is_rest: bool) -> Markup:
    return element("i", "all others") if is_rest else named(name)
