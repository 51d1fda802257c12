"""The manual's queries about transcripts run as written, and agree with plain Python."""

import json
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

from exporter.encode.schema import turns_schema
from tests.toolkit.manual import PAGES, in_code
from tests.toolkit.turns_model import alike, parsed, turns_of

PAGE = PAGES["turns"]
QUERIES = dict(re.findall(r"^([A-Z][^\n]*):\n\n```sql\n(.*?)^```$", PAGE.text, re.S | re.M))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory in which a demo has left its export."""
    directory = tmp_path_factory.mktemp("turns")
    command = [sys.executable, "-m", "exporter", "demo", "--rows", "400", "--days", "8"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)
    return directory


@pytest.fixture(scope="session")
def conversations(demo: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(demo / "demo-export/conversations").to_table().to_pylist()
    return rows


def items(conversation: Mapping[str, Any]) -> list[dict[str, Any]]:
    transcript: dict[str, list[dict[str, Any]]] = json.loads(conversation["conversation"] or "{}")
    return transcript.get("items", [])


def day(conversation: Mapping[str, Any]) -> date:
    created_at: date = conversation["created_at"].date()
    return created_at


def spoken(conversation: Mapping[str, Any], *roles: str) -> Iterator[dict[str, Any]]:
    return (item for item in items(conversation) if item["type"] == "message" and item["role"] in roles)


def answer(demo: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    monkeypatch.chdir(demo)
    return [
        tuple(pytest.approx(value) if isinstance(value, float) else value for value in row)
        for row in duckdb.execute(QUERIES[what]).fetchall()
    ]


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    below, beyond = divmod(share * (len(ordered) - 1), 1)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
    return low + beyond * (high - low)


def test_sessions(demo: Path, conversations: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Counter((day(one), one["channel"]) for one in conversations)
    found = answer(demo, "Sessions per day and channel", monkeypatch)
    assert found == [(*key, count) for key, count in sorted(expected.items())]


def test_latency(demo: Path, conversations: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    by_version = defaultdict[str, list[float]](list)
    for one in conversations:
        for item in items(one):
            if "e2e_latency" in item.get("metrics", {}):
                by_version[one["agent_version_id"]].append(item["metrics"]["e2e_latency"])
    found = answer(demo, "End-to-end latency in seconds, its median and 95th percentile, by agent version", monkeypatch)
    assert len(found) > 3
    assert found == [
        (version, len(values), statistics.median(values), quantile(values, 0.95))
        for version, values in sorted(by_version.items())
    ]


def test_tool_calls(demo: Path, conversations: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    calls, errors = Counter[str](), Counter[str]()
    for one in conversations:
        calls.update(item["name"] for item in items(one) if item["type"] == "function_call")
        errors.update(item["name"] for item in items(one) if item.get("is_error"))
    assert errors
    expected = [(tool, count, errors[tool] / count) for tool, count in calls.items()]
    found = answer(demo, "Tool calls by name, and how many of them failed", monkeypatch)
    assert found == sorted(expected, key=lambda row: (-row[1], row[0]))


def test_interruptions(demo: Path, conversations: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    replies = defaultdict[date, list[bool]](list)
    for one in conversations:
        replies[day(one)] += [item["interrupted"] for item in spoken(one, "assistant")]
    found = answer(demo, "How often the assistant is interrupted", monkeypatch)
    assert found == [(at, len(each), sum(each) / len(each)) for at, each in sorted(replies.items()) if each]
    assert any(map(any, replies.values()))


def test_turns_per_conversation(
    demo: Path, conversations: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = defaultdict[str, list[int]](list)
    for one in conversations:
        turns[one["channel"]].append(len(list(spoken(one, "user", "assistant"))))
    found = answer(demo, "Turns per conversation, of users and assistants", monkeypatch)
    assert found == [
        (channel, len(each), statistics.mean(each), statistics.median(each), max(each))
        for channel, each in sorted(turns.items())
    ]
    assert min(map(min, turns.values())) == 0


def test_the_readers_read_the_turns_of_the_model(demo: Path, conversations: list[dict[str, Any]]) -> None:
    expected = Counter(alike(turns_of(conversations)))
    table = f"{demo}/demo-export/turns"
    microseconds = pl.col("item_created_at").dt.epoch("us")
    by_polars = pl.read_parquet(f"{table}/**/part-*.parquet", hive_partitioning=False).with_columns(microseconds)
    assert Counter(alike(map(parsed, by_polars.to_dicts()))) == expected
    by_arrow = ds.dataset(table, partitioning="hive").to_table(columns=turns_schema().names)
    assert by_arrow.schema.equals(turns_schema())
    columns = "* EXCLUDE created_date REPLACE (epoch_us(item_created_at) AS item_created_at)"
    query = f"SELECT {columns} FROM read_parquet(?, hive_partitioning = true)"
    by_duckdb = duckdb.sql(query, params=[f"{table}/**/part-*.parquet"])
    assert by_duckdb is not None
    assert Counter(alike(map(parsed, by_duckdb.to_arrow_table().to_pylist()))) == expected


def test_the_columns() -> None:
    described = [(in_code(name)[0], in_code(kind)[0]) for name, kind, _ in PAGE.table_headed("column of `turns`")]
    assert described == [(field.name, str(field.type)) for field in turns_schema()]
    assert '`{"items": […]}`' in PAGE.section("Columns")
