"""Tests exports filtered by several values of a parameter, of which the API takes one."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import HIDDEN_STATUS, SECOND, format_instant
from exporter.sandbox import Behaviour, Row, ServedRequest, make_conversations
from tests.end_to_end.conftest import Command, Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, UNTIL, records

pytestmark = pytest.mark.usefixtures("hasty")

RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))
ASKED = ("--status", "failed,completed", "--page-size", "20", "--concurrency", "2")


@pytest.fixture
def rows() -> list[Row]:
    return make_conversations(600, SINCE, UNTIL, seed=43)


def matching(rows: Sequence[Row], **filters: set[object]) -> dict[str, dict[str, Any]]:
    found = records(rows)
    return {
        identity: record
        for identity, record in found.items()
        if all(record[name] in values for name, values in filters.items())
    }


def test_each_combination_is_a_list_and_each_row_is_there_once(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(rows, Behaviour(hides_token_created=True))
    agents = sorted({str(row.facts()["agent_id"]) for row in rows})[:2]
    options = ("--agent-id", agents[1], "--agent-id", agents[0], "--agent-id", agents[1], "--direction", "inbound")
    assert command("export", tmp_path / "out", *RANGE, *options, server=server).status == 0
    exported = ExportDirectory(tmp_path / "out")
    expected = matching(rows, agent_id=set(agents), direction={"inbound"})
    # Those of the status that lists leave out are read as well.
    assert HIDDEN_STATUS in {record["status"] for record in expected.values()}
    exported.check(expected)
    assert exported.manifest["request"]["filters"] == {"agent_id": agents, "direction": "inbound"}
    assert all("," not in seen.query.get("agent_id", "") for seen in server.requests)


def test_the_order_of_the_values_is_no_difference_and_other_values_are_one(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    out = tmp_path / "out"
    assert command("export", out, *RANGE, *ASKED, server=server).status == 0
    ExportDirectory(out).check(matching(rows, status={"completed", "failed"}))
    commits = [json.loads(path.read_text()) for path in sorted((out / "_exporter" / "commits").iterdir())]
    # An exporter that knows one value alone refuses the first commit by its format.
    assert [commit["format_version"] for commit in commits] == [3] + [1] * (len(commits) - 1)
    asked = len(server.requests)
    again = ("--status", "completed", "--status", "failed", "--status", "completed")
    assert command("export", out, *RANGE, *again, server=server).status == 0
    assert len(server.requests) <= asked + 5
    refused = command("export", out, *RANGE, "--status", "completed", server=server)
    assert refused.status == 2
    assert "filters: status=completed,failed stored, status=completed asked for" in refused.err


def test_killed_it_goes_on_and_ends_with_each_row_once(
    rows: list[Row], serving: Serving, command: Command, spawn: Spawn, tmp_path: Path
) -> None:
    server = serving(rows, Behaviour(latency=0.01))
    out = tmp_path / "out"
    small = ("--part-size", "4kB")
    running = spawn("export", out, *RANGE, *ASKED, *small, server=server)

    def kill(_seen: ServedRequest) -> None:
        if len(list((out / "_exporter" / "commits").glob("*.json"))) > 3:
            running.process.kill()

    server.on_request = kill
    running.wait(60)
    server.on_request = None
    assert ExportDirectory(out).manifest["state"] == "incomplete"
    assert command("export", out, server=server).status == 0
    ExportDirectory(out).check(matching(rows, status={"completed", "failed"}))


def test_a_sync_takes_what_changed_its_value_and_drops_what_left_them(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    out = tmp_path / "out"
    assert command("export", out, *RANGE, *ASKED, server=server).status == 0
    before = sorted(matching(server.rows, status={"completed"}))
    assert command("sync", out, server=server).status == 2
    now = time.time_ns() // 1000
    server.update(before[0], now, status="failed")
    server.update(before[1], now, status="cancelled")
    audited = command("audit", out, server=server)
    assert audited.status != 0
    assert "479 conversations listed, 480 in the export" in audited.out + audited.err
    synced = command("sync", out, "--refilter", "--json", server=server)
    assert synced.status == 0, synced.err
    found = json.loads(synced.out)
    assert (found["inserted"], found["updated"], found["removed"]) == (0, 1, 1)
    ExportDirectory(out).check(matching(server.rows, status={"completed", "failed"}))
    assert command("audit", out, server=server).status == 0


def test_rows_that_change_their_value_between_the_lists_are_not_missed(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    """Each goes back to the list that was read first, when that of its value is about to be read."""
    server = serving(rows)
    asked = ("--status", "completed,in_progress,failed", "--page-size", "50", "--concurrency", "1")
    always = matching(rows, status={"completed", "in_progress", "failed"})
    moved = iter(sorted(always))
    numbers = {"count": 0}

    def move(seen: ServedRequest) -> None:
        numbers["count"] += 1
        if "status" in seen.query and (identity := next(moved, None)) is not None:
            others = {"completed": "in_progress", "in_progress": "failed", "failed": "completed"}
            status = str(next(row for row in server.rows if row.facts()["id"] == identity).facts()["status"])
            server.update(identity, SINCE + numbers["count"] * SECOND, status=others[status])

    server.on_request = move
    result = command("export", tmp_path / "out", *RANGE, *asked, server=server)
    server.on_request = None
    assert result.status in (0, 3), result.err
    assert ExportDirectory(tmp_path / "out").records().keys() == always.keys()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--status", "completed,faild"), "--status 'faild': known values are"),
        (("--status", "completed,faild"), "Did you mean failed?"),
        (("--status", "completed", "--filter", "status=failed"), "the filter status is given twice"),
        (("--agent-version-id", "a", "--agent-version-id", "b"), "the filter agent_version_id is given twice"),
        (("--agent-id", "a", "--agent-id", ""), "--agent-id: must have a value"),
        (tuple(f"--agent-id={n}" for n in range(33)), "these are 33 lists; at most 32"),
    ],
)
def test_wrong_values_are_refused(options: tuple[str, ...], complaint: str, command: Command, tmp_path: Path) -> None:
    refused = command("export", tmp_path / "out", *options)
    assert refused.status == 2
    assert complaint in refused.err
    assert not (tmp_path / "out").exists()
