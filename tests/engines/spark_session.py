"""Starts Spark for tests: one session of a small cluster on this machine, with two executors of one core each.

Workers of Spark find the environment that this process had when Spark began.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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


@contextmanager
def cluster(directory: Path, environment: Mapping[str, str], **configuration: str) -> Iterator[Cluster]:
    """Yields a cluster that keeps what it writes in a directory."""
    from pyspark.sql import SparkSession

    events, logs = directory / "events", directory / "work"
    events.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # What this machine is told to do without for tests would hold for each start of a worker.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPATH", str(_ROOT), prepend=os.pathsep)
        for name, value in {
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_WORKER_DIR": str(logs),
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
        try:
            yield Cluster(spark, events, logs)
        finally:
            spark.stop()


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            yield int(entry.name), int(status.rpartition(")")[2].split()[1])


def _is_executor(pid: int, parents: Mapping[int, int]) -> bool:
    above = parents.get(pid)
    while above in parents and above != os.getpid():
        above = parents[above]
    try:
        return above == os.getpid() and b"CoarseGrainedExecutorBackend" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
