"""Runs many exports, some at once, each as a process of its own, whose end is its own as well."""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import anyio

from exporter.engine import Engine
from exporter.errors import ExporterError, InterruptedExportError
from exporter.fleet.child import Child, Job
from exporter.fleet.child_output import is_summary
from exporter.fleet.engine_server import EngineServer
from exporter.fleet.observer import FleetObserver
from exporter.fleet.outcome import Outcome
from exporter.fleet.turn_server import TurnServer
from exporter.signals import listening_in_loop

_TICK_SECONDS: Final = 1.0


class Fleet:
    """Runs jobs, at most `at_once` at a time, and tells an observer. All have the descriptors that are `inherited`, and
    share an `engine`, if there is one, which the caller closes.

    The first signal asks all processes to end in good order, and the second one ends them at once. Whatever happens to
    this process, no child outlives it for longer than it takes to end in good order.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        at_once: int,
        observer: FleetObserver,
        environment: Mapping[str, str],
        inherited: Mapping[str, int] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._jobs: Final = list(jobs)
        self._waiting: Final = iter(self._jobs)
        self._at_once: Final = at_once
        self._observer: Final = observer
        self._environment: Final = environment
        self._inherited: Final = inherited
        self._turns: Final = TurnServer()
        self._engine: Final = None if engine is None else EngineServer(engine, self._turns)
        self._children: dict[str, Child] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._ended = anyio.Event()
        #: How many of the children wait for room to start.
        self._held_up = 0
        self._signals = 0

    async def run(self) -> list[Outcome]:
        """Runs all jobs, and returns how each has ended, in their order."""
        with listening_in_loop(self._signalled, heeds=True):
            async with anyio.create_task_group() as group:
                group.start_soon(self._tick)
                if self._engine is not None:
                    group.start_soon(self._engine.run)
                async with anyio.create_task_group() as workers:
                    for _ in range(min(self._at_once, len(self._jobs))):
                        workers.start_soon(self._work)
                group.cancel_scope.cancel()
        return [self._outcomes[job.name] for job in self._jobs]

    @property
    def requests(self) -> int:
        """Returns how many requests all exports have sent, those of tasks once these have ended."""
        return self._turns.given + (0 if self._engine is None else self._engine.requests)

    def _signalled(self) -> None:
        self._signals += 1
        for child in self._children.values():
            child.stop() if self._signals == 1 else child.kill()

    async def _tick(self) -> None:
        while True:
            self._observer.tick(self.requests)
            await anyio.sleep(_TICK_SECONDS)

    async def _work(self) -> None:
        for job in self._waiting:
            if self._signals:
                interrupted = InterruptedExportError.exit_status
                outcome = Outcome.not_started(job.name, "stopped before it began", interrupted)
                remarks: list[str] = []
            else:
                outcome, remarks = await self._run(job)
            self._outcomes[job.name] = outcome
            self._observer.ended(outcome, remarks)
            self._observer.tick(self.requests)

    async def _run(self, job: Job) -> tuple[Outcome, list[str]]:
        result: dict[str, Any] = {}
        began = time.monotonic()
        child = self._children[job.name] = Child(job, partial(self._take, job.name, result))
        self._observer.started(job.name)
        try:
            code = await self._run_child(child)
        except OSError as error:
            what = (error.strerror or type(error).__name__).lower()
            reason = f"no process could be started: {what}. Lower --jobs, or raise the limit of the machine (ulimit)"
            return Outcome.not_started(job.name, reason, ExporterError.exit_status), []
        finally:
            del self._children[job.name]
            self._ended.set()
            self._ended = anyio.Event()
        seconds = round(time.monotonic() - began, 3)
        said = result.get("reason")
        outcome = Outcome.of(job.name, code, seconds, result.get("summary"), said, stops=self._signals > 0)
        return outcome, child.remarks.beside(said, outcome.ending)

    async def _run_child(self, child: Child) -> int:
        while True:
            try:
                return await child.run(self._turns, self._environment, self._inherited, self._engine)
            except OSError:
                # What the machine lacks now, the end of another process may give back.
                if self._signals or self._held_up + 1 == len(self._children):
                    raise
                self._held_up += 1
                await self._ended.wait()
                self._held_up -= 1

    def _take(self, name: str, result: dict[str, Any], found: dict[str, Any]) -> None:
        """Takes an object that an export has printed: on stdout its progress and its result, on stderr its log."""
        match found:
            case {"level": str(level), "event": str(event)}:
                details = {each: found[each] for each in found if each not in ("level", "event", "timestamp")}
                self._observer.told(name, level, event, details)
            case {"event": "progress"}:
                self._observer.progress(name, found)
            case {"event": "summary"} if is_summary(found):
                result["summary"] = {each: found[each] for each in found if each != "event"}
            case {"event": "failed", "reason": str(reason)}:
                result["reason"] = reason
