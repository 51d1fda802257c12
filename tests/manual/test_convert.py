"""The commands and the query of the page on CSV and JSON Lines do what it says."""

import gzip
import json
import shlex
import shutil
from pathlib import Path

import duckdb
import pytest

from exporter.cli import main
from tests.toolkit.manual import PAGES, in_code

PAGE = PAGES["convert"]


def test_the_page_on_csv(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    monkeypatch.chdir(tmp_path)
    *lines, piped = PAGE.command_holding("--output calls.csv").strip().splitlines()
    for line in (*lines, piped.removesuffix(" | head"), "exporter convert calls --output again.csv --json"):
        capfd.readouterr()
        assert main(shlex.split(line)[1:]) == 0, line
    assert sorted(PAGE.keys_of_json("a conversion")) == sorted(json.loads(capfd.readouterr().out))
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "calls.csv").read_bytes()
    assert len(gzip.decompress((tmp_path / "turns.jsonl.gz").read_bytes()).splitlines()) > 2000
    days = {path.name for path in (tmp_path / "calls-jsonl").iterdir()}
    partitions = {path.name.partition("=")[2] for path in (tmp_path / "calls/conversations").glob("*=*")}
    assert days == {f"conversations-{day}.jsonl.zst" for day in partitions}
    (query,) = [text for text in in_code(PAGE.section("Values")) if "read_csv" in text]
    (found,) = duckdb.execute(query).fetchall()
    files = "read_parquet('calls/conversations/**/part-*.parquet')"
    assert found == duckdb.execute(f"SELECT count(summary) FROM {files}").fetchone()
