"""Counts the conversations of a report: by day, channel and hour of the week, by status, duration and user turns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exporter.layout import CONVERSATIONS
from exporter.report.calendar import Calendar, unit_of
from exporter.report.cube import Cells, Cube
from exporter.report.groups import REST, Histograms, Ranked, all_of
from exporter.report.histogram import bucket_sql, describe
from exporter.report.model import WEEK_HOURS, Absent, Distribution, Series, Volume
from exporter.report.scope import Scope

#: The series that a chart tells apart, beside the one of all others.
_MOST_SERIES: Final = 7
_DURATION_EDGES: Final = (0, 15, 30, 60, 120, 300, 600, 1_800, 3_600)
_TURNS_EDGES: Final = (0, 1, 2, 3, 5, 10, 20, 50)
_NAMES: Final = Cube({"by": ("b",), "versions": ("v", "agent"), "statuses": ("s",)})
_COUNTS: Final = Cube(
    {
        "days": ("day", "b"),
        "week": ("hour",),
        "durations": ("b", "d"),
        "durations of versions": ("v", "d"),
        "user turns": ("b", "t"),
        "user turns of versions": ("v", "t"),
    }
)


@dataclass(frozen=True)
class ConversationFigures:
    """Holds what the table of conversations says. Histograms are by the code of a group, as `groups.Ranked` gives it,
    and None if their column is not exported. `by_day` counts by local day and by the code of `by`."""

    by: Ranked
    versions: Ranked
    statuses: Ranked
    by_day: Mapping[int, Mapping[int, int]]
    week: tuple[int, ...]
    durations: Histograms | None
    durations_of_versions: Histograms | None
    user_turns: Histograms | None
    user_turns_of_versions: Histograms | None

    @property
    def rows(self) -> int:
        return self.statuses.total

    def volume(self, calendar: Calendar, by: str) -> Volume:
        """Counts by period: the largest groups, and the rest together."""
        codes = self.by.codes[:_MOST_SERIES] if len(self.by.codes) > _MOST_SERIES + 1 else self.by.codes
        rest = {*self.by.codes} - {*codes} | {REST}
        counts = {code: dict.fromkeys(calendar.periods, 0) for code in (*codes, REST)}
        for day, groups in self.by_day.items():
            for code, number in groups.items():
                counts[REST if code in rest else code][unit_of(day, calendar.grain)] += number
        names = {code: self.by.name_of(code) for code in codes}
        return Volume(
            grain=calendar.grain,
            by=by,
            periods=calendar.period_texts,
            series=tuple(
                Series(name=names.get(code), values=tuple(numbers.values()), is_rest=code == REST)
                for code, numbers in counts.items()
                if code != REST or any(numbers.values())
            ),
            total=tuple(sum(numbers[period] for numbers in counts.values()) for period in calendar.periods),
        )

    def on_day(self, day: int) -> int:
        """Returns the conversations of a local day."""
        return sum(self.by_day.get(day, {}).values())

    def describe_durations(self) -> Distribution | Absent:
        return self._describe(self.durations, "duration", _DURATION_EDGES)

    def describe_user_turns(self) -> Distribution | Absent:
        return self._describe(self.user_turns, "user_turn_count", _TURNS_EDGES)

    def _describe(self, histograms: Histograms | None, column: str, edges: tuple[float, ...]) -> Distribution | Absent:
        if histograms is None:
            return Absent(f"the field {column} is not exported")
        found = describe(all_of(histograms), self.rows, edges)
        return found if found.count else Absent(f"no conversation has a {column.replace('_', ' ')}")


def count_conversations(scope: Scope) -> ConversationFigures:
    """Counts by two readings of the table: the first finds the groups, and the second one counts in them."""
    names = _NAMES.split(scope.query.fetch(_NAMES.sql(_names_sql(scope))))
    by = Ranked.of((name, rows, None) for (name,), rows in names["by"].items())
    versions = Ranked.of(_versions(names["versions"]))
    counted = scope.query.fetch(_COUNTS.sql(_counts_sql(scope)), {"by": by.names, "versions": versions.names})
    cells = _COUNTS.split(counted)
    has_duration, has_turns = (scope.has(CONVERSATIONS, name) for name in ("duration", "user_turn_count"))
    return ConversationFigures(
        by=by,
        versions=versions,
        statuses=Ranked.of((name, rows, None) for (name,), rows in names["statuses"].items()),
        by_day=by_group(cells["days"]),
        week=tuple(cells["week"].get((hour,), 0) for hour in range(WEEK_HOURS)),
        durations=by_group(cells["durations"]) if has_duration else None,
        durations_of_versions=by_group(cells["durations of versions"]) if has_duration else None,
        user_turns=by_group(cells["user turns"]) if has_turns else None,
        user_turns_of_versions=by_group(cells["user turns of versions"]) if has_turns else None,
    )


def by_group(cells: Cells) -> dict[int, dict[int, int]]:
    """Returns cells of two dimensions by the first one, without those that have no value in the second one."""
    found: dict[int, dict[int, int]] = {}
    for (group, value), number in cells.items():
        if value is not None:
            found.setdefault(group, {})[value] = number
    return found


def ranks_sql(scope: Scope, columns: str, where: str) -> str:
    """Returns the query for conversations with `columns`, and with the codes of their groups as `b` and `v`.

    Its parameters `$by` and `$versions` are the names that have a code, in order.
    """
    return (
        f"SELECT {columns}, coalesce(bys.code, {REST}) AS b, coalesce(vs.code, {REST}) AS v "
        f"FROM (SELECT *, {scope.by} AS by_name, {_version_sql(scope)} AS version_name "
        f"FROM conversations WHERE {where}) "
        f"LEFT JOIN {_codes_sql('by')} AS bys ON by_name IS NOT DISTINCT FROM bys.name "
        f"LEFT JOIN {_codes_sql('versions')} AS vs ON version_name IS NOT DISTINCT FROM vs.name"
    )


def _names_sql(scope: Scope) -> str:
    agent = scope.column(CONVERSATIONS, "agent_id")
    return (
        f"SELECT {scope.by} AS b, {_version_sql(scope)} AS v, {agent} AS agent, status AS s "
        f"FROM conversations WHERE {scope.where(CONVERSATIONS)}"
    )


def _counts_sql(scope: Scope) -> str:
    calendar = scope.calendar
    columns = ", ".join(
        (
            f"{calendar.day_sql('created_at')} AS day",
            f"{calendar.week_hour_sql('created_at')} AS hour",
            f"{bucket_sql(scope.column(CONVERSATIONS, 'duration', 'BIGINT'))} AS d",
            f"{bucket_sql(scope.column(CONVERSATIONS, 'user_turn_count', 'BIGINT'))} AS t",
        )
    )
    return ranks_sql(scope, columns, scope.where(CONVERSATIONS))


def _codes_sql(parameter: str) -> str:
    names = f"${parameter}::VARCHAR[]"
    return f"(SELECT unnest({names}) AS name, unnest(range(len({names}))) AS code)"


def _version_sql(scope: Scope) -> str:
    return scope.version or "NULL::VARCHAR"


def _versions(cells: Cells) -> list[tuple[str | None, int, str | None]]:
    """Returns each version with its rows and its agent, which is the first by name should it have several."""
    found: dict[str | None, tuple[int, str | None]] = {}
    for (version, agent), rows in cells.items():
        before, known = found.get(version, (0, None))
        found[version] = before + rows, min(filter(None, (known, agent)), default=None)
    return [(version, rows, agent) for version, (rows, agent) in found.items()]
