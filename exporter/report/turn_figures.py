"""Counts what transcripts say: latencies, interruptions, confidence and tool calls.

Turns do not say which version of an agent spoke, so that they are joined with their conversations; and a tool call
ends in another row than it begins. Both need memory for texts, and are done for some of the time at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exporter.layout import CONVERSATIONS, TURNS
from exporter.report.calendar import Calendar
from exporter.report.conversation_figures import ConversationFigures, ranks_sql
from exporter.report.cube import Cells, Cube, Sums
from exporter.report.groups import Spoken
from exporter.report.histogram import THOUSANDTH, bucket_sql, describe, merged, quantile, scaled
from exporter.report.model import Absent, Distribution, Quantiles, Series, Tool, Turns
from exporter.report.scope import Scope
from exporter.report.tool_figures import KEYS, SUMS, make_tools, tools_sql

_LATENCY_EDGES: Final = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5)
_CONFIDENCE_EDGES: Final = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
#: A latency from here on, in seconds, is none.
_LONGEST: Final = 1e12
_SPOKEN: Final = Cube({"periods": ("period", "i", "ms"), "by": ("b", "i", "ms"), "versions": ("v", "i", "ms")})
_ITEMS: Final = Cube({"items": ("u", "c")})


@dataclass(frozen=True)
class TurnFigures:
    """Holds what the table of turns says. What agents said is by period, and by the codes of groups. `heard` counts
    what users said by its confidence, in thousandths, None for what has none."""

    items: int
    by_period: Mapping[int, Spoken]
    by_group: Mapping[int, Spoken]
    by_version: Mapping[int, Spoken]
    heard: Mapping[int | None, int]
    tools: tuple[Tool, ...]

    def section(self, calendar: Calendar) -> Turns:
        """Returns the section of a report."""
        said = [self.by_period.get(period, Spoken()) for period in calendar.periods]
        messages, latency = sum(one.messages for one in said), self._latency()
        by_period: Quantiles | Absent = latency if isinstance(latency, Absent) else _quantiles(calendar, said)
        rates = Series(name=None, values=tuple(one.rate for one in said))
        return Turns(
            grain=calendar.grain,
            periods=calendar.period_texts,
            items=self.items,
            messages=messages,
            interrupted=sum(one.interrupted for one in said),
            latency=latency,
            latency_by_period=by_period,
            interruption_by_period=rates if messages else Absent("no agent said anything between these times"),
            confidence=self._confidence(),
            tools=self.tools or Absent("no tool was called between these times"),
        )

    def _latency(self) -> Distribution | Absent:
        said = self.by_period.values()
        latencies, messages = merged(one.latency for one in said), sum(one.messages for one in said)
        found = describe(latencies, messages, _LATENCY_EDGES, THOUSANDTH)
        return found if found.count else Absent("no message has an end-to-end latency")

    def _confidence(self) -> Distribution | Absent:
        known = {value: number for value, number in self.heard.items() if value is not None}
        found = describe(known, sum(self.heard.values()), _CONFIDENCE_EDGES, THOUSANDTH)
        return found if found.count else Absent("no message has a transcription confidence")


def count_turns(scope: Scope, conversations: ConversationFigures) -> TurnFigures:
    """Counts the turns of the report's conversations."""
    items = _ITEMS.split(scope.query.fetch(_ITEMS.sql(_items_sql(scope))))["items"]
    names = {"by": conversations.by.names, "versions": conversations.versions.names}
    spoken, tools = _SPOKEN.sums(), Sums(KEYS, SUMS)
    for chunk in scope.chunks():
        within = scope.where(TURNS, chunk)
        joined = ranks_sql(scope, "id", scope.where(CONVERSATIONS, chunk))
        spoken.add(scope.query.fetch(_SPOKEN.sql(_spoken_sql(scope, within, joined)), names))
        tools.add(scope.query.fetch(tools_sql(within)))
    said = _SPOKEN.split(spoken.total)
    return TurnFigures(
        items=sum(items.values()),
        by_period=_spoken(said["periods"]),
        by_group=_spoken(said["by"]),
        by_version=_spoken(said["versions"]),
        heard={confidence: number for (is_user, confidence), number in items.items() if is_user},
        tools=make_tools(tools.total),
    )


def _items_sql(scope: Scope) -> str:
    return (
        "SELECT type IS NOT DISTINCT FROM 'message' AND role IS NOT DISTINCT FROM 'user' AS u, "
        "CASE WHEN u AND transcript_confidence BETWEEN 0 AND 1 THEN round(transcript_confidence * 1000)::INTEGER END "
        f"AS c FROM turns WHERE {scope.where(TURNS)}"
    )


def _spoken_sql(scope: Scope, within: str, joined: str) -> str:
    """Returns the query for what agents said; `joined` is that for conversations, with their codes."""
    latency = f"CASE WHEN e2e_latency >= 0 AND e2e_latency < {_LONGEST} THEN round(e2e_latency * 1000)::BIGINT END"
    said = (
        f"SELECT conversation_id, {scope.calendar.period_sql('conversation_created_at')} AS period, "
        f"interrupted AS i, {latency} AS latency "
        f"FROM turns WHERE type = 'message' AND role = 'assistant' AND {within}"
    )
    return (
        f"SELECT period, i, b, v, {bucket_sql('latency')} AS ms "
        f"FROM ({said}) LEFT JOIN ({joined}) ON id = conversation_id"
    )


def _spoken(cells: Cells) -> dict[int, Spoken]:
    found: dict[Any, Spoken] = {}
    for (group, interrupted, milliseconds), number in cells.items():
        found.setdefault(group, Spoken()).add(interrupted, milliseconds, number)
    return found


def _quantiles(calendar: Calendar, said: list[Spoken]) -> Quantiles:
    return Quantiles(
        periods=calendar.period_texts,
        counts=tuple(sum(one.latency.values()) for one in said),
        p50=tuple(scaled(quantile(one.latency, 0.5), THOUSANDTH) for one in said),
        p95=tuple(scaled(quantile(one.latency, 0.95), THOUSANDTH) for one in said),
    )
