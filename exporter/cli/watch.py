"""Tells others of a run: hooks, and a file of figures. Nothing here changes how the run ends."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from exporter.cli.entries import current_entry
from exporter.errors import ExporterError, UsageError
from exporter.options.hooks import HookCommand, Hooks
from exporter.progress import Quiet, Snapshot
from exporter.store.location import Location, known_in_full

if TYPE_CHECKING:
    from exporter.cli.outcome import Call, Ending, Told
    from exporter.jobs.metrics import RunFigures, RunState
    from exporter.jobs.standing import Standing
    from exporter.log.journal import RunRecord

Warn: TypeAlias = Callable[[str], object]

_STATES: Final[dict[str, "RunState"]] = {"success": "success", "doubt": "doubt"}

_told: Final[ContextVar[list[bool] | None]] = ContextVar("told", default=None)


def untold(error: Exception) -> str:
    """Returns a warning that nobody else could be told of a run."""
    reason = error if isinstance(error, ExporterError) else type(error).__name__
    return f"nobody else could be told of the run: {reason}"


def _is_held(standing: "Standing | None") -> bool:
    return standing is not None and standing.status.holder is not None


@contextmanager
def noting_whether_told() -> Iterator[list[bool]]:
    """Yields a list that is empty until somebody sees to it that others are told of the run in the block."""
    told: list[bool] = []
    token = _told.set(told)
    try:
        yield told
    finally:
        _told.reset(token)


def note_told() -> None:
    """Notes that others are told of the run that goes on, if there is anybody."""
    if (told := _told.get()) is not None:
        told.append(True)


class ThrottleMeter(Quiet):
    """Adds up the seconds in which nothing came because the API asked to be asked less often."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: Snapshot | None = None

    def progress(self, snapshot: Snapshot) -> None:
        last, self._last = self._last, snapshot
        if last is not None and last.trouble is not None and last.trouble.throttled:
            self.seconds += max(0.0, snapshot.seconds - last.seconds)


