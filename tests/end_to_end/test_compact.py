"""Tests `exporter compact` on the command line: fewer files, the same rows, whatever state the export is in."""

import json
import random
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.contract import DAY, format_instant
from exporter.layout import commit_path
from exporter.sandbox import Behaviour, Row, make_conversations
from tests.end_to_end.conftest import Command, Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory, assert_same, check_left, snapshot
from tests.end_to_end.records import SINCE, Record, records

DAYS = 6
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(SINCE + DAYS * DAY))
#: The target size, which makes a file of every few pages.
SMALL = ("--part-size", "1B", "--page-size", "10")


@pytest.fixture
def rows() -> list[Row]:
    return make_conversations(400, SINCE, SINCE + DAYS * DAY, seed=5)


@pytest.fixture
def expected(rows: list[Row]) -> Mapping[str, Record]:
    return records(rows)


@pytest.fixture
def small(rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> ExportDirectory:
    """Makes a complete export in small files."""
    assert command("export", tmp_path / "out", *RANGE, *SMALL, server=serving(rows)).status == 0
    exported = ExportDirectory(tmp_path / "out")
    assert len(exported.files) > 3 * DAYS
    return exported


def written(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Returns all files except the lock, which a run has held."""
    return {path: file for path, file in snapshot(root).items() if path != "_exporter/lock"}


def test_small_files_become_one_a_day_and_again_changes_nothing(
    small: ExportDirectory, expected: Mapping[str, Record], command: Command
) -> None:
    out = small.root
    done = command("compact", out, token=None)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{len(small.files)} files of ")
    assert "became 6 files of " in done.out
    assert "with the same 400 conversations" in done.out
    compacted = ExportDirectory(out)
    compacted.check(expected)
    assert len(compacted.files) == DAYS
    kinds = [json.loads(path.read_bytes())["kind"] for path in sorted((out / "_exporter/commits").iterdir())]
    merges = kinds[small.manifest["generation"] :]
    assert merges[0] == "resume"
    assert {*merges[1:]} == {"compact"}
    assert command("verify", out).status == 0

    before = written(out)
    done = command("compact", out, "--json", token=None)
    figures = json.loads(done.out)
    assert (figures["files_before"], figures["files"], figures["changed"]) == (DAYS, DAYS, False)
    assert written(out) == before
    assert "nothing to merge: 400 conversations in 6 files" in command("compact", out, token=None).out


def test_the_target_size_is_kept(small: ExportDirectory, expected: Mapping[str, Record], command: Command) -> None:
    target = 60_000
    assert command("compact", small.root, "--part-size", str(target), token=None).status == 0
    compacted = ExportDirectory(small.root)
    compacted.check(expected)
    assert DAYS < len(compacted.files) < len(small.files)
    for file in compacted.files:
        alone = sum(other["partition"] == file["partition"] for other in compacted.files) == 1
        assert alone or file["bytes"] >= target // 2
        assert file["bytes"] <= 2 * target
    done = command("compact", small.root, "--part-size", str(target), "--json", token=None)
    assert json.loads(done.out)["changed"] is False


def test_an_incomplete_export_is_merged_where_nothing_is_missing(
    small: ExportDirectory, rows: list[Row], expected: Mapping[str, Record], serving: Serving, command: Command
) -> None:
    out = small.root
    victims = sorted(file["path"] for file in small.files)[2::9]
    for victim in victims:
        (out / victim).unlink()
    assert command("verify", out, "--repair").status == 1
    there = ExportDirectory(out).records()
    done = command("compact", out, token=None)
    assert done.status == 0
    assert "The export is incomplete" in done.out
    compacted = ExportDirectory(out)
    compacted.check_sound()
    assert compacted.state == "incomplete"
    assert_same(compacted.records(), there)
    assert DAYS < len(compacted.files) <= DAYS + len(victims)
    assert command("export", out, server=serving(rows)).status == 0
    ExportDirectory(out).check(expected)


def test_where_there_is_no_export_nothing_is_made(command: Command, tmp_path: Path) -> None:
    done = command("compact", tmp_path / "nothing", token=None)
    assert (done.status, done.err) == (
        2,
        f"exporter: {tmp_path / 'nothing'}: no export here; check the path, or run exporter export first\n",
    )
    assert not list(tmp_path.iterdir())
    assert command("compact", tmp_path / "nothing", "--part-size", "many", token=None).status == 2


def test_another_run_at_work_is_respected(
    small: ExportDirectory, rows: list[Row], serving: Serving, spawn: Spawn, command: Command
) -> None:
    server = serving(rows, Behaviour(latency=1.0))
    later = ("--until", format_instant(SINCE + (DAYS + 9) * DAY))
    started = spawn("export", small.root, *later, server=server)
    while not (small.root / "_exporter/lock").read_bytes():
        assert started.process.poll() is None
    before = sorted(path for path in small.root.rglob("*.parquet"))
    assert command("compact", small.root, token=None).status == 5
    assert sorted(path for path in small.root.rglob("*.parquet")) == before
    started.process.send_signal(signal.SIGTERM)
    assert started.wait().status == 130


def test_killed_at_any_instant_it_is_done_by_the_next(
    small: ExportDirectory, expected: Mapping[str, Record], spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    chance = random.Random(0)
    for number in range(2):
        out = Path(shutil.copytree(small.root, tmp_path / str(number)))
        started = spawn("compact", out)
        # It has begun to write once one more commit exists.
        while not (out / commit_path(small.manifest["generation"] + 1)).exists():
            assert started.process.poll() is None
        with suppress(subprocess.TimeoutExpired):
            started.process.wait(chance.uniform(0, 0.05))
        started.process.kill()
        started.wait()
        check_left(out, expected)
        assert command("compact", out, token=None).status == 0
        ExportDirectory(out).check(expected)
        assert len(ExportDirectory(out).files) == DAYS
