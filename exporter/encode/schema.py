"""Defines the columns of the tables, which are the same for every token, page and file."""

from typing import Any, Final

import pyarrow as pa

from exporter.contract import ADDED, FIELD_NAMES, FIELDS, ITEM_METRICS, Field, Kind
from exporter.partitions import key_of

#: The last column, for what the API serves beyond `contract.FIELDS`: the text of a JSON object, or null.
EXTRA: Final = "extra"

#: The types of the columns, by the kind of their field.
TYPES: Final = {
    Kind.STRING: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Kind.AGENT: pa.struct([pa.field("id", pa.string()), pa.field("name", pa.string())]),
    Kind.JSON: pa.string(),
}


def partition_field(key: str) -> pa.Field:
    """Returns the column that readers make of the names of partitions' directories."""
    return pa.field(key, pa.date32() if key == key_of("day") else pa.string())


def asked_fields(fields: tuple[str, ...] | None) -> tuple[Field, ...]:
    """Returns the fields with a column, in the API's order; all of them for None."""
    return tuple(field for field in FIELDS if fields is None or field.name in fields)


def arrow_schema(fields: tuple[str, ...] | None) -> pa.Schema:
    """Returns the columns of conversations: one for each field that was asked for, then `extra`.

    All are nullable, because any field may be missing (source.md, Response). Timestamps are microseconds in UTC. A JSON
    column holds the text of the value as it was served, byte for byte. Null stands for a served `null` and for a field
    that was not served (`EncodedBatch.absent` counts these).
    """
    columns = [
        pa.field(field.name, TYPES[field.kind], metadata={ADDED: field.added} if field.added else None)
        for field in asked_fields(fields)
    ]
    return pa.schema([*columns, pa.field(EXTRA, pa.string())])


def as_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a conversation as decoded JSON, with what no column holds under `extra`, where it would be stored."""
    columns = {name: value for name, value in row.items() if name in FIELD_NAMES}
    extra = {name: value for name, value in row.items() if name not in FIELD_NAMES}
    if isinstance(agent := columns.get("agent"), dict):
        known = {field.name for field in TYPES[Kind.AGENT]}
        columns["agent"] = {name: value for name, value in agent.items() if name in known}
        if columns["agent"] != agent:
            extra["agent"] = {name: value for name, value in agent.items() if name not in known}
    return {**columns, EXTRA: extra}


def turns_schema() -> pa.Schema:
    """Returns the columns of turns, a row for each item of a transcript: its place, what every item may have, and
    `extra`.

    All are nullable, but no row has a null in the first three. JSON columns hold texts as they were served.
    """
    return pa.schema(
        [
            ("conversation_id", pa.string()),
            ("conversation_created_at", TYPES[Kind.TIMESTAMP]),
            ("item_index", pa.int32()),
            ("item_id", pa.string()),
            ("type", pa.string()),
            ("role", pa.string()),
            ("text", pa.string()),
            ("content", pa.string()),
            ("interrupted", pa.bool_()),
            ("transcript_confidence", pa.float64()),
            ("item_created_at", TYPES[Kind.TIMESTAMP]),
            *((name, pa.float64()) for name in ITEM_METRICS),
            ("other_metrics", pa.string()),
            ("call_id", pa.string()),
            ("tool_name", pa.string()),
            ("arguments", pa.string()),
            ("output", pa.string()),
            ("is_error", pa.bool_()),
            (EXTRA, pa.string()),
        ]
    )
