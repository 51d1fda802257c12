"""Datasets that were written once can be read for ever: columns are only added, and every format lives on."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pyarrow as pa
import pytest

from exporter.contract import ADDED
from exporter.encode.descriptions import DESCRIPTIONS
from exporter.encode.tables import Tables
from exporter.log.state import FORMAT_VERSION
from exporter.model import TABLES
from exporter.settings import Request
from tests.datasets.maker import HERE, make
from tests.datasets.trials import copy_of, live, rows_at

#: By format version and table, the columns that the first exporter of it wrote. Nothing here is ever changed. A column
#: that is added later is named below.
FROZEN = {
    1: {
        "conversations": {
            "id": "string",
            "organization_id": "string",
            "user_id": "string",
            "agent_id": "string",
            "agent_version_id": "string",
            "direction": "string",
            "channel": "string",
            "status": "string",
            "agent_number": "string",
            "web_widget_id": "string",
            "trunk_id": "string",
            "duration": "int64",
            "user_turn_count": "int64",
            "created_at": "timestamp[us, tz=UTC]",
            "updated_at": "timestamp[us, tz=UTC]",
            "agent": "struct<id: string, name: string>",
            "summary": "string",
            "initial_context": "string",
            "custom_metadata": "string",
            "conversation": "string",
            "recording_details": "string",
            "extra": "string",
        },
        "turns": {
            "conversation_id": "string",
            "conversation_created_at": "timestamp[us, tz=UTC]",
            "item_index": "int32",
            "item_id": "string",
            "type": "string",
            "role": "string",
            "text": "string",
            "content": "string",
            "interrupted": "bool",
            "transcript_confidence": "double",
            "item_created_at": "timestamp[us, tz=UTC]",
            "started_speaking_at": "double",
            "stopped_speaking_at": "double",
            "transcription_delay": "double",
            "end_of_turn_delay": "double",
            "on_user_turn_completed_delay": "double",
            "llm_node_ttft": "double",
            "tts_node_ttfb": "double",
            "e2e_latency": "double",
            "other_metrics": "string",
            "call_id": "string",
            "tool_name": "string",
            "arguments": "string",
            "output": "string",
            "is_error": "bool",
            "extra": "string",
        },
        "recordings": {
            "conversation_id": "string",
            "conversation_created_at": "timestamp[us, tz=UTC]",
            "status": "string",
            "reason": "string",
            "path": "string",
            "bytes": "int64",
            "sha256": "string",
            "content_type": "string",
            "duration": "double",
            "url_hash": "string",
            "source_etag": "string",
            "fetched_at": "timestamp[us, tz=UTC]",
            "attempts": "int32",
        },
    }
}
#: By table, the columns that were added since, each with its type.
ADDED_SINCE: dict[str, dict[str, str]] = {"conversations": {}, "turns": {}, "recordings": {}}
SCHEMAS = Tables.of(Request(tables=TABLES)).schemas
VERSIONS = range(1, FORMAT_VERSION + 1)


def types(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


@pytest.mark.parametrize("version", VERSIONS)
def test_no_column_is_ever_removed_or_made_of_another_type(version: int) -> None:
    for table, columns in FROZEN[version].items():
        current = types(SCHEMAS[table])
        assert {name: current.get(name) for name in columns} == columns
        assert all(field.nullable for field in SCHEMAS[table])


def test_a_column_that_is_added_says_so_and_is_kept_from_then_on() -> None:
    """Readers of older parts rely on the mark (`contract.Field.added`)."""
    for table, columns in FROZEN[FORMAT_VERSION].items():
        known = columns | ADDED_SINCE[table]
        assert types(SCHEMAS[table]) == known, "a new column goes into ADDED_SINCE"
        marked = {field.name for field in SCHEMAS[table] if field.metadata and ADDED in field.metadata}
        assert marked == ADDED_SINCE[table].keys(), "a new column needs `added`"


def test_every_column_is_described() -> None:
    assert {table: list(columns) for table, columns in DESCRIPTIONS.items()} == {
        table: schema.names for table, schema in SCHEMAS.items()
    }


def test_a_dataset_is_kept_of_every_format() -> None:
    assert sorted(path.name for path in HERE.glob("format-*")) == [f"format-{version}" for version in VERSIONS]
    for version in VERSIONS:
        manifest = json.loads((HERE / f"format-{version}/_manifest.json").read_bytes())
        assert manifest["format_version"] == version


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dataset_of_each_format_lives_on(version: int, tmp_path: Path) -> None:
    live(copy_of(version, tmp_path), None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dataset_of_each_format_takes_a_column_that_is_added(version: int, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.datasets.trials", str(version), str(tmp_path), "language"]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_how_the_last_one_was_made_is_known(tmp_path: Path) -> None:
    made = tmp_path / "made"
    anyio.run(make, made)
    assert rows_at(made) == rows_at(HERE / f"format-{FORMAT_VERSION}")
