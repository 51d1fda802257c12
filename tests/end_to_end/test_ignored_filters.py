"""A filter that the API ignores is told of by the first run, and by whatever shows the export afterwards."""

import json
from pathlib import Path

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import Row, Sandbox, make_conversations
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory

START = parse_timestamp("2026-01-10")
RANGE = ("--since", "2026-01-10", "--until", "2026-01-11")
SURPRISE = "the API ignores the filter order: nothing was left out by it."


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(20, START, START + DAY, seed=6, transcripts=False)


@pytest.fixture
def server(serving: Serving, rows: list[Row]) -> Sandbox:
    return serving(rows)


def test_a_quiet_run_warns_of_it_too(tmp_path: Path, server: Sandbox, command: Command) -> None:
    for _ in range(2):
        done = command("export", tmp_path, "--filter", "order=asc", *RANGE, "-q", server=server)
        assert (done.status, done.complaint) == (0, [f"warning: {SURPRISE}"])
        assert done.out.startswith("✔ complete  20 conversations") and len(done.out.splitlines()) == 1


def test_every_summary_and_status_says_so(tmp_path: Path, server: Sandbox, command: Command) -> None:
    calls = tmp_path / "calls"
    first = command("export", calls, "--filter", "order=asc", "--status", "completed,failed", *RANGE, server=server)
    assert "filters status=completed,failed order=asc (the API ignores it) · " in first.out
    for words in (("export", calls), ("reread", calls), ("sync", calls, "--refilter"), ("status", calls)):
        shown = command(*words, server=server).out
        assert ("order=asc (the API ignores it)" if words[0] == "status" else SURPRISE) in shown
        figures = json.loads(command(*words, "--json", server=server).out)
        assert (figures["ignored_filters"], figures["timezone"]) == (["order"], "UTC")
    assert ExportDirectory(calls).manifest["request"]["ignored_filters"] == ["order"]


def test_an_end_that_lies_ahead_is_told_by_a_quiet_run_as_well(
    tmp_path: Path, server: Sandbox, command: Command
) -> None:
    done = command("export", tmp_path, "--until", "2100-01-01", "-q", server=server)
    assert done.complaint[0].startswith("warning: --until 2100-01-01 UTC lies ahead; exported up to ")
