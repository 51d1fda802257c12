"""Writes the conditions of questions. Pure: a value that somebody gave is never part of the text of a question."""

from typing import Final, NamedTuple

import pyarrow as pa

from exporter.partitions import PARTITION_KEYS
from exporter.parts.columns import SORT_COLUMNS
from exporter.query.literal import time_literal
from exporter.viewer.no_answer import NoAnswerError
from exporter.viewer.parameters import Find, Position
from exporter.viewer.timeline import Window

#: What is searched of a turn.
SPOKEN: Final = ("text", "arguments", "output")
#: Characters that JSON writes in one way alone, or that a server has no reason to write in another.
_ESCAPED: Final = frozenset('"\\/')
_PLAIN: Final = frozenset(map(chr, range(0x20, 0x7F))) - _ESCAPED - frozenset("<>&'")


class Where(NamedTuple):
    """Holds conditions of SQL, all of which hold, and the values of their `?`."""

    conditions: list[str]
    values: list[object]

    def add(self, condition: str, *values: object) -> None:
        self.conditions.append(condition)
        self.values.extend(values)

    def extend(self, other: "Where") -> None:
        self.conditions.extend(other.conditions)
        self.values.extend(other.values)

    def __str__(self) -> str:
        return " AND ".join(self.conditions)


def within(table: str, schema: pa.Schema, window: Window) -> Where:
    """Returns the conditions that the conversation of a row was created in a window."""
    column = SORT_COLUMNS[table]
    where = Where([f"{column} >= {time_literal(window.start)}", f"{column} < {time_literal(window.end)}"], [])
    key = next((name for name in PARTITION_KEYS if name in schema.names), None)
    if key is not None and window.keys is not None:
        kind = "DATE" if schema.field(key).type == pa.date32() else "VARCHAR"
        where.add(f"{key} BETWEEN CAST(? AS {kind}) AND CAST(? AS {kind})", *window.keys)
    return where


def behind(position: Position) -> Where:
    """Returns the condition that a conversation comes after a position, from new to old."""
    at = time_literal(position.created_at)
    return Where([f"(created_at < {at} OR created_at = {at} AND id < ?)"], [position.identity])


def as_asked(find: Find, columns: tuple[str, ...]) -> Where:
    """Returns the conditions of a search on the columns of conversations. Raises `NoAnswerError` if it lacks one."""
    where = Where([], [])
    asked = {
        "agent_id": ("agent_id = ?", find.agent_id),
        "agent_version_id": ("agent_version_id = ?", find.agent_version_id),
        "channel": ("channel = ?", find.channel),
        "status": ("status = ?", find.status),
        "user_id": ("contains(lower(user_id), lower(?))", find.user),
        "duration": ("duration >= ?", find.duration_above),
    }
    for column, (condition, value) in asked.items():
        if value is None:
            continue
        if column not in columns:
            raise NoAnswerError(f"the export has no column {column}, so nothing can be found by it")
        where.add(condition, value)
    return where


def named_in(table: str, schema: pa.Schema, window: Window, has: Where) -> Where:
    """Returns the condition that a conversation of a window is one of those that a row of another table is about."""
    where = within(table, schema, window)
    where.extend(has)
    return Where([f"id IN (SELECT conversation_id FROM {table} WHERE {where})"], where.values)  # noqa: S608


def said(text: str) -> Where:
    """Returns the condition that an item of the table of turns has a text, in any letter case."""
    return Where([f"({' OR '.join(f'contains(lower({column}), lower(?))' for column in SPOKEN)})"], [text] * 3)


def may_be_said(text: str, column: str) -> Where:
    """Returns a condition that holds for each transcript, as JSON, that has a text; and for some that have not.

    JSON may write most characters in several ways, so it is looked for what it writes in one way.
    """
    runs = "".join(letter if letter in _PLAIN else "\n" for letter in text).split("\n")
    longest = max(runs, key=len)
    if longest.strip():
        return Where([f"contains(lower({column}), lower(?))"], [longest])
    # Any character may be written as its number; these are never written as they are.
    escape = "\\" if any(letter in _ESCAPED or letter < " " for letter in text) else "\\u"
    return Where([f"(contains(lower({column}), lower(?)) OR contains({column}, ?))"], [text, escape])
