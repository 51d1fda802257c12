"""Computes what the table `turns` must hold, in plain Python and without the exporter's decoding."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from exporter.contract import BEGINNING, END_OF_TIME, SECOND
from tests.toolkit.canary_search import OpenParquet

Turn: TypeAlias = dict[str, Any]

METRICS = (
    "started_speaking_at",
    "stopped_speaking_at",
    "transcription_delay",
    "end_of_turn_delay",
    "on_user_turn_completed_delay",
    "llm_node_ttft",
    "tts_node_ttfb",
    "e2e_latency",
)
#: The columns that hold JSON texts.
JSON = ("content", "other_metrics", "extra")
COLUMNS = (
    "conversation_id",
    "conversation_created_at",
    "item_index",
    "item_id",
    "type",
    "role",
    "text",
    "content",
    "interrupted",
    "transcript_confidence",
    "item_created_at",
    *METRICS,
    "other_metrics",
    "call_id",
    "tool_name",
    "arguments",
    "output",
    "is_error",
    "extra",
)
_STRINGS = {"id": "item_id", "name": "tool_name"} | {
    name: name for name in ("type", "role", "call_id", "arguments", "output")
}


def turns_of(conversations: Iterable[Mapping[str, Any]]) -> list[Turn]:
    """Returns the rows for these conversations, which have `id`, `created_at` and `conversation`.

    JSON is parsed; `item_created_at` is in microseconds.
    """
    return [
        {
            **dict.fromkeys(COLUMNS),
            "conversation_id": row["id"],
            "conversation_created_at": row["created_at"],
            "item_index": index,
            **item,
        }
        for row in conversations
        for index, item in enumerate(_items(row["conversation"]))
    ]


def parsed(turn: Mapping[str, Any]) -> Turn:
    """Returns a row that was read, in the form of the model."""
    return {name: json.loads(value) if name in JSON and value is not None else value for name, value in turn.items()}


def read_turns(part: Path, open_parquet: OpenParquet = pq.ParquetFile) -> list[Turn]:
    """Returns the rows of a part, in the form of the model."""
    with open_parquet(part) as file:
        table = file.read(use_threads=False)
    position = table.schema.get_field_index("item_created_at")
    microseconds = table.column(position).cast(pa.int64())
    return [parsed(row) for row in table.set_column(position, "item_created_at", microseconds).to_pylist()]


def alike(turns: Iterable[Turn]) -> list[str]:
    """Returns texts that are equal if the rows are, types included."""
    return [json.dumps(turn, sort_keys=True, default=_in_utc) for turn in turns]


def _in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _items(text: str | None) -> list[Turn]:
    whole = None if text is None else json.loads(text)
    if whole is None:
        return []
    if not isinstance(whole, dict) or not isinstance(whole.get("items"), list):
        return [] if whole in ({}, {"items": None}) else [{"extra": whole}]
    return [_item(item) for item in whole["items"]]


def _item(item: Any) -> Turn:
    if not isinstance(item, dict):
        return {"extra": item}
    turn: Turn = {}
    left = {}
    for name, value in item.items():
        if name in _STRINGS and _is_text_or_null(value):
            turn[_STRINGS[name]] = value
        elif name in ("interrupted", "is_error") and (value is None or isinstance(value, bool)):
            turn[name] = value
        elif name == "transcript_confidence" and _is_number_or_null(value):
            turn[name] = None if value is None else float(value)
        elif name == "created_at" and _is_number_or_null(value) and (value is None or _is_time(value)):
            turn["item_created_at"] = None if value is None else round(float(value) * 1e6)
        elif name == "content":
            parts = value if isinstance(value, list) else [] if value is None else [value]
            texts = [part for part in parts if isinstance(part, str) and _is_text_or_null(part)]
            turn["text"] = "\n".join(texts) if texts else None
            turn["content"] = value if len(texts) < len(parts) else None
        elif name == "metrics" and (value is None or isinstance(value, dict)):
            metrics = value or {}
            known = {key for key, number in metrics.items() if key in METRICS and _is_number_or_null(number)}
            turn |= {key: None if metrics[key] is None else float(metrics[key]) for key in known}
            turn["other_metrics"] = {key: one for key, one in metrics.items() if key not in known} or None
        else:
            left[name] = value
    turn["extra"] = left or None
    return turn


def _is_text_or_null(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number_or_null(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return abs(float(value)) != float("inf")
    except OverflowError:
        return False


def _is_time(value: float) -> bool:
    return BEGINNING <= value * SECOND <= END_OF_TIME - SECOND
