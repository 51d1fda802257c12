"""Counts by plain Python over the rows of an export what a report says of them, for tests to compare."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from exporter.contract import Instant, to_datetime
from exporter.jobs.dataset import open_dataset


@dataclass(frozen=True)
class Counted:
    """Holds the rows of an export between two instants, in a time zone."""

    conversations: Sequence[dict[str, Any]]
    turns: Sequence[dict[str, Any]]
    zone: ZoneInfo

    @classmethod
    def of(cls, root: Path, since: Instant, until: Instant, zone: str) -> "Counted":
        def rows(table: str, column: str) -> list[dict[str, Any]]:
            found = open_dataset(root, table).to_table().to_pylist()
            return [row for row in found if to_datetime(since) <= row[column] < to_datetime(until)]

        return cls(rows("conversations", "created_at"), rows("turns", "conversation_created_at"), ZoneInfo(zone))

    def local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone)

    def by_day(self, column: str) -> Counter[tuple[str, Any]]:
        return Counter((self.local(row["created_at"]).date().isoformat(), row[column]) for row in self.conversations)

    @property
    def week(self) -> tuple[int, ...]:
        found = Counter(
            at.weekday() * 24 + at.hour for at in (self.local(row["created_at"]) for row in self.conversations)
        )
        return tuple(found[hour] for hour in range(168))

    def values(self, column: str, **where: Any) -> list[int]:
        """Returns the values of a column, in rows that have these others."""
        return [
            row[column]
            for row in self.conversations
            if row[column] is not None and all(row[name] == value for name, value in where.items())
        ]

    def said(self, column: str, value: Any) -> list[dict[str, Any]]:
        """Returns the messages of agents in conversations with a value in a column."""
        ids = {row["id"] for row in self.conversations if row[column] == value}
        return [turn for turn in self.messages if turn["conversation_id"] in ids]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [turn for turn in self.turns if (turn["type"], turn["role"]) == ("message", "assistant")]

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        """Returns, by tool, its calls, its errors, the calls without an output, and milliseconds."""
        calls, outputs = (
            {(turn["conversation_id"], turn["call_id"]): turn for turn in self.turns if turn["type"] == type_}
            for type_ in ("function_call", "function_call_output")
        )
        found: dict[str, dict[str, Any]] = defaultdict(lambda: {"calls": 0, "errors": 0, "unanswered": 0, "took": []})
        for key, call in calls.items():
            tool, output = found[call["tool_name"]], outputs.get(key)
            tool["calls"] += 1
            tool["unanswered"] += output is None
            if output is not None:
                tool["errors"] += bool(output["is_error"])
                took = output["item_created_at"] - call["item_created_at"]
                tool["took"].append(took.days * 86_400_000 + took.seconds * 1000 + took.microseconds // 1000)
        return found


def milliseconds(turns: Iterable[dict[str, Any]]) -> list[int]:
    """Returns the end-to-end latencies that turns have."""
    return [round(turn["e2e_latency"] * 1000) for turn in turns if turn["e2e_latency"] is not None]


def least(values: Sequence[float], share: float) -> float | None:
    """Returns the least value that `share` of all do not exceed."""
    return sorted(values)[ceil(len(values) * share - 1e-9) - 1] if values else None
