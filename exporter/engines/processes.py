"""Runs tasks in processes of this machine: more cores for one export."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Final

from exporter.engine import Engine
from exporter.engines.process_frames import receive_answer, send_task
from exporter.errors import EngineClosedError, EngineError
from exporter.options.dialect import for_caller
from exporter.options.keywords import check_kind
from exporter.options.parse import MOST_PROCESSES, to_processes

#: A worker says every second that it is there. One that is stopped does not.
_SILENCE_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 5.0
#: A worker finds modules where the program that starts it does. That program itself is not run again.
_PROGRAM: Final = (
    "import sys; _, number, driver, work, *sys.path = sys.argv; "
    "from exporter.engines.process_worker import serve; serve(int(number), int(driver), work)"
)
_CLOSED: Final = "the processes were closed while there were tasks to run"
_WORK: Final = "exporter.engines.work:work"


def processes(count: int | str = "auto") -> Engine:
    """Returns an engine that reads in this many processes of this machine; `auto` is one for each core that this
    process may use.

    The processes begin with the first task, and end with `close`, or when this process does. Each has the environment
    that this process has then. Raises `UsageError` for another count.
    """
    with for_caller():
        check_kind("processes", count, int | str)
        chosen = to_processes(count)
    return Processes(usable_cores() if chosen == "auto" else chosen)


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Returns how many cores this process may use: those that it may run on, and no more than a container has time for,
    as the file `quota` states it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        # It says `max` in place of the first number where there is no limit.
        microseconds, period = map(int, quota.read_text().split())
        allowed = min(allowed, ceil(microseconds / period))
    return max(1, min(allowed, MOST_PROCESSES))


class Processes:
    """Runs up to `slots` tasks at once, each in a process of its own that goes on with the next task.

    A worker leads a session of its own, so that Ctrl-C at the terminal reaches it through this process alone. It is
    given up when it has said nothing for `silence_seconds`; a task whose worker is lost is not tried again here. `work`
    names the function of a module that answers a task.
    """

    name: Final = "processes"

    def __init__(self, slots: int, *, work: str = _WORK, silence_seconds: float = _SILENCE_SECONDS) -> None:
        self.slots: Final = slots
        self._work = work
        self._silence_seconds = silence_seconds
        self._free = threading.Semaphore(slots)
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._is_closed = False

    def call(self, task: bytes) -> bytes:
        """Returns the answer to a task, as `Engine.call` does."""
        with self._free:
            worker = self._take()
            try:
                answer = worker.call(task)
            except EngineError:
                self._give_back(worker)
                raise
            except OSError as error:
                reason = worker.bury(error)
                raise (EngineClosedError(_CLOSED) if self._is_closed else EngineError(reason)) from error
            except BaseException:
                worker.bury()
                raise
            self._give_back(worker)
            return answer

    def close(self) -> None:
        """Kills the processes, as `Engine.close` says."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for worker in self._workers:
            # A call that waits for it finds its connection at the end.
            worker.kill()
        for worker in idle:
            worker.bury()

    def _take(self) -> "_Worker":
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    return worker
                worker.bury()
            if self._is_closed:
                raise EngineClosedError(_CLOSED)
            worker = _Worker(self._work, self._silence_seconds)
            self._workers = {worker, *(one for one in self._workers if one.is_alive)}
        return worker

    def _give_back(self, worker: "_Worker") -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(worker)
                return
        worker.bury()


class _Worker:
    """Starts a process that answers one task after another. Raises `EngineError` if it cannot be started."""

    def __init__(self, work: str, silence_seconds: float) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise EngineError("this program has no Python interpreter of its own that could start processes")
        try:
            self._connection, theirs = socket.socketpair()
        except OSError as error:
            raise _not_started(error) from error
        self._connection.settimeout(silence_seconds)
        number = theirs.fileno()
        places = [str(Path(place).absolute()) for place in sys.path]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with this program
                [sys.executable, "-P", "-c", _PROGRAM, str(number), str(os.getpid()), work, *places],
                stdin=subprocess.DEVNULL,
                # What a library prints would be taken for the output of this process, and may quote what was read.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(number,),
                start_new_session=True,
            )
        except OSError as error:
            self._connection.close()
            raise _not_started(error) from error
        finally:
            theirs.close()

    @property
    def is_alive(self) -> bool:
        """Returns whether the process has not ended yet."""
        return self._process.poll() is None

    def call(self, task: bytes) -> bytes:
        """Returns the answer to a task. Raises `EngineError` if there is none, and `OSError` if the process is lost."""
        send_task(self._connection, task)
        return receive_answer(self._connection)

    def kill(self) -> None:
        """Kills the process."""
        self._process.kill()

    def bury(self, error: OSError | None = None) -> str:
        """Kills the process, closes the connection, and returns how the process was lost, as `error` has shown."""
        is_silent = isinstance(error, TimeoutError)
        with suppress(subprocess.TimeoutExpired):
            # Its end of the connection closes a moment before it has ended.
            self._process.wait(0 if error is None or is_silent else _PATIENCE_SECONDS)
        status = self._process.returncode
        self.kill()
        # A process that waits for a disk may outlive this.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_SECONDS)
        self._connection.close()
        if is_silent and status is None:
            return f"process {self._process.pid} was stopped for long, and was given up"
        if status is not None and status < 0:
            why = ", as the system does when memory is short" if status == -signal.SIGKILL else ""
            return f"process {self._process.pid} was ended by {signal.Signals(-status).name}{why}"
        return f"process {self._process.pid} has ended, with status {status}"


def _not_started(error: OSError) -> EngineError:
    return EngineError(f"a process cannot be started: {error.strerror}. Use fewer of them, or raise the limit (ulimit)")
