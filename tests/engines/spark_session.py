"""Starts Spark for tests: one session of a small cluster on this machine, with two executors of one core each.

Workers of Spark find the environment that this process had when Spark began.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from exporter.engines.spark.engine import SparkEngine
from exporter.sandbox import Sandbox

#: A JVM that lives for a minute gains nothing from compiling well.
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cluster:
    """Holds the session, and the directories of its event log and of what its executors have written."""

    spark: Any
    events: Path
    logs: Path

    def executors(self) -> dict[int, list[int]]:
        """Returns the processes of each executor, by that of its JVM: Python's workers and their parent."""
        parents = dict(_parents())
        found = {pid: [pid] for pid in parents if _is_executor(pid, parents)}
        for pid in parents:
            above = pid
            while above in parents and above not in found:
                above = parents[above]
            if above in found and pid != above:
                found[above].append(pid)
        return found


class CountingEngine(SparkEngine):
    """Counts the tasks that it was given: a driver reads a list itself that does not seem worth any."""

    tasks = 0

    def call(self, task: bytes) -> bytes:
        self.tasks += 1
        return super().call(task)


class Accidents:
    """Kills an executor once the server was asked `kill_at` times since `begin`, and stops another at `stop_at`, if
    that is given: it goes on when this ends, or after `stopped_seconds`. `happened` says what was done."""

    def __init__(
        self,
        cluster: Cluster,
        server: Sandbox,
        *,
        kill_at: int,
        stop_at: int | None = None,
        stopped_seconds: float | None = None,
    ) -> None:
        self.happened: list[str] = []
        self._cluster = cluster
        self._server = server
        self._plan = [(kill_at, signal.SIGKILL, "killed")]
        if stop_at is not None:
            self._plan.append((stop_at, signal.SIGSTOP, "stopped"))
        self._stopped_seconds = stopped_seconds
        self._stopped: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._before = 0

    def begin(self) -> None:
        """Counts requests from now on."""
        self._before = len(self._server.requests)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._go_on()

    def _run(self) -> None:
        for count, sent, name in self._plan:
            while len(self._server.requests) - self._before < count:
                if self._ended.wait(0.01):
                    return
            executors = self._cluster.executors()
            # One that has begun to work has processes of Python.
            pids = max(executors.values(), key=len)
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, sent)
            self.happened.append(name)
            if sent == signal.SIGSTOP:
                self._stopped = pids
        if self._stopped_seconds is not None and not self._ended.wait(self._stopped_seconds):
            self._go_on()

    def _go_on(self) -> None:
        for pid in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def cluster(directory: Path, environment: Mapping[str, str], **configuration: str) -> Iterator[Cluster]:
    """Yields a cluster that keeps what it writes in a directory."""
    import pyspark
    from pyspark.sql import SparkSession

    events = directory / "events"
    events.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # What this machine is told to do without for tests would hold for each start of a worker.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPATH", str(_ROOT), prepend=os.pathsep)
        for name, value in {
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(directory / "local"),
            **environment,
        }.items():
            patch.setenv(name, value)
        builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("tests")
        for name, value in {
            "spark.driver.extraJavaOptions": _JAVA,
            "spark.executor.extraJavaOptions": _JAVA,
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.session.timeZone": "UTC",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": events.as_uri(),
            "spark.eventLog.compress": "false",
            "spark.executor.memory": "1g",
            # An executor that says nothing for this long is taken for lost.
            "spark.executor.heartbeatInterval": "2s",
            "spark.network.timeoutInterval": "5s",
            "spark.network.timeout": "15s",
            **configuration,
        }.items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        spark.sparkContext.setLogLevel("ERROR")
        # A cluster of this kind keeps them nowhere else.
        logs = Path(pyspark.__file__).parent / "work" / spark.sparkContext.applicationId
        try:
            yield Cluster(spark, events, logs)
        finally:
            spark.stop()
            shutil.rmtree(logs, ignore_errors=True)


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            yield int(entry.name), int(status.rpartition(")")[2].split()[1])


def _is_executor(pid: int, parents: Mapping[int, int]) -> bool:
    above = parents[pid]
    while above in parents and above != os.getpid():
        above = parents[above]
    try:
        return above == os.getpid() and b"CoarseGrainedExecutorBackend" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
