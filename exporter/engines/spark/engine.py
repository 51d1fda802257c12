"""Runs tasks on Spark: each is a job of one task, which Spark tries again if its executor is lost."""

import base64
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from exporter.engine import Engine
from exporter.engines.spark.attempt import attempted, reason_of
from exporter.errors import EngineClosedError, EngineError, ExporterError, UsageError
from exporter.words import install_command

_WORK: Final = "exporter.engines.work:work"
_CLOSED: Final = "the engine of Spark was closed while there were tasks to run"
#: A job that has just been started may be cancelled in vain.
_CANCEL_AGAIN_SECONDS: Final = 0.5
_CANCEL_AT_MOST: Final = 60


def engine(spark: Any, slots: int | None = None) -> Engine:
    """Returns an engine that runs tasks in the session `spark`, which stays open when the engine is closed.

    It runs `slots` tasks at once; without that, as many as Spark says that its executors have cores for. Executors need
    this version of exporter, the token in their environment, and the destination at the same place. Raises `UsageError`
    for a session of Spark Connect without `slots`, which does not know, for another number than 1 or more, and for what
    is no session.
    """
    if slots is not None and (isinstance(slots, bool) or not isinstance(slots, int) or slots < 1):
        raise UsageError(f"slots {slots!r}: must be a whole number, at least 1")
    if all(kind.__name__ != "SparkSession" for kind in type(spark).__mro__):
        raise UsageError(f"spark: must be a SparkSession, as SparkSession.builder.getOrCreate() is, not {spark!r:.60}")
    return SparkEngine(spark, slots)


def engine_at(master: str | None) -> Engine:
    """Returns an engine with a session of its own, which ends when the engine is closed: at a master of Spark, or where
    its configuration says. Raises `UsageError` if Spark is not installed or does not start."""
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise UsageError(
            f"an engine on Spark needs pyspark, which is not installed. To install it:\n{install_command('pyspark')}"
        ) from error
    # Its bar would be drawn over the lines of a run.
    builder = SparkSession.builder.appName("exporter").config("spark.ui.showConsoleProgress", "false")
    try:
        spark = (builder if master is None else builder.master(master)).getOrCreate()
    except Exception as error:
        raise UsageError(f"Spark does not start: {reason_of(error)}") from error
    return SparkEngine(spark, None, owns_session=True)


class SparkEngine:
    """Runs up to `slots` tasks at once in a session, if that is given. `work` names the function that answers a task.

    Jobs bear a tag of this engine, by which they are cancelled.
    """

    name: Final = "spark"

    def __init__(self, spark: Any, slots: int | None, *, work: str = _WORK, owns_session: bool = False) -> None:
        self._spark = spark
        self._owns_session = owns_session
        self._tag: Final = f"exporter-{secrets.token_hex(6)}"
        self._is_closed = False
        self._running = 0
        self._changed = threading.Condition()
        context = _context_of(spark)
        if context is None and slots is None:
            raise UsageError("slots: give the number of tasks to run at once; Spark Connect does not tell it")
        self._slots: Callable[[], int] = (lambda: slots) if slots is not None else lambda: context.defaultParallelism
        self._jobs = _SourceJobs(spark, work) if context is None else _RddJobs(context, work)

    @property
    def slots(self) -> int:
        return max(1, self._slots())

    def call(self, task: bytes) -> bytes:
        """Returns the answer to a task, as `Engine.call` does."""
        with self._changed:
            if self._is_closed:
                raise EngineClosedError(_CLOSED)
            self._running += 1
        try:
            is_answer, content = self._jobs.run(task, self._tag)
        except ExporterError:
            raise
        except Exception as error:
            if self._is_closed:
                raise EngineClosedError(_CLOSED) from error
            raise EngineError(f"Spark gave a task up: {reason_of(error)}") from error
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
        if not is_answer:
            raise EngineError(content.decode())
        return content

    def close(self) -> None:
        """Cancels what runs, as `Engine.close` says."""
        with self._changed:
            self._is_closed = True
            for _ in range(_CANCEL_AT_MOST):
                if not self._running:
                    break
                with suppress(Exception):  # a session that has ended runs nothing
                    self._jobs.cancel(self._tag)
                self._changed.wait(_CANCEL_AGAIN_SECONDS)
        if self._owns_session:
            self._owns_session = False
            self._spark.stop()


class _RddJobs:
    """Runs a task as an RDD of one element, which every version of Spark has, except over Connect."""

    def __init__(self, context: Any, work: str) -> None:
        self._context = context
        self._attempt = partial(attempted, work)

    def run(self, task: bytes, tag: str) -> tuple[bool, bytes]:
        self._context.addJobTag(tag)
        try:
            (answer,) = self._context.parallelize([task], 1).map(self._attempt).collect()
        finally:
            self._context.removeJobTag(tag)
        is_answer, content = answer
        return is_answer, content

    def cancel(self, tag: str) -> None:
        self._context.cancelJobsWithTag(tag)


class _SourceJobs:
    """Runs a task as a data source of one row, where there are no RDDs."""

    def __init__(self, spark: Any, work: str) -> None:
        from exporter.engines.spark.task_source import TaskSource

        self._spark = spark
        self._work = work
        self._format = TaskSource.name()
        spark.dataSource.register(TaskSource)

    def run(self, task: bytes, tag: str) -> tuple[bool, bytes]:
        self._spark.addTag(tag)
        try:
            reader = self._spark.read.format(self._format).option("work", self._work)
            (row,) = reader.option("share", base64.b64encode(task).decode()).load().collect()
        finally:
            self._spark.removeTag(tag)
        return bool(row[0]), bytes(row[1])

    def cancel(self, tag: str) -> None:
        self._spark.interruptTag(tag)


def _context_of(spark: Any) -> Any:
    """Returns the context of a session, or None over Connect."""
    return None if type(spark).__module__.startswith("pyspark.sql.connect") else spark.sparkContext
