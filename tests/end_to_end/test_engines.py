"""An export that an engine distributes equals a plain one, id for id and column for column, and is one for all others.

The engines run tasks in threads of this process, rightly or wrongly; pages are small, so that there are many tasks.
"""

import dataclasses
from pathlib import Path

import pytest

from exporter import ExportSpec, blocking
from exporter.contract import format_instant
from exporter.layout import STAGING
from exporter.sandbox import TOKEN, Sandbox, make_conversations
from exporter.schedule import shares
from tests.end_to_end.conftest import Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, UNTIL, records
from tests.toolkit.task_engines import ThreadEngine

pytestmark = pytest.mark.usefixtures("hasty", "many_tasks")

ROWS = make_conversations(1500, SINCE, UNTIL, seed=21)
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))


@pytest.fixture
def many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the token to workers, and lets even a short list be worth several tasks, however fast the sandbox is."""
    monkeypatch.setenv("ANYREACH_TOKEN", TOKEN)
    monkeypatch.setattr(shares, "_LEAST_PAGES", 0)
    monkeypatch.setattr(shares, "_MOST_SECONDS", 0.05)
    monkeypatch.setattr(shares, "_LEAST_SECONDS", 0.05)
    monkeypatch.setattr(shares, "_FIRST_SECONDS", 0.05)


def spec_for(server: Sandbox, destination: Path, **options: object) -> ExportSpec:
    spec = ExportSpec(destination=destination, base_url=server.url, since="2024-01-01", until="2024-03-01")
    return dataclasses.replace(spec, **{"page_size": 20, "concurrency": 2, **options})  # type: ignore[arg-type]


def test_it_equals_a_plain_one(serving: Serving, tmp_path: Path) -> None:
    server, engine = serving(ROWS), ThreadEngine()
    plain = blocking.export(spec_for(server, tmp_path / "plain", tables="conversations,turns"))
    distributed = blocking.export(spec_for(server, tmp_path / "out", tables="conversations,turns"), engine=engine)
    expected = records(ROWS)
    exported = ExportDirectory(tmp_path / "out")
    exported.check(expected)
    assert exported.records() == ExportDirectory(tmp_path / "plain").records()
    same = ("state", "rows", "turns", "exit_status", "withheld", "organization", "range_start", "range_end", "new_rows")
    assert {name: getattr(plain, name) for name in same} == {name: getattr(distributed, name) for name in same}
    assert len(engine.tasks) > 4
    assert sum(outcome.rows for outcome in engine.outcomes) == len(ROWS)
    assert not list((tmp_path / "out" / STAGING).iterdir())
