"""What the page on the viewer says about the slowest version of an agent holds for the demo."""

import json
from pathlib import Path

import anyio
import pytest

from exporter.cli import main
from exporter.query.connection import open_query
from exporter.run.encryption import reader_keys


def test_a_slow_call_of_the_slowest_version_of_the_demo_can_be_heard(
    demo: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = demo / "demo-export"
    monkeypatch.setattr("exporter.report.blocks.draw", lambda *_: "")
    assert main(["report", str(calls), "--json", "--output", str(demo / "slowest.html")]) == 0
    versions = json.loads(capfd.readouterr().out)["versions"]
    slowest = max(versions, key=lambda one: (one["latency_p50"], one["latency_p95"]))
    with anyio.run(open_query, calls, reader_keys(None, {})) as query:
        heard = query.fetch(
            "SELECT conversation_id FROM recordings JOIN conversations ON id = conversation_id "
            "JOIN turns USING (conversation_id) WHERE recordings.status = 'stored' "
            f"AND agent_version_id = '{slowest['name']}' AND e2e_latency >= {slowest['latency_p95']:.2f}"
        )
    assert heard.num_rows
