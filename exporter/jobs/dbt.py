"""`exporter schema --format dbt` writes what a dbt project needs to read an export: sources, and a staging model each.

The models are views that name the members of structs and the units of numbers, and leave out what few need: JSON that
another table has in columns. dbt-duckdb reads the files where they are. In a warehouse, the sources are the tables that
`exporter schema` registers there, and `external_location` has no effect.
"""

import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from exporter.contract import ITEM_METRICS
from exporter.errors import UsageError
from exporter.jobs.dataset import load_table
from exporter.jobs.schema import load_warehouse_table
from exporter.jobs.warehouse import Place, WarehouseTable, doubled
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS
from exporter.parts.columns import ID_COLUMNS
from exporter.store.location import Location
from exporter.store.open import open_store

_SOURCES: Final = "exporter_sources.yml"
#: By table, what a row is, and the column that says how fresh the table is, if one does.
_TABLES: Final[Mapping[str, tuple[str, str]]] = {
    CONVERSATIONS: ("A row for each conversation", "updated_at"),
    TURNS: ("A row for each item of each transcript", ""),
    RECORDINGS: ("A row for each recording, and what became of it", "fetched_at"),
}
#: The columns of each model: that of the source which it needs, its name, and its value if that is another.
_MODELS: Final[Mapping[str, Sequence[tuple[str, str, str]]]] = {
    CONVERSATIONS: (
        ("id", "conversation_id", "id"),
        *((name, name, name) for name in ("organization_id", "user_id", "agent_id", "agent_version_id")),
        ("agent", "agent_name", "conversations.agent.name"),
        *((name, name, name) for name in ("direction", "channel", "status")),
        *((name, name, name) for name in ("agent_number", "web_widget_id", "trunk_id")),
        ("duration", "duration_seconds", "duration"),
        *((name, name, name) for name in ("user_turn_count", "created_at", "updated_at", "summary")),
        ("recording_details", "has_recording", "recording_details is not null"),
    ),
    TURNS: (
        *((name, name, name) for name in ("conversation_id", "conversation_created_at", "item_index", "item_id")),
        ("type", "item_type", "type"),
        ("role", "role", "role"),
        ("text", "item_text", "text"),
        ("interrupted", "is_interrupted", "interrupted"),
        *((name, name, name) for name in ("transcript_confidence", "item_created_at", *ITEM_METRICS)),
        *((name, name, name) for name in ("call_id", "tool_name")),
        ("arguments", "tool_arguments", "arguments"),
        ("output", "tool_output", "output"),
        ("is_error", "is_error", "is_error"),
    ),
    RECORDINGS: (
        *((name, name, name) for name in ("conversation_id", "conversation_created_at")),
        ("status", "recording_status", "status"),
        ("status", "is_stored", "status = 'stored'"),
        ("reason", "reason", "reason"),
        ("path", "media_path", "path"),
        ("bytes", "media_bytes", "bytes"),
        ("sha256", "sha256", "sha256"),
        ("content_type", "content_type", "content_type"),
        ("duration", "duration_seconds", "duration"),
        *((name, name, name) for name in ("fetched_at", "attempts")),
    ),
}


async def dbt_files(location: Location, copy: Place | None = None) -> str:
    """Returns the files of a dbt project for all tables of an export, each after a line that names it. They are read
    from a `copy`, if there is one.

    Raises the errors of `load_warehouse_table`, and `UsageError` for tables that DuckDB cannot read by their place
    alone.
    """
    async with open_store(location) as store:
        manifest, _ = await load_table(store, CONVERSATIONS)
    tables = [await load_warehouse_table(location, name, copy) for name in manifest.tables]
    return "\n".join([*_sources(tables), *(line for table in tables for line in _model(table))])


def _sources(tables: Sequence[WarehouseTable]) -> Iterator[str]:
    yield f"# file: {_SOURCES}"
    yield "version: 2"
    yield "sources:"
    yield "  - name: exporter"
    yield "    description: Conversations of voice agents, as exporter keeps them"
    # Read by dbt alone: DuckDB takes the rows from `external_location`.
    yield "    schema: \"{{ var('exporter_schema', 'exporter') }}\""
    yield "    tables:"
    for table in tables:
        what, loaded_at = _TABLES[table.name]
        yield f"      - name: {table.name}"
        yield f"        description: {_text(what)}"
        yield "        config:"
        if loaded_at in table.schema.names:
            yield f"          loaded_at_field: {loaded_at}"
            yield "          freshness:"
            yield "            warn_after: {count: 36, period: hour}"
        yield "          meta:"
        yield f"            external_location: {_text(_scan(table))}"
        yield "        columns:"
        for name in [*table.schema.names, *([] if table.partition is None else [table.partition.name])]:
            yield f"          - name: {name}"
            yield f"            description: {_text(table.describe(name))}"
            if name == ID_COLUMNS[table.name]:
                # A conversation has many turns.
                tests = "[not_null]" if table.name == TURNS else "[not_null, unique]"
                yield f"            data_tests: {tests}"


def _model(table: WarehouseTable) -> Iterator[str]:
    yield f"-- file: stg_{table.name}.sql"
    columns = [(name, value) for needed, name, value in _MODELS[table.name] if needed in table.schema.names]
    columns += [] if table.partition is None or table.kind == "iceberg" else [(table.partition.name,) * 2]
    lines = [f"    {value}" if name == value else f"    {value} as {name}" for name, value in columns]
    yield "{{ config(materialized='view') }}"
    yield "select"
    yield ",\n".join(lines)
    yield f"from {{{{ source('exporter', '{table.name}') }}}} as {table.name}"


def _scan(table: WarehouseTable) -> str:
    """Returns how DuckDB reads a table. Raises `UsageError` if it cannot."""
    if table.is_encrypted:
        raise UsageError("--format dbt: the parts are encrypted, and dbt can give no key to DuckDB")
    if table.kind == "catalog":
        raise UsageError("--format dbt: the tables are in an Iceberg catalog: attach it in dbt's profile, and use that")
    place = table.place
    if place is None:
        raise UsageError("--format dbt: give DEST")
    inside = place.inside(table.iceberg if table.kind == "iceberg" else table.name)
    path = inside.path if inside.kind == "file" else inside.uri(inside.kind)
    if {"{", "}"} & {*path}:
        raise UsageError("--format dbt: dbt takes braces in a path for its own. Give the place of a copy by --location")
    match table.kind:
        case "delta":
            return f"delta_scan({doubled(path)})"
        case "iceberg":
            return f"iceberg_scan({doubled(path)})"
    files = glob.escape(path) if inside.kind == "file" else path
    has_keys = str(table.partition is not None).lower()
    return (
        f"read_parquet({doubled(f'{files}/**/part-*.parquet')}, hive_partitioning = {has_keys}, union_by_name = true)"
    )


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
