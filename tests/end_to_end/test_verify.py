"""Tests `exporter verify` on the command line, and a repair, after which an export is exact again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.contract import DAY, format_instant
from exporter.sandbox import Behaviour, Row, Sandbox, make_conversations
from exporter.store.location import shell_word
from tests.end_to_end.conftest import Command, CommandResult, Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory, snapshot
from tests.end_to_end.records import SINCE, UNTIL, records
from tests.jobs.damage import a_day_later, flip, parts, quarantine, rewrite, share_an_id, swap, truncate, with_column
from tests.toolkit.sizes import some_of

pytestmark = pytest.mark.usefixtures("hasty")

RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))


@pytest.fixture
def rows() -> list[Row]:
    return make_conversations(300, SINCE, UNTIL, seed=11, transcripts=False)


def misfit(number: int) -> Row:
    created_at = SINCE + number * 5 * DAY // 2
    text = {"id": f"odd-{number}", "created_at": format_instant(created_at), "duration": number + 0.5}
    return Row(created_at, raw=json.dumps(text))


DAMAGE: dict[str, Callable[[Path, list[str]], object]] = {
    "a bit": lambda root, paths: flip(root, paths[3]),
    "an end": lambda root, paths: truncate(root, paths[0]),
    "files": lambda root, paths: [shutil.move(root / path, root.parent) for path in paths[::7]],
    "everything": lambda root, paths: shutil.rmtree(root / "conversations"),
    "two files": lambda root, paths: swap(root, paths[0], paths[-1]),
    "an id": lambda root, paths: share_an_id(root, paths[2], paths[5]),
    "rows elsewhere": lambda root, paths: rewrite(root, paths[4], with_column("created_at", a_day_later)),
    "a row less": lambda root, paths: rewrite(root, paths[4], lambda table: table[1:]),
}


@pytest.mark.parametrize("name", some_of(DAMAGE, "a bit", "files", "an id", "a row less"))
def test_after_a_repair_the_same_command_reads_the_rest_and_is_exact(
    name: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server, out = serving([*rows, *map(misfit, range(24))]), tmp_path / "out"
    assert command("export", out, *RANGE, "--part-size", "20kB", server=server).status == 3
    exported = ExportDirectory(out)
    expected = sorted(line["row"] for line in exported.quarantined())
    assert len(expected) == 24
    DAMAGE[name](out, parts(out))
    assert command("verify", out).status == 6
    done = command("verify", out, "--repair")
    assert (done.status, done.err) == (1, "")
    assert "mended: conversations/" in done.out
    assert f"run exporter export {out}" in done.out
    ExportDirectory(out).check_sound()

    requests = len(server.requests)
    assert command("export", out, server=server).status == 3
    exported = ExportDirectory(out)
    exported.check(records(rows))
    # Rows from the quarantine are neither lost nor doubled.
    assert sorted(line["row"] for line in exported.quarantined()) == expected
    done = command("verify", out)
    assert (done.status, done.out.startswith("sound and unproven; 300 conversations in ")) == (3, True)
    if name in ("a bit", "an end", "an id"):
        assert len(server.requests) - requests < 40


def test_quarantine_is_read_again(rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> None:
    server, out = serving([*rows, *map(misfit, range(24))]), tmp_path / "out"
    assert command("export", out, *RANGE, "--concurrency", "1", server=server).status == 3
    expected = sorted(line["row"] for line in ExportDirectory(out).quarantined())
    for _ in range(2):
        # From the second time on, one of these is a file that a repair has written.
        flip(out, parts(out)[0])
        assert command("verify", out, "--repair").status == 1
        flip(out, quarantine(out)[0])
        done = command("verify", out, "--repair")
        assert "mended: _exporter/quarantine/" in done.out
        assert command("export", out, server=server).status == 3
        ExportDirectory(out).check(records(rows))
        assert sorted(line["row"] for line in ExportDirectory(out).quarantined()) == expected


def test_a_repair_of_what_has_no_rows_ends_complete(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export", out, *RANGE, server=serving(rows)).status == 0
    assert command("verify", out).status == 0
    before = snapshot(out)
    (out / "_SUCCESS").unlink()
    (out / "_manifest.json").write_text("{}")
    (out / "conversations/part-left-000001.parquet").write_bytes(b"PAR1")
    assert command("verify", out).status == 6
    done = command("verify", out, "--repair")
    assert (done.status, done.out.count("mended: ")) == (0, 3)
    ExportDirectory(out).check(records(rows))
    after = snapshot(out)
    # A commit of its own shows a run beyond the reach of the lock that it was overtaken.
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    number = ExportDirectory(out).manifest["generation"]
    assert changed == {"_manifest.json", "_SUCCESS", "_exporter/lock", f"_exporter/commits/{number:08d}.json"}


def test_json_is_one_object_that_names_everything(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export", out, *RANGE, server=serving(rows)).status == 0
    path = parts(out)[0]
    flip(out, path)
    done = command("verify", out, "--json")
    assert (done.status, done.err, done.out.count("\n")) == (6, "", 1)
    figures = json.loads(done.out)
    assert figures["problems"] == [
        {"file": path, "what": "sha256", "detail": "its bytes are not those that were written", "mended": False}
    ]
    assert (figures["sound"], figures["state"], figures["rows"]) == (False, "complete", 300)
    figures = json.loads(command("verify", out, "--json", "--repair").out)
    assert (figures["sound"], figures["state"], figures["dropped"]) == (True, "incomplete", 1)
    assert figures["uncovered"][0].keys() == {"start", "end"}


@pytest.mark.parametrize("name", some_of(["prod:calls", "a%20b#c", os.fsdecode(b"\xff")], "prod:calls", "a%20b#c"))
def test_a_directory_of_any_name_holds_a_sound_export(
    name: str,
    rows: list[Row],
    serving: Serving,
    spawn: Spawn,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*arguments: str | Path, server: Sandbox | None = None) -> CommandResult:
        # Only the streams of a process print a name that is no text.
        return command(*arguments, server=server) if name.isascii() else spawn(*arguments, server=server).wait()

    monkeypatch.chdir(tmp_path)
    out, server = Path(name), serving(rows)
    assert run("export", out, *RANGE, server=server).status == 0
    data = {path: kept for path, kept in snapshot(out).items() if path.endswith(".parquet")}
    done = run("verify", out, "--repair")
    assert (done.status, done.out.startswith("sound and complete; 300 conversations"), done.err) == (0, True, "")
    assert {path: kept for path, kept in snapshot(out).items() if path.endswith(".parquet")} == data
    (out / parts(out)[0]).unlink()
    for doing in ("compact", "vacuum"):
        done = run(doing, out)
        assert (done.status, "the log names it, and it is not there" in done.err) == (6, True)
        assert f"exporter verify {shell_word(out)} --repair" in done.err
    done = run("verify", out, "--repair")
    assert (done.status, done.out.startswith("taking 1 file out of the export, to _exporter/dropped/")) == (1, True)
    assert run("export", out, server=server).status == 0
    assert run("vacuum", out).status == 0
    assert run("status", out).status == 0


def test_what_is_incomplete_is_said_to_be_and_is_not_wrong(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server, out = serving(rows, Behaviour(revoked_after=9)), tmp_path / "out"
    assert command("export", out, *RANGE, "--page-size", "20", server=server).status == 4
    done = command("verify", out)
    assert (done.status, done.err) == (1, "")
    assert done.out.startswith("sound and incomplete; ")
    assert done.out.endswith(f"  A part of the range is missing: run exporter export {out}\n")


def test_while_an_export_runs_there_are_no_false_alarms(
    serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server = serving(make_conversations(600, SINCE, UNTIL, transcripts=False), Behaviour(latency=0.02))
    out = tmp_path / "out"
    running = spawn("export", out, *RANGE, "--page-size", "15", server=server)
    looks = []
    while running.process.poll() is None:
        done = command("verify", out, "--json")
        if done.status != 2:  # an export exists by now
            looks.append(json.loads(done.out))
    assert running.wait().status == 0
    assert [look["problems"] for look in looks] == [[]] * len(looks)
    assert any(look["writer"] and 0 < look["files"] == look["files_read"] for look in looks)
    assert command("verify", out).status == 0


@pytest.mark.parametrize("text", ["0%", "101%", "10", "ten", "-5%", "0.0001%", "nan%"])
def test_a_sample_is_a_share(text: str, command: Command, tmp_path: Path) -> None:
    done = command("verify", tmp_path, "--sample", text)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"exporter: --sample {text!r}: ")


def test_no_export_and_another_path(command: Command, tmp_path: Path) -> None:
    done = command("verify", tmp_path)
    assert (done.status, done.out, done.err) == (
        2,
        "",
        f"exporter: {tmp_path}: no export here; check the path, or run exporter export first\n",
    )
    (tmp_path / "_exporter").write_text("a file")
    assert command("verify", tmp_path, "--repair").status == 2
