"""Converts pages to the exporter's columns, with their types given and JSON kept as text.

`python duckdb_typed.py PAGES DIRECTORY`; with `turns` behind it, also the items of the transcripts, a row each. For
these the pages are read a second time, as items of these columns: DuckDB takes less time and memory for that than for
a table in memory that both are made from. Items of ordinary types become what the exporter makes of them.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import duckdb

TEXT, JSON, NUMBER, TIME = "VARCHAR", "JSON", "DOUBLE", "TIMESTAMPTZ"
CONVERSATIONS = {
    **dict.fromkeys(("id", "organization_id", "user_id", "agent_id", "agent_version_id"), TEXT),
    **dict.fromkeys(("direction", "channel", "status", "agent_number", "web_widget_id", "trunk_id"), TEXT),
    **dict.fromkeys(("duration", "user_turn_count"), "BIGINT"),
    **dict.fromkeys(("created_at", "updated_at"), TIME),
    "agent": "STRUCT(id VARCHAR, name VARCHAR)",
    "summary": TEXT,
    **dict.fromkeys(("initial_context", "custom_metadata", "conversation", "recording_details"), JSON),
}
SPEAKING = ("started_speaking_at", "stopped_speaking_at")
DELAYS = ("transcription_delay", "end_of_turn_delay", "on_user_turn_completed_delay")
LATENCIES = ("llm_node_ttft", "tts_node_ttfb", "e2e_latency")
METRICS = dict.fromkeys((*SPEAKING, *DELAYS, *LATENCIES), NUMBER)


def members(of: Mapping[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}' for name, kind in of.items())


ITEM = {
    **dict.fromkeys(("id", "type", "role"), TEXT),
    "content": JSON,
    "interrupted": "BOOLEAN",
    **dict.fromkeys(("transcript_confidence", "created_at"), NUMBER),
    "metrics": f"STRUCT({members(METRICS)})",
    **dict.fromkeys(("call_id", "name", "arguments", "output"), TEXT),
    "is_error": "BOOLEAN",
}
TRANSCRIPT = {"id": TEXT, "created_at": TIME, "conversation": f"STRUCT(items STRUCT({members(ITEM)})[])"}
# The level is that of `exporter.parts.writer`.
TO_PARQUET = "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 2)"


def rows(pages: str, columns: Mapping[str, str]) -> str:
    kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    return f"read_json('{pages}/*.json', format='array', maximum_object_size=67108864, columns={{{kinds}}})"


def conversations(pages: str) -> str:
    texts = ", ".join(f"{name}::VARCHAR AS {name}" for name, kind in CONVERSATIONS.items() if kind == JSON)
    return f"SELECT * REPLACE ({texts}), NULL::VARCHAR AS extra FROM {rows(pages, CONVERSATIONS)}"


def turns(pages: str) -> str:
    text = """CASE json_type(item.content) WHEN 'VARCHAR' THEN item.content->>'$'
                   ELSE array_to_string(from_json(item.content, '["VARCHAR"]'), chr(10)) END"""
    return f"""
        SELECT conversation_id, conversation_created_at, (number - 1)::INTEGER AS item_index, item.id AS item_id,
            item.type AS type, item.role AS role, {text} AS text, NULL::VARCHAR AS content,
            item.interrupted AS interrupted, item.transcript_confidence AS transcript_confidence,
            make_timestamptz(round(item.created_at * 1000000)::BIGINT) AS item_created_at,
            {", ".join(f"item.metrics.{name} AS {name}" for name in METRICS)}, NULL::VARCHAR AS other_metrics,
            item.call_id AS call_id, item.name AS tool_name, item.arguments AS arguments, item.output AS output,
            item.is_error AS is_error, NULL::VARCHAR AS extra
        FROM (
            SELECT id AS conversation_id, created_at AS conversation_created_at, unnest(conversation.items) AS item,
                generate_subscripts(conversation.items, 1) AS number
            FROM {rows(pages, TRANSCRIPT)}
        )"""


def main(pages: str, directory: Path, *tables: str) -> None:
    database = duckdb.connect(config={"threads": 2})
    for table, query in {"conversations": conversations, **({"turns": turns} if tables else {})}.items():
        (directory / table).mkdir(parents=True)
        database.execute(f"COPY ({query(pages)}) TO '{directory / table / 'all.parquet'}' {TO_PARQUET}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
