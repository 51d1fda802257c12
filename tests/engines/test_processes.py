import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from exporter.engine import Engine
from exporter.engines.chosen import engine_of
from exporter.engines.named import open_engine
from exporter.engines.process_frames import receive_answer, receive_task, send_answer, send_beat, send_task
from exporter.engines.processes import Processes, processes, usable_cores
from exporter.errors import EngineClosedError, EngineError, UsageError
from exporter.run.shared_turns import GIVEN
from tests.engines.conformance import EngineConformance, until
from tests.engines.tasks import PATIENCE_SECONDS, task
from tests.toolkit.processes import ends, started

WORK = "tests.engines.tasks:work"
#: A program that has no guard.
PROGRAM = """
import os, sys
from exporter.engines.processes import Processes
from tests.engines.tasks import task
with open(sys.argv[1], "a") as file:
    print("run", file=file)
engine = Processes(1, work="tests.engines.tasks:work")
assert engine.call(task("reverse", content="on")) == b"no"
"""
WAIT = 'engine.call(task("wait", mark=sys.argv[2]))'
#: Has all that the program has open, and outlives it, as a server may that a program has forked.
FORK = """
if not os.fork():
    os.read(0, 1)
    os._exit(0)
"""


@pytest.fixture
def engine() -> Iterator[Engine]:
    with closing(Processes(2, work=WORK)) as engine:
        yield engine


class TestProcesses(EngineConformance):
    closed = EngineClosedError

    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine


def test_a_program_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    subprocess.run([sys.executable, program, tmp_path / "runs"], check=True)
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize("before", ["", FORK], ids=["alone", "forked"])
def test_a_process_ends_when_its_driver_is_killed(tmp_path: Path, before: str) -> None:
    mark = tmp_path / "mark"
    program = PROGRAM + before + WAIT
    with started([sys.executable, "-c", program, tmp_path / "runs", mark], stdin=subprocess.PIPE) as driver:
        worker = pid_in(mark)
        driver.kill()
        assert ends(worker)


def test_a_process_that_is_told_to_stop_leaves_that_to_its_driver(engine: Engine, tmp_path: Path) -> None:
    mark, end = tmp_path / "mark", tmp_path / "end"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(engine.call, task("wait", mark=str(mark), end=str(end)))
        worker = pid_in(mark)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker, number)
        end.touch()
        assert answer.result() == b"waited"


def test_a_process_that_is_stopped_is_given_up(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, closing(Processes(1, work=WORK, silence_seconds=1)) as engine:
        answer = pool.submit(engine.call, task("stop"))
        error = answer.exception(PATIENCE_SECONDS)
        assert isinstance(error, EngineError)
        assert "was stopped" in str(error)


def test_a_process_says_that_it_is_there() -> None:
    ours, theirs = socket.socketpair()
    serve = "import sys; from exporter.engines.process_worker import serve; serve(*map(int, sys.argv[1:]), 'no:work')"
    command = [sys.executable, "-c", serve, str(theirs.fileno()), str(os.getpid())]
    with ours, theirs, started(command, pass_fds=(theirs.fileno(),)) as worker:
        ours.settimeout(PATIENCE_SECONDS)
        assert ours.recv(1) == b"."
        ours.close()
        theirs.close()
        assert worker.wait() == 0


def test_an_answer_comes_after_any_number_of_beats() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_SECONDS)
    with ours, theirs:
        for _ in range(2_000):
            # Nobody reads them, and that holds nobody up.
            send_beat(theirs)
        send_task(ours, b"task")
        assert receive_task(theirs) == b"task"
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(receive_answer, ours)
            send_answer(theirs, b".answer")
            assert answer.result() == b".answer"


def test_a_process_that_ends_by_itself_is_told_of(engine: Engine) -> None:
    with pytest.raises(EngineError, match="has ended, with status 3"):
        engine.call(task("exit", status=3))


