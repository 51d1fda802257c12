"""Tests that an export has every conversation once, with every field as served, and a manifest of every byte."""

import json
from collections import Counter
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

from exporter.cli.runner import SUMMARY_KEYS
from exporter.contract import format_instant
from exporter.sandbox import Behaviour, make_conversations
from tests.end_to_end.conftest import Command, Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory, assert_same, texts
from tests.end_to_end.records import SINCE, UNTIL, records

RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))


def test_thousands_of_conversations_and_every_common_reader(serving: Serving, spawn: Spawn, tmp_path: Path) -> None:
    rows = make_conversations(6000, SINCE, UNTIL, seed=1, density="bulk")
    largest_group = Counter(row.created_at for row in rows).most_common(1)[0][1]
    assert largest_group > 1000
    server = serving(rows, Behaviour(extra_fields=True))
    destination = tmp_path / "out"
    done = spawn("export", destination, *RANGE, "--json", server=server).wait()
    assert done.status == 0, done.err

    summary = json.loads(done.out)
    assert done.out.count("\n") == 1
    assert (summary["state"], summary["rows"], summary["requests"]) == ("complete", 6000, len(server.requests))
    expected = records(rows, server.behaviour)
    exported = ExportDirectory(destination)
    exported.check(expected)
    assert exported.coverage == [(SINCE, UNTIL)]
    assert exported.manifest["totals"]["requests"] == len(server.requests)
    assert not any(server.token.encode() in text for text in texts(destination))

    by_day = Counter(record["created_at"].date() for record in expected.values())
    glob = f"{destination}/conversations/**/*.parquet"
    table = f"read_parquet('{glob}', hive_partitioning = true)"
    moment = "(created_at AT TIME ZONE 'UTC')"
    with duckdb.connect() as connection:
        counted = connection.execute(f"SELECT created_date, count(*) FROM {table} GROUP BY 1").fetchall()
        assert dict(counted) == by_day
        sums = connection.execute(
            f"""
            SELECT count(*), count(DISTINCT id), count(conversation), sum(duration),
                   bool_and({moment} >= created_date AND {moment} < created_date + INTERVAL 1 DAY)
            FROM {table}
            """
        ).fetchone()
    transcripts = sum(record["conversation"] is not None for record in expected.values())
    assert sums == (6000, 6000, transcripts, sum(record["duration"] or 0 for record in expected.values()), True)
    lazily = pl.scan_parquet(glob, hive_partitioning=True, try_parse_hive_dates=True)
    polars = lazily.group_by("created_date").len().collect()
    assert dict(polars.iter_rows()) == by_day
    dataset = ds.dataset(destination / "conversations", partitioning="hive")
    arrow = dataset.to_table(columns=list(dataset.schema.names[: dataset.schema.names.index("extra") + 1]))
    assert_same({record["id"]: record for record in arrow.to_pylist()}, expected)


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("hour", "created_hour"),
        ("day", "created_date"),
        ("week", "created_week"),
        ("month", "created_month"),
        ("none", None),
    ],
)
def test_partitions(by: str, key: str | None, serving: Serving, command: Command, tmp_path: Path) -> None:
    rows = make_conversations(150, SINCE, UNTIL, seed=2, transcripts=False)
    server = serving(rows)
    destination = tmp_path / "out"
    assert command("export", destination, *RANGE, "--partition-by", by, "--page-size", "20", server=server).status == 0
    exported = ExportDirectory(destination)
    exported.check(records(rows))
    assert {tuple(file["partition"]) for file in exported.files} == {(key,) if key else ()}
    assert exported.manifest["request"]["partition_by"] == by


def test_small_files_when_asked_for(serving: Serving, command: Command, tmp_path: Path) -> None:
    rows = make_conversations(800, SINCE, SINCE + (UNTIL - SINCE) // 60, seed=3)
    server = serving(rows)
    options = (*RANGE, "--partition-by", "none", "--part-size", "100kB", "--page-size", "50", "--concurrency", "1")
    assert command("export", tmp_path / "out", *options, server=server).status == 0
    exported = ExportDirectory(tmp_path / "out")
    exported.check(records(rows))
    assert len(exported.files) > 3


def test_json_is_one_object_on_stdout_and_nothing_else(serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving(make_conversations(50, SINCE, UNTIL, seed=4, transcripts=False))
    done = command("export", tmp_path / "out", *RANGE, "--json", server=server)
    summary = json.loads(done.out)
    exported = ExportDirectory(tmp_path / "out")
    assert done.out.count("\n") == 1
    assert set(summary) == set(SUMMARY_KEYS)
    assert (summary["rows"], summary["files"]) == (50, len(exported.files))
    assert summary["bytes"] == sum(file["bytes"] for file in exported.files)
    assert Path(summary["manifest"]) == tmp_path / "out" / "_manifest.json"
    assert done.err == ""


def test_an_organization_without_conversations(serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving([])
    for _ in range(2):
        done = command("export", tmp_path / "out", *RANGE, server=server)
        assert done.status == 0, done.err
        ExportDirectory(tmp_path / "out").check({})
        assert (tmp_path / "out" / "_SUCCESS").read_bytes() == b""
