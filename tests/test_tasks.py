"""Tests what loads beside an answer."""

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from anyio.lowlevel import checkpoint

from exporter import tasks
from exporter.tasks import loading

pytestmark = pytest.mark.anyio


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tasks, "_HEAD_START_SECONDS", 0.0)
    yield tmp_path / "late_room.py"
    sys.modules.pop("late_room", None)


async def awaiting() -> None:
    """Lets the loop turn until its timers have run, as while an answer is awaited."""
    for _ in range(3):
        await checkpoint()


async def test_a_module_is_there_when_an_answer_has_been_awaited(module: Path) -> None:
    module.write_text("from threading import current_thread\nname = current_thread().name\n")
    with loading("late_room"):
        assert "late_room" not in sys.modules
        await awaiting()
    assert sys.modules["late_room"].name == "loading"
    with loading("late_room"):
        await awaiting()


async def test_what_cannot_be_loaded_is_told_where_it_is_imported(module: Path) -> None:
    module.write_text("raise OSError('a broken disk')\n")
    with loading("late_room"):
        await awaiting()
    with pytest.raises(OSError, match="a broken disk"):
        __import__("late_room")


async def test_an_answer_that_comes_at_once_is_not_held_up(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.syspath_prepend(module.parent)
    module.write_text("")
    with loading("late_room"):
        pass
    assert "late_room" not in sys.modules


async def test_without_a_thread_it_is_loaded_later(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", fail)
    module.write_text("")
    with loading("late_room"):
        await awaiting()
    assert "late_room" not in sys.modules