def test_a_process_is_set_up_as_a_command_is(engine: Engine) -> None:
    assert json.loads(engine.call(task("show"))) == {"umask": 0o077, "core": 0, "pool": "system", "leads": True}


def test_a_process_has_the_environment_and_the_modules_of_its_driver(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "only_here.py").write_text("SAID = 'found'")
    monkeypatch.setenv("ONLY_HERE", "set")
    monkeypatch.syspath_prepend(tmp_path)
    assert engine.call(task("read", variable="ONLY_HERE")) == b"set"
    assert engine.call(task("import", module="only_here")) == b"found"


def test_what_a_process_prints_is_not_shown(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    assert engine.call(task("print", text="of a conversation")) == b"printed"
    assert capfd.readouterr() == ("", "")


def test_processes_that_cannot_work_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Processes(1, work="no.such.module:work")) as engine:
        with pytest.raises(EngineError, match="cannot be loaded in a process: ModuleNotFoundError: No module named"):
            engine.call(b"")
        monkeypatch.setattr(sys, "executable", "/nowhere")
        with pytest.raises(EngineError, match="cannot be loaded"):
            engine.call(b"")
    with pytest.raises(EngineError, match="a process cannot be started: No such file"):
        Processes(1, work=WORK).call(b"")


def test_too_few_descriptors_for_a_connection_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socketpair", refuse)
    with closing(Processes(1)) as engine, pytest.raises(EngineError, match=r"Too many open files\. Use fewer of them"):
        engine.call(b"task")


@pytest.mark.parametrize(
    ("said", "most"), [("150000 100000\n", 2), ("10000 100000\n", 1), ("max 100000\n", None), ("", None)]
)
def test_as_many_cores_as_a_container_has_time_for(tmp_path: Path, said: str, most: int | None) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(said)
    allowed = usable_cores(tmp_path / "missing")
    assert 1 <= allowed <= (os.cpu_count() or 1)
    assert usable_cores(quota) == min(allowed, most or allowed)


@pytest.mark.parametrize("count", [0, -1, 257, True, 1.5, None, "many", "2.0"])
def test_a_count_of_processes_that_cannot_be(count: object) -> None:
    with pytest.raises(UsageError, match="processes"):
        processes(count)  # type: ignore[arg-type]


def test_processes_are_counted_by_a_number_a_text_or_the_cores() -> None:
    assert [processes(2).slots, processes("3").slots] == [2, 3]
    assert processes().slots == processes("auto").slots == usable_cores()


def test_an_engine_by_its_name() -> None:
    assert open_engine("processes:3").slots == 3
    assert open_engine("processes").slots == usable_cores()
    for text, answer in (
        ("process", "Did you mean processes"),
        ("dask", "It is processes"),
        ("ray:", "Did you mean ray"),
        ("processes:0", "^--engine 'processes:0': N must be auto, or a whole number from 1 to 256$"),
    ):
        with pytest.raises(UsageError, match=answer):
            open_engine(text)


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("spark:local[2]", "pyspark.sql")])
def test_an_engine_whose_package_is_not_installed(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r"which is not installed\. To install it:\n.* install "):
        open_engine(name)


def test_an_engine_is_opened_for_more_processes_than_one() -> None:
    with engine_of(1) as engine:
        assert engine is None
    with engine_of("2") as engine:
        assert engine is not None
        assert engine.slots == 2
    with pytest.raises(EngineError, match="closed"):
        engine.call(b"")
    given = Processes(1)
    with engine_of(1, given) as engine:
        assert engine is given
    with pytest.raises(UsageError, match="an engine is given"), engine_of(2, given):
        pass


def test_an_export_that_takes_turns_reads_in_its_own_process() -> None:
    ours, theirs = socket.socketpair()
    token = GIVEN.set(ours)
    try:
        with ours, theirs, engine_of(4) as engine:
            assert engine is None
    finally:
        GIVEN.reset(token)


def pid_in(mark: Path) -> int:
    """Waits until a task has said which process answers it."""
    until(lambda: mark.exists() and mark.read_text() != "")
    return int(mark.read_text())
