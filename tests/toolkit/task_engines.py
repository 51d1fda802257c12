"""Runs the tasks of a distributed export in threads of this process, rightly or in every way in which an engine may
fail."""

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from exporter.engine import Engine
from exporter.engines.work import work
from exporter.errors import EngineError
from exporter.options.resolved import Resolved
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.run.share import Outcome, Share, decode_outcome, decode_share, encode
from exporter.sandbox import TOKEN
from exporter.schedule import shares

#: Makes an answer of a task; the engine is the one that was asked.
Misbehaviour = Callable[["ThreadEngine", bytes], bytes]


class ThreadEngine:
    """Runs each task in the thread that asks for it. `tasks` and `answers` are what has come and gone, in that order.

    The tasks with the numbers in `faults`, counted from 0, go another way.
    """

    name = "threads"
    slots: int

    def __init__(self, slots: int = 2, faults: Mapping[int, Misbehaviour] | None = None) -> None:
        self.slots = slots
        self.tasks: list[bytes] = []
        self.answers: list[bytes] = []
        self.is_closed = False
        self._faults = faults or {}
        self._turn = threading.Lock()
        self._ended = threading.Condition(self._turn)

    def call(self, task: bytes) -> bytes:
        with self._turn:
            number = len(self.tasks)
            self.tasks.append(task)
        answer = self._faults.get(number, rightly)(self, task)
        with self._turn:
            self.answers.append(answer)
            self._ended.notify_all()
        return answer

    def close(self) -> None:
        self.is_closed = True

    def wait_for_another(self) -> None:
        """Returns when another task has been answered than those that were when this was called."""
        with self._turn:
            before = len(self.answers)
            assert self._ended.wait_for(lambda: len(self.answers) > before, timeout=60)

    @property
    def shares(self) -> list[Share]:
        return [decode_share(task) for task in self.tasks]

    @property
    def outcomes(self) -> list[Outcome]:
        return [decode_outcome(answer) for answer in self.answers]


def rightly(_engine: ThreadEngine, task: bytes) -> bytes:
    return work(task)


def twice_at_once(_engine: ThreadEngine, task: bytes) -> bytes:
    """Runs the task twice at the same time, as for speculation, and answers with either."""
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(work, task) for _ in range(2)]
        return random.Random(1).choice([each.result() for each in both])


def again_after_staging(_engine: ThreadEngine, task: bytes) -> bytes:
    """Loses the machine when it has staged everything, and runs the task again."""
    work(task)
    return work(task)


def lost_after_staging(_engine: ThreadEngine, task: bytes) -> bytes:
    work(task)
    raise EngineError("the machine is gone")


def lost(_engine: ThreadEngine, _task: bytes) -> bytes:
    raise EngineError("the machine is gone")


def late(engine: ThreadEngine, task: bytes) -> bytes:
    answer = work(task)
    engine.wait_for_another()
    return answer


def with_the_answer_of_another(engine: ThreadEngine, _task: bytes) -> bytes:
    return engine.answers[-1]


def with_garbage(_engine: ThreadEngine, _task: bytes) -> bytes:
    return b"Killed\n"


def with_an_error_of_its_own(_engine: ThreadEngine, _task: bytes) -> bytes:
    raise RuntimeError("no cluster")


def without_an_answer(_engine: ThreadEngine, _task: bytes) -> bytes:
    return None  # type: ignore[return-value]


def changed(change: Callable[[Share, Outcome], Outcome]) -> Misbehaviour:
    """Returns what answers as `change` makes it of the right answer."""

    def answer(_engine: ThreadEngine, task: bytes) -> bytes:
        return encode(change(decode_share(task), decode_outcome(work(task))))

    return answer


def of_another_version(_share: Share, outcome: Outcome) -> Outcome:
    return msgspec.structs.replace(outcome, version="0.0.1")


def with_cut_files(share: Share, outcome: Outcome) -> Outcome:
    """Cuts what was staged, as a disk does that lies about what it has kept."""
    for staged in outcome.staged.values():
        path = Path(share.destination) / staged
        path.write_bytes(path.read_bytes()[:-1])
    return outcome


def without_files(share: Share, outcome: Outcome) -> Outcome:
    for staged in outcome.staged.values():
        (Path(share.destination) / staged).unlink()
    return outcome


@contextmanager
def small_pieces(pages: float = 5.0, budget_seconds: float = 60.0) -> Iterator[None]:
    """Gives the token to workers, and cuts everything into pieces of about so many pages, however few there are.

    However fast or slow this machine is, a task does not end before its piece, unless the budget is less.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYREACH_TOKEN", TOKEN)
        patch.setattr(shares, "_LEAST_PAGES", 0)
        patch.setattr(shares, "_LEAST_PIECE_PAGES", min(1.0, pages))
        for name in ("_MOST_SECONDS", "_LEAST_SECONDS", "_FIRST_SECONDS"):
            patch.setattr(shares, name, 1.0)
        patch.setattr(shares, "_HEADROOM", budget_seconds)
        patch.setattr(shares.Shares, "_speed", pages)
        yield


@contextmanager
def distributed(engine: Engine | None = None, *, pages: float = 5.0, budget_seconds: float = 60.0) -> Iterator[Engine]:
    """Lets every export and sync in the block read by tasks of the engine, or of a `ThreadEngine`, in small pieces."""
    plain, chosen = Resolved.context, engine or ThreadEngine()

    def context(resolved: Resolved, observer: Observer, _engine: Engine | None = None) -> RunContext:
        return msgspec.structs.replace(plain(resolved, observer), engine=chosen)

    with small_pieces(pages, budget_seconds), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resolved, "context", context)
        yield chosen
