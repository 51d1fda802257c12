"""States what every engine has to do, as tests. The tests of an engine inherit them:

    class TestProcesses(EngineConformance):
        @pytest.fixture
        def engine(self) -> Iterator[Engine]:
            with closing(Processes(2, work="tests.engines.tasks:work")) as engine:
                yield engine

The fixture gives an engine of at least two slots that answers tasks with `tests.engines.tasks.work`. It may be one for
all tests of a module, because only the last one closes it.
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from exporter.engine import Engine
from exporter.errors import EngineError
from tests.engines.tasks import PATIENCE_SECONDS, task

SECRET = "what a caller has said"


def in_threads(calls: Iterable[Callable[[], bytes]]) -> list[bytes]:
    """Makes calls at the same time, each in a thread, and returns their answers in order."""
    waiting = list(calls)
    with ThreadPoolExecutor(len(waiting)) as pool:
        return [each.result() for each in [pool.submit(call) for call in waiting]]


class EngineConformance:
    """Tests an engine. `closed` is what it raises once it is closed."""

    closed: ClassVar[type[EngineError]] = EngineError

    def test_it_has_a_name_and_slots(self, engine: Engine) -> None:
        assert engine.name
        assert engine.slots >= 2

    def test_it_answers_each_call_with_what_was_asked(self, engine: Engine) -> None:
        # More at once than there are slots, and bytes of every kind.
        contents = [f"{number}, \x00\n\r\xff" for number in range(8 + engine.slots)]
        answers = in_threads(partial(engine.call, task("reverse", content=content)) for content in contents)
        assert answers == [bytes(content, "latin-1")[::-1] for content in contents]

    def test_an_answer_may_be_large(self, engine: Engine) -> None:
        assert engine.call(task("large", size=3_000_000)) == bytes(range(256)) * (3_000_000 // 256)

    def test_as_many_tasks_as_slots_run_at_the_same_time(self, engine: Engine, tmp_path: Path) -> None:
        asked = {"place": str(tmp_path), "others": engine.slots - 1}
        answers = in_threads(
            partial(engine.call, task("meet", **asked, name=str(number))) for number in range(engine.slots)
        )
        assert answers == [b"met"] * engine.slots

    def test_a_refusal_of_the_work_is_told(self, engine: Engine) -> None:
        with pytest.raises(EngineError, match="no task of this exporter"):
            engine.call(task("refuse", reason="this is no task of this exporter"))
        assert engine.call(task("reverse", content="on")) == b"no"

    def test_an_unexpected_error_is_told_without_what_it_quotes(self, engine: Engine) -> None:
        with pytest.raises(EngineError) as failed:
            engine.call(task("fail", secret=SECRET))
        assert SECRET not in str(failed.value)
        assert engine.call(task("reverse", content="on")) == b"no"

    def test_a_task_whose_process_is_killed_is_tried_again_or_given_up(self, engine: Engine, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        try:
            assert engine.call(task("die", mark=str(mark))) == b"again"
        except EngineError as error:
            assert str(error)
        assert mark.exists()
        # Whatever became of it, the other tasks go on, in all slots.
        self.test_as_many_tasks_as_slots_run_at_the_same_time(engine, _made(tmp_path / "after"))

    def test_closed_it_gives_up_what_waits(self, engine: Engine, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        with ThreadPoolExecutor(1) as pool:
            waiting: Future[bytes] = pool.submit(engine.call, task("wait", mark=str(mark)))
            until(mark.exists)
            engine.close()
            assert isinstance(waiting.exception(PATIENCE_SECONDS / 2), self.closed)
        with pytest.raises(self.closed):
            engine.call(task("reverse", content="on"))
        engine.close()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def until(is_so: Callable[[], bool]) -> None:
    """Waits until a process elsewhere has done what it has to."""
    end, pause = time.monotonic() + PATIENCE_SECONDS, threading.Event()
    while not is_so():
        assert time.monotonic() < end
        pause.wait(0.01)
