"""Tests that `_exporter/runs.jsonl` has a line for every run, however it ended, and never the token."""

import json
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from exporter.contract import DAY, format_instant, parse_timestamp
from exporter.jobs.compact import compact
from exporter.layout import RUNS
from exporter.progress import Quiet
from exporter.sandbox import TOKEN, Behaviour, Row, make_conversations
from tests.end_to_end.conftest import Command, Serving, Spawn
from tests.jobs.damage import flip, parts

pytestmark = pytest.mark.usefixtures("hasty")

SINCE = parse_timestamp("2024-01-01")
MIDDLE, UNTIL = SINCE + 3 * DAY, SINCE + 6 * DAY
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(MIDDLE))
WIDER = ("--until", format_instant(UNTIL))


@pytest.fixture
def rows() -> list[Row]:
    return make_conversations(300, SINCE, UNTIL, seed=3, transcripts=False, density="flat")


def lines(out: Path) -> list[dict[str, Any]]:
    """Returns the lines that stand for runs, without those that checks add."""
    found = [json.loads(line) for line in (out / RUNS).read_bytes().splitlines()]
    return [line for line in found if "checked" not in line]


def test_every_command_that_changes_an_export_is_there(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server, out = serving(rows), tmp_path / "out"
    assert command("export", out, *RANGE, "--part-size", "1B", "--page-size", "20", server=server).status == 0
    requests = len(server.requests)
    assert command("compact", out, token=None).status == 0
    assert command("export", out, token=None).status == 2
    assert command("export", out, server=server).status == 0
    flip(out, parts(out)[0])
    assert command("verify", out).status == 6
    assert command("verify", out, "--repair").status == 1
    assert command("sync", out, server=server).status == 0

    found = lines(out)
    assert [(line["command"], line["exit_status"], line["error"]) for line in found] == [
        ("export", 0, None),
        ("compact", 0, None),
        ("export", 0, None),
        ("verify", 1, None),
        ("sync", 0, None),
    ]
    first, compacted, idle, repaired, last = found
    manifest = json.loads((out / "_manifest.json").read_bytes())
    assert (last["state"], last["rows"], last["generation"]) == ("complete", 300, manifest["generation"])
    assert (last["files"], last["bytes"]) == (manifest["totals"]["files"], manifest["totals"]["bytes"])
    assert (first["generation_before"], first["requests"]) == (0, requests)
    assert last["requests"] > 0
    assert (compacted["generation_before"], compacted["requests"]) == (first["generation"], 0)
    assert compacted["files"] < first["files"]
    assert (idle["generation_before"], idle["generation"], idle["requests"]) == (*[compacted["generation"]] * 2, 0)
    assert repaired["state"] == "incomplete"
    assert repaired["rows"] < idle["rows"]
    assert len({line["run"] for line in found}) == 5
    assert all(line["started_at"] <= line["ended_at"] for line in found)
    # The journal is no orphan.
    assert command("verify", out).status == 0


def test_runs_that_fail_are_there_and_the_token_is_not(
    rows: list[Row], serving: Serving, command: Command, spawn: Spawn, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export", out, *RANGE, server=serving(rows)).status == 0
    revoked, refused = serving(rows, Behaviour(revoked_after=2)), "ak_nobody_knows_this"
    assert command("export", out, *WIDER, server=revoked).status == 4
    assert command("export", out, *WIDER, server=revoked, token=refused).status == 4
    slow = serving(rows, Behaviour(latency=1.0))
    started = spawn("export", out, *WIDER, "--page-size", "10", server=slow)
    while not (out / "_exporter/lock").read_bytes():
        assert started.process.poll() is None
    held = command("export", out, *WIDER, server=serving(rows))
    started.process.send_signal(signal.SIGTERM)
    assert (held.status, started.wait().status) == (5, 130)

    found = lines(out)
    assert [(line["exit_status"], line["error"]) for line in found] == [
        (0, None),
        (4, "AccessError"),
        (4, "AccessError"),
        (130, "InterruptedExportError"),
    ]
    assert "answered 401" in found[1]["message"]
    assert found[2]["generation"] == found[2]["generation_before"] == found[1]["generation"]
    text = (out / RUNS).read_text()
    assert TOKEN not in text and refused not in text

    done = command("status", out)
    assert "  last run  export, interrupted at " in done.out
    assert " UTC (130)\n" in done.out
    assert json.loads(command("status", out, "--json").out)["last_run"] == found[-1]


def test_a_run_ends_as_it_does_where_no_line_can_be_written(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export", out, *RANGE, server=serving(rows)).status == 0
    (out / RUNS).unlink()
    (out / RUNS).mkdir()
    assert command("export", out, server=serving(rows)).status == 0
    assert command("export", out, *WIDER, server=serving(rows, Behaviour(revoked_after=2))).status == 4
    assert command("export", out, *WIDER, server=serving(rows)).status == 0


def test_a_defect_is_named_without_what_it_quotes(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    class Defective(Quiet):
        def note(self, event: str, /, **details: object) -> None:
            if event == "merging small files":
                raise RuntimeError("a conversation, word for word")

    out = tmp_path / "out"
    assert command("export", out, *RANGE, "--part-size", "1B", "--page-size", "20", server=serving(rows)).status == 0
    with pytest.raises(RuntimeError):
        anyio.run(partial(compact, out, target_bytes=10**9, memory_bytes=1 << 29, observer=Defective()))
    line = lines(out)[-1]
    assert (line["command"], line["exit_status"], line["error"], line["message"]) == (
        "compact",
        1,
        "RuntimeError",
        None,
    )
    assert line["generation"] > line["generation_before"]


def test_where_there_is_no_export_there_is_no_line(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export", out, *RANGE, server=serving(rows), token="ak_wrong").status == 4
    assert not out.exists()
    assert command("export", out, *RANGE, server=serving(rows)).status == 0
    before = (out / RUNS).read_bytes()
    assert command("export", out, "--direction", "inbound", server=serving(rows)).status == 2
    shutil.rmtree(out / "conversations")
    assert (out / RUNS).read_bytes() == before
