"""What a result holds has the same name in Python as in the JSON of its command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import exporter
from exporter import ExportSpec, blocking
from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import Sandbox, make_conversations
from tests.end_to_end.conftest import Command, Serving

START = parse_timestamp("2026-01-10")
#: Those that are given options, and those that need no more than a destination.
ASKING = ("export", "sync", "reread", "audit", "compact", "check", "plan", "reconcile")
COMMANDS = (*ASKING, "verify", "status", "accept", "vacuum")
#: These are in the summary of a sync and a reread, which give what they have changed beside it.
WITH_SUMMARY = ("sync", "reread")


@pytest.fixture
def server(serving: Serving) -> Sandbox:
    return serving(make_conversations(30, START, START + DAY, seed=6, transcripts=False))


def call(name: str, calls: Path, server: Sandbox) -> Any:
    function = getattr(blocking, name)
    if name in ASKING:
        return function(ExportSpec(destination=calls, base_url=server.url, token=server.token))
    return function(calls)


def names(result: object) -> Iterator[str]:
    for each in (result, getattr(result, "summary", None)):
        yield from (name for name in dir(each) if not name.startswith("_"))


def test_each_fact_has_one_name(tmp_path: Path, server: Sandbox, command: Command) -> None:
    calls = tmp_path / "calls"
    assert command("export", calls, "--until", "2026-01-11", server=server).status == 0
    manual = (Path(exporter.__file__).parent / "manual" / "python.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        options = ("--sample", "50%") if name == "audit" else ()
        figures = json.loads(command(name, calls, *options, "--json", server=server).out)
        result = call(name, calls, server)
        assert not figures.keys() - set(names(result)), name
        assert result.exit_status == 0, name
        if name == "status":
            continue
        (row,) = [line for line in manual.splitlines() if line.startswith(f"| `{type(result).__name__}` |")]
        for attribute in row.split("|")[2].replace("`", "").split(","):
            assert hasattr(result, attribute.strip()), (name, attribute)
        if name not in WITH_SUMMARY:
            assert not [key for key in figures if f"`{key}`" not in row], name


def test_a_repr_has_no_value_of_a_library(tmp_path: Path, server: Sandbox) -> None:
    spec = ExportSpec(destination=tmp_path, base_url=server.url, token=server.token, until="2026-01-11")
    summary = blocking.export(spec)
    assert "UNSET" not in repr(summary)
    assert (summary.timezone, summary.tables, summary.fields) == ("UTC", ("conversations",), None)
