"""Tests that the command line reads in as many processes as it is told to, where there is much to read."""

from pathlib import Path

import pytest

from exporter.contract import DAY, format_instant
from exporter.engines import processes
from exporter.run import handover
from exporter.sandbox import make_conversations
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, records
from tests.toolkit.task_engines import ThreadEngine

UNTIL = SINCE + 8 * DAY
ROWS = make_conversations(800, SINCE, UNTIL, seed=3, density="flat", transcripts=False)
OPTIONS = ("--since", format_instant(SINCE), "--concurrency", "2", "--page-size", "10")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[ThreadEngine]:
    """Returns the engines that are opened in place of processes."""
    engines: list[ThreadEngine] = []

    def open_engine(slots: int) -> ThreadEngine:
        engines.append(ThreadEngine(slots))
        return engines[-1]

    monkeypatch.setattr(processes, "Processes", open_engine)
    return engines


@pytest.mark.parametrize("name", ["export", "sync"])
def test_a_command_reads_in_processes_and_ends_them(
    name: str,
    serving: Serving,
    command: Command,
    opened: list[ThreadEngine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On a slow machine, what is left of an unknown list after a second might seem worth tasks.
    monkeypatch.setattr(handover, "_ALONE_SECONDS", 3600.0)
    server = serving(ROWS)
    end = ("--until", format_instant(UNTIL)) if name == "export" else ()
    done = command(name, tmp_path / "out", *OPTIONS, *end, "--processes", "3", "-v", server=server)
    assert (done.status, "reading in tasks engine=threads slots=3" in done.err) == (0, True)
    (engine,) = opened
    assert (engine.slots, engine.is_closed) == (3, True)
    assert len(engine.tasks) > 1
    ExportDirectory(tmp_path / "out").check(records(ROWS))

    # What is left is not worth a task.
    done = command(name, tmp_path / "out", *end, "--processes", "2", "-v", server=server)
    assert (done.status, "reading in tasks" in done.err) == (0, False)
    assert opened[1].slots == 2
    assert not opened[1].tasks


def test_a_config_file_says_how_many_processes_read_an_export(
    serving: Serving, command: Command, opened: list[ThreadEngine], tmp_path: Path
) -> None:
    server, config = serving(ROWS[:20]), tmp_path / "exporter.toml"
    config.write_text(f'[exports.calls]\ndestination = "{tmp_path}/out"\nprocesses = 5\n')
    assert command("export", "calls", "--config", config, server=server).status == 0
    assert command("export", "calls", "--config", config, "--processes", "4", server=server).status == 0
    assert [engine.slots for engine in opened] == [5, 4]
