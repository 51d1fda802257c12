"""Runs tasks on Ray, each as a Ray task on one core."""

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Any, Final

from exporter.engines.work import work as run_share
from exporter.errors import EngineClosedError, EngineError, UsageError
from exporter.words import install_command

_REACH_SECONDS: Final = 10
_HOST_AND_PORT: Final = re.compile(r"\[?(?P<host>[^/\]]+)\]?:(?P<port>\d+)")


class RayEngine:
    """Is an `Engine` on a Ray cluster, as described in `exporter.ray.engine`."""

    def __init__(
        self,
        address: str | None = None,
        slots: int | None = None,
        max_retries: int = 3,
        work: Callable[[bytes], bytes] = run_share,
    ) -> None:
        if (slots is not None and slots < 1) or max_retries < 0:
            raise UsageError(f"an engine on Ray needs at least 1 slot and 0 retries, not {slots} and {max_retries}")
        self._ray = _load()
        self._slots = slots
        self._is_own = _connect(self._ray, address)
        # Tasks wait for the network, so each machine should have a part of them.
        options = {"num_cpus": 1, "max_retries": max_retries, "scheduling_strategy": "SPREAD", "name": "exporter"}
        self._work = self._ray.remote(work).options(**options)
        self._lock = threading.Lock()
        self._running: set[Any] = set()
        self._end: Future[Any] = Future()

    @property
    def name(self) -> str:
        """Returns how messages name it."""
        return "Ray"

    @property
    def slots(self) -> int:
        """Returns the number of tasks that run at once: as given, or the cores that the cluster has now."""
        if self._slots is not None or not self._ray.is_initialized():
            return self._slots or 1
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def call(self, task: bytes) -> bytes:
        """Returns the answer to a task. Raises `EngineError` if Ray gives it up, or the engine is closed."""
        reference = self._start(task)
        try:
            answer: Future[Any] = reference.future()
            wait([answer, self._end], return_when=FIRST_COMPLETED)
            if self._end.done():
                raise _closed()
            return bytes(answer.result())
        except self._ray.exceptions.RayError as error:
            raise EngineError(f"Ray gave up a task: {_reason(error)}") from error
        finally:
            with self._lock:
                self._running.discard(reference)

    def close(self) -> None:
        """Cancels the tasks that run, and disconnects from Ray if this engine has connected to it."""
        with self._lock:
            if self._end.done():
                return
            self._end.set_result(None)
            running = set(self._running)
        if not self._ray.is_initialized():
            return
        for reference in running:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        if self._is_own:
            self._ray.shutdown()

    def _start(self, task: bytes) -> Any:
        with self._lock:
            # Otherwise Ray would silently start a cluster on this machine.
            if self._end.done() or not self._ray.is_initialized():
                raise _closed()
            reference = self._work.remote(task)
            self._running.add(reference)
            return reference


def _closed() -> EngineClosedError:
    return EngineClosedError("the engine on Ray was closed, or Ray was shut down, while there were tasks to run")


def _load() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"an engine on Ray needs ray, which is not installed. To install it:\n{install_command('ray')}"
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> bool:
    """Connects to a cluster, unless this process is connected; returns whether it has done so."""
    if ray.is_initialized():
        if address is not None:
            raise UsageError(f"this process is connected to a Ray cluster already: make the engine without {address!r}")
        return False
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address or os.environ.get("RAY_ADDRESS", ""))
        # What workers print is not for the standard output of a command.
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "" if address is None else f" at {address}"
        raise EngineError(f"no Ray cluster{where} to run tasks on: {_reason(error)}") from error
    finally:
        # Ray sets its own, also in place of one that somebody has set.
        if handler != signal.SIG_DFL and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    return True


def _reach(address: str) -> None:
    """Raises `OSError` if nothing answers at `HOST:PORT`: Ray would look for it for a minute, and end this process."""
    if match := _HOST_AND_PORT.fullmatch(address):
        socket.create_connection((match["host"], int(match["port"])), timeout=_REACH_SECONDS).close()


def _reason(error: Exception) -> str:
    """Returns in one line why a task failed. What an unexpected error quotes may be personal, and is left out."""
    cause = getattr(error, "cause", None)
    if cause is None:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(cause, EngineError):
        return str(cause)
    if "failed to import" in str(cause):
        return "a worker cannot load exporter: install it on each machine of the cluster"
    return f"it failed with {type(cause).__name__}"