class Watch(msgspec.Struct):
    """Tells others of a run of `command`. `where` names the destination in full; it is None if nobody knows it yet."""

    command: str
    destination: Location | None
    where: str
    export: str | None = None
    hooks: Hooks = msgspec.field(default_factory=Hooks)
    metrics_file: Path | None = None
    ca_file: str | None = None
    meter: ThrottleMeter = msgspec.field(default_factory=ThrottleMeter)
    _record: "RunRecord | None" = None
    _before: "Standing | None" = None
    _has_begun: bool = False
    _started_at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    _began: float = msgspec.field(default_factory=time.monotonic)

    @classmethod
    def of(cls, command: str, destination: Location, metrics_file: str | None) -> "Watch":
        """Returns the watch of a run, whose `metrics_file` comes before that of the config file. Raises `UsageError`
        for a file that cannot be one."""
        where = known_in_full(destination)
        entry = current_entry()
        given = None if entry is None else entry.metrics_file
        if metrics_file == "":
            raise UsageError("--metrics-file: must name a file; is the variable that it was taken from empty?")
        if metrics_file is not None:
            given = Path(metrics_file)
        if given is not None:
            from exporter.run.metrics_file import check_metrics_file

            given = check_metrics_file(given, where)
        if entry is None:
            return cls(command, destination, where, metrics_file=given)
        return cls(command, destination, where, entry.name, entry.hooks, given, entry.options.get("ca_file"))

    @property
    def is_told(self) -> bool:
        """Returns whether there is anybody to tell."""
        return bool(self.hooks) or self.metrics_file is not None

    @property
    def name(self) -> str:
        """Returns what the run is known by: the name in the config file, or the destination."""
        return self.export or self.where

    @contextmanager
    def following(self, warn: Warn) -> Iterator[None]:
        """Follows the run in the block: tells that it begins once it holds the destination, and notes what the journal
        says of it."""
        from exporter.run.claim import claimed
        from exporter.run.record import ended

        async def begin() -> None:
            try:
                await self._begin(warn)
            except Exception as error:  # noqa: BLE001 - whoever is told of a run must not be able to fail it
                warn(untold(error))

        def note(record: "RunRecord") -> None:
            self._record = record

        tokens = claimed.set(begin), ended.set(note)
        try:
            yield
        finally:
            claimed.reset(tokens[0])
            ended.reset(tokens[1])

    async def look(self) -> None:
        """Looks how the destination stands before the run. Once the run holds it, nobody sees that another was
        killed."""
        self._before = await self._standing()

    async def end(self, ending: "Ending", warn: Warn) -> None:
        """Tells how the run ended. The file of figures is left to another run that is at work."""
        from exporter.cli.outcome import told_of_end

        seconds, ended_at = time.monotonic() - self._began, datetime.now(UTC)
        standing = await self._standing()
        if not self._has_begun and ending.event in ("success", "doubt"):
            # There was nothing to do for which it had to hold the destination.
            await self._tell_start(warn)
        told = told_of_end(self._told(), ending, ended_at, seconds, self._record, standing)
        if self._has_begun or not (ending.event == "held" or _is_held(standing)):
            # Whoever is called may read the file.
            self._write(self._figures_after(told), standing, warn)
        await self._call(told, warn)

    async def _begin(self, warn: Warn) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        await self._tell_start(warn)
        # If it cannot be written, the end says so, once.
        self._write(self._figures_before(self._before), self._before, lambda _reason: None)

    async def _tell_start(self, warn: Warn) -> None:
        """Tells of a run that was killed before, once, and that this one begins."""
        from exporter.cli.outcome import told_of_killed, told_of_start
        from exporter.jobs.standing import note_killed_told

        standing, began = self._before, self._told()
        killed = None if standing is None else standing.killed
        if self.hooks and standing is not None and killed is not None:
            await self._call(told_of_killed(began, killed, standing), warn)
            if self.destination is not None:
                with suppress(ExporterError):
                    await note_killed_told(self.destination, killed)
        await self._call(told_of_start(began, standing), warn)

    def _told(self) -> "Told":
        from exporter.cli.outcome import Told
        from exporter.store.local.lock import host_name

        return Told(
            event="start",
            export=self.export,
            destination=self.where,
            command=self.command,
            run=None,
            started_at=self._started_at,
            host=host_name(),
            pid=os.getpid(),
        )

    async def _standing(self) -> "Standing | None":
        from exporter.jobs.standing import find_standing

        if self.destination is None:
            return None
        # There may be no export yet, or the run has failed for the same reason.
        with suppress(ExporterError):
            return await find_standing(self.destination)
        return None

    async def _call(self, told: "Told", warn: Warn) -> None:
        from anyio import create_task_group

        from exporter.cli.outcome import calls_of, name_of

        async def call(one: "Call") -> None:
            if reason := await self._reach(one):
                warn(f"hook of {told.event}, {name_of(one.target)}: {reason}")

        async with create_task_group() as group:
            for one in calls_of(self.hooks, told):
                group.start_soon(call, one)

    async def _reach(self, call: "Call") -> str:
        from exporter.run.hooks import call_url, run_command

        if isinstance(call.target, HookCommand):
            secrets = () if (entry := current_entry()) is None else entry.token_variables
            return await run_command(call.target.arguments, call.content, os.environ, secrets=secrets)
        return await call_url(
            call.target.url,
            call.target.method,
            call.content,
            os.environ,
            content_type=call.content_type,
            ca_file=None if self.ca_file is None else Path(self.ca_file),
        )

    def _figures_before(self, standing: "Standing | None") -> "RunFigures":
        from exporter.jobs.metrics import RunFigures

        last = None if standing is None else standing.status.last_run
        if last is None:
            return RunFigures(state="running", started_at=self._started_at)
        return RunFigures(
            state="running",
            started_at=self._started_at,
            ended_at=last.ended_at,
            exit_status=last.exit_status,
            seconds=(last.ended_at - last.started_at).total_seconds(),
            requests=last.requests,
            retries=last.retries,
            throttled=last.throttled,
        )

    def _figures_after(self, told: "Told") -> "RunFigures":
        from exporter.jobs.metrics import RunFigures

        state = "interrupted" if told.result == "interrupted" else _STATES.get(told.event, "failure")
        return RunFigures(
            state=state,
            started_at=told.started_at,
            ended_at=told.ended_at,
            exit_status=told.exit_status,
            seconds=told.seconds,
            requests=told.requests,
            retries=told.retries,
            throttled=told.throttled,
            throttled_seconds=self.meter.seconds,
        )

    def _write(self, run: "RunFigures", standing: "Standing | None", warn: Warn) -> None:
        if (file := self.metrics_file) is None:
            return

        from exporter.jobs.metrics import metrics_text
        from exporter.run.metrics_file import write_metrics

        text = metrics_text(self.name, run, standing, datetime.now(UTC))
        try:
            write_metrics(file, text)
        except OSError as error:
            warn(f"--metrics-file {file}: {error.strerror}")
