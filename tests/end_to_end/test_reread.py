"""Tests `exporter reread` on the command line: what it says, its exit status, and what it leaves behind."""

import json
from pathlib import Path

from exporter.contract import DAY, format_instant, parse_timestamp
from exporter.sandbox import TOKEN_NOSENSITIVE, make_conversations
from exporter.store.local.lock import acquire, release
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory, snapshot
from tests.end_to_end.records import SINCE, records

RANGE = ("--since", "2024-01-01", "--until", "2024-02-01")


def test_a_token_that_has_gained_fields(serving: Serving, command: Command, tmp_path: Path) -> None:
    rows = make_conversations(600, SINCE, SINCE + 10 * DAY, seed=5)
    out, server = tmp_path / "out", serving(rows)
    assert command("export", out, *RANGE, server=server, token=TOKEN_NOSENSITIVE).status == 0
    assert command("reread", out, "--withheld", server=server, token=TOKEN_NOSENSITIVE).status == 4
    wider = command("export", out, "--until", "2024-02-02", server=server)
    assert f"600 rows here came without; exporter reread {out} --withheld reads them again" in wider.err
    done = command("reread", out, "--withheld", "--since", "2024-01-06", "--json", server=server)
    assert (done.status, json.loads(done.out)["state"]) == (3, "unproven")
    done = command("reread", out, "--withheld", server=server)
    assert done.status == 0
    assert "updated" in done.out
    ExportDirectory(out).check(records(rows))
    assert command("verify", out, token=None).status == 0
    before = committed(out)
    again = command("reread", out, "--withheld", server=server)
    assert (again.status, committed(out)) == (0, before)
    assert "nothing to read again: no row came without sensitive fields" in again.out


def committed(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Returns all files except the lock, which a run has held."""
    return {path: kept for path, kept in snapshot(root).items() if not path.endswith("lock")}


def test_what_it_says_and_notes(serving: Serving, command: Command, tmp_path: Path) -> None:
    rows = make_conversations(300, SINCE, SINCE + 10 * DAY, seed=6)
    out, server = tmp_path / "out", serving(rows)
    assert command("reread", out, server=server).status == 2
    assert not out.exists()
    assert command("export", out, *RANGE, server=server).status == 0
    until = format_instant(parse_timestamp("2024-02-01"))
    for name, nothing in ("reread", "nothing to read again"), ("audit", "nothing to compare"):
        ahead = command(name, out, "--since", "2999", server=server)
        assert (ahead.status, ahead.err) == (2, f"exporter: {nothing}: {out} ends at {until}\n")
        before = command(name, out, "--until", "2024-01-01", server=server)
        assert (before.status, before.err) == (2, f"exporter: {nothing}: {out} begins at {format_instant(SINCE)}\n")
    gone, other = (str(row.facts()["id"]) for row in rows[:2])
    server.delete(gone)
    server.update(other, rows[1].updated_at, summary="another")
    done = command("reread", out, "--since", "2024-01-02", "--until", "2024-03-01", "--json", server=server)
    assert done.status == 0, done.err
    figures = json.loads(done.out)
    assert figures["intervals"] == [{"start": "2024-01-02T00:00:00Z", "end": "2024-02-01T00:00:00Z"}]
    named = ("inserted", "updated", "removed", "kept", "rewritten")
    assert [figures[name] for name in named] == [0, 1, 1, 0, 1]
    ExportDirectory(out).check(records(server.rows))
    held = acquire(out / "_exporter/lock", "another", 0)
    try:
        assert command("reread", out, server=server).status == 5
    finally:
        release(held)
    journal = [json.loads(line) for line in (out / "_exporter/runs.jsonl").read_text().splitlines()]
    assert [(line["command"], line["exit_status"]) for line in journal] == [("export", 0), ("reread", 0)]
