"""Counts tool calls by name, with their errors and how long they took."""

from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from exporter.report.groups import cut
from exporter.report.histogram import THOUSANDTH, bucket_sql, quantile, scaled
from exporter.report.model import Tool

#: The most tools that are told apart.
_MOST_TOOLS: Final = 30
#: What `tools_sql` groups by, and what it counts.
KEYS: Final = ("tool", "ms")
SUMS: Final = ("calls", "errors", "unanswered", "timed")


@dataclass
class _Calls:
    calls: int = 0
    errors: int = 0
    unanswered: int = 0
    milliseconds: dict[int, int] = field(default_factory=dict)

    def add(self, other: "_Calls") -> None:
        self.calls += other.calls
        self.errors += other.errors
        self.unanswered += other.unanswered
        for value, number in other.milliseconds.items():
            self.milliseconds[value] = self.milliseconds.get(value, 0) + number


def tools_sql(within: str) -> str:
    """Returns the query for tool calls in rows of turns, by tool and by how many milliseconds they took.

    A call and its output have an id in common, within a conversation. One that does not name them apart has no time.
    """
    is_call, is_output = "type = 'function_call'", "type = 'function_call_output'"
    micros = "epoch_us(item_created_at)"
    ended, began = f"max({micros}) FILTER ({is_output})", f"min({micros}) FILTER ({is_call})"
    called = (
        f"SELECT coalesce(min(tool_name) FILTER ({is_call}), min(tool_name)) AS tool, "
        f"count(*) FILTER ({is_call}) AS calls, count(*) FILTER ({is_output}) AS outputs, "
        f"count(*) FILTER ({is_output} AND is_error) AS errors, "
        f"CASE WHEN call_id IS NOT NULL THEN ({ended} - {began}) // 1000 END AS took "
        f"FROM turns WHERE type IN ('function_call', 'function_call_output') AND {within} "
        "GROUP BY conversation_id, call_id"
    )
    timed = (
        "SELECT tool, calls, errors, greatest(calls - outputs, 0) AS unanswered, "
        f"CASE WHEN calls = 1 AND outputs = 1 THEN {bucket_sql('took')} END AS ms FROM ({called})"
    )
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in ("calls", "errors", "unanswered"))
    return f"SELECT tool, ms, {sums}, count(ms) AS timed FROM ({timed}) GROUP BY tool, ms"


def make_tools(counted: pa.Table) -> tuple[Tool, ...]:
    """Returns the tools from the most calls to the fewest, with the rest in the last."""
    found: dict[str | None, _Calls] = {}
    for row in counted.to_pylist():
        milliseconds = {} if row["ms"] is None else {row["ms"]: row["timed"]}
        one = _Calls(row["calls"], row["errors"], row["unanswered"], milliseconds)
        found.setdefault(row["tool"], _Calls()).add(one)
    ranked = sorted(found.items(), key=lambda one: (-one[1].calls, one[0] is None, one[0] or ""))
    rest = _Calls()
    for _, calls in ranked[_MOST_TOOLS:]:
        rest.add(calls)
    tools = [_tool(name, calls) for name, calls in ranked[:_MOST_TOOLS]]
    return (*tools, *([_tool(None, rest, is_rest=True)] if ranked[_MOST_TOOLS:] else []))


def _tool(name: str | None, calls: _Calls, *, is_rest: bool = False) -> Tool:
    return Tool(
        name=cut(name),
        calls=calls.calls,
        errors=calls.errors,
        unanswered=calls.unanswered,
        timed=sum(calls.milliseconds.values()),
        duration_p50=scaled(quantile(calls.milliseconds, 0.5), THOUSANDTH),
        duration_p95=scaled(quantile(calls.milliseconds, 0.95), THOUSANDTH),
        is_rest=is_rest,
    )
