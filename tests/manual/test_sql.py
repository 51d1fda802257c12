"""The commands and the queries of the page on SQL do what it says."""

import json
import shlex
import shutil
from pathlib import Path

import anyio
import pyarrow.parquet as pq
import pytest

from exporter.cli import main
from exporter.query.connection import open_query
from exporter.run.encryption import reader_keys
from tests.toolkit.manual import PAGES, run_shell

PAGE = PAGES["sql"]


def test_the_commands(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    monkeypatch.chdir(tmp_path)
    lines = PAGE.command_holding("exporter sql calls").strip().splitlines()
    asked = [line for line in lines if "|" not in line and line != "exporter sql calls"]
    assert len(asked) == 2
    for line in asked:
        assert main(shlex.split(line)[1:]) == 0, line
    assert capfd.readouterr().out.startswith('"channel","count_star()"\n')
    assert set(pq.read_table("interrupted.parquet")["interrupted"].to_pylist()) == {True}
    (piped,) = [line for line in lines if "|" in line]
    done = run_shell(piped, tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)[0]) == ["max(created_at)"]
    assert main(shlex.split("exporter sql calls 'DESCRIBE turns'")[1:]) == 0


def test_the_useful_queries(demo: Path) -> None:
    queries = PAGE.in_language("sql")
    assert len(queries) == 8
    with anyio.run(open_query, demo / "demo-export", reader_keys(None, {})) as query:
        rows = {text: query.count(text) for text in queries}
    # Every recording of the demo that can be had is kept.
    assert [text for text, count in rows.items() if not count] == [
        text for text in queries if "FROM recordings" in text
    ]


def test_from_python(demo: Path, tmp_path: Path) -> None:
    (program,) = PAGE.in_language("python")
    (tmp_path / "calls").symlink_to(demo / "demo-export")
    done = run_shell(f"python - <<'END'\n{program}\nEND", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "assistant" in done.stdout
