"""Tests `exporter audit` on the command line: what it says, its exit status, and what it leaves behind."""

import json
from pathlib import Path

from exporter.contract import DAY
from exporter.sandbox import make_conversations
from exporter.store.local.lock import acquire, release
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory, snapshot
from tests.end_to_end.records import SINCE, records


def test_an_audit_and_its_repair(serving: Serving, command: Command, tmp_path: Path) -> None:
    rows = make_conversations(600, SINCE, SINCE + 10 * DAY, seed=5)
    out = tmp_path / "out"
    server = serving(rows[:-1])
    assert command("export", out, "--until", "2024-02-01", server=server).status == 0
    before = snapshot(out)
    same = command("audit", out, server=server)
    assert (same.status, same.err) == (0, "")
    assert "the same: 599 conversations listed, 599 in the export" in same.out

    # Its time is long ago, as if it had appeared late.
    server.insert(rows[-1])
    gone, other = (str(row.document("", "")["id"]) for row in rows[:2])
    server.delete(gone)
    server.update(other, rows[1].updated_at + 1)
    found = command("audit", out, "--json", server=server)
    assert found.status == 6
    figures = json.loads(found.out)
    assert {kind: figures[kind] for kind in ("missing", "changed", "deleted", "later")} == {
        "missing": 1,
        "changed": 1,
        "deleted": 1,
        "later": 0,
    }
    assert (figures["ids"]["deleted"], figures["ids"]["changed"]) == ([gone], [other])
    assert sum(day["missing"] for day in figures["days"]) == 1
    (day,) = {day["day"] for day in figures["days"] if day["deleted"]}
    said = command("audit", out, server=server).out
    assert [line.split()[-3:] for line in said.splitlines() if line.split()[:1] == [day]] == [
        [str(one[kind]) for kind in ("missing", "changed", "deleted")] for one in figures["days"] if one["day"] == day
    ]
    assert "--repair fetches what is missing" in said
    assert snapshot(out) == before

    assert command("audit", out, "--delete", server=server).status == 2
    sampled = command("audit", out, "--sample", "50%", server=server)
    assert "of 10 windows differ: with 95% confidence at most" in sampled.out
    healed = command("audit", out, "--repair", server=server)
    assert (healed.status, "repaired: 1 inserted, 1 updated\n" in healed.out) == (6, True)
    healed = command("audit", out, "--repair", "--delete", server=server)
    assert (healed.status, "repaired: 1 removed\n" in healed.out) == (0, True)
    ExportDirectory(out).check(records(server.rows))
    assert command("verify", out, token=None).status == 0
    lines = [json.loads(line) for line in (out / "_exporter/runs.jsonl").read_text().splitlines()]
    checks = [(line["checked"], line["exit_status"], line["is_whole"]) for line in lines if "checked" in line]
    assert checks[-3:] == [("audit", 6, True), ("audit", 0, True), ("verify", 0, True)]
    assert ("audit", 3, False) in checks or ("audit", 6, False) in checks, "that of a sample"
    journal = [line for line in lines if "command" in line]
    runs = [(line["command"], line["exit_status"]) for line in journal]
    assert runs == [("export", 0), ("audit", 6), ("audit", 0)]
    assert all(line["requests"] > 0 for line in journal)
    assert command("audit", out, server=server).status == 0

    lock = acquire(out / "_exporter/lock", "another", 0)
    assert command("audit", out, "--repair", server=server).status == 5
    assert command("audit", out, server=server).status == 0
    release(lock)
    assert command("audit", tmp_path / "nothing", server=server).status == 2
    assert not (tmp_path / "nothing").exists()


def test_it_asks_otherwise_than_the_export_did(serving: Serving, command: Command, tmp_path: Path) -> None:
    """It uses the cursor alone, and pages of another size: what misleads an export does not mislead it."""
    rows = make_conversations(900, SINCE, SINCE + 10 * DAY, seed=5, transcripts=False)
    out, server = tmp_path / "out", serving(rows)
    pages = ("--page-size", "70", "--concurrency", "1")
    assert command("export", out, "--until", "2024-01-11", *pages, server=server).status == 0
    asked = [seen.query for seen in server.requests if seen.query["limit"] == "70"]
    assert len(asked) > 900 // 70
    # The window that is open below begins at the top of the list.
    assert sum("created_before" not in query for query in asked) <= 1
    before = len(server.requests)
    assert command("audit", out, *pages, server=server).status == 0
    listed = [seen.query for seen in server.requests[before:] if "cursor" in seen.query]
    assert "70" not in {query["limit"] for query in listed}
    by_cursor = [query for query in listed if "created_before" not in query]
    # The first questions of a run try bounds by both parameters.
    assert len(by_cursor) > 900 // 70
    assert len(listed) - len(by_cursor) <= 3
