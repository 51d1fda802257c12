"""Records each run in the journal, however it ends: frames every command that changes an export."""

import os
import platform
import secrets
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from importlib.metadata import version
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec
from anyio import CancelScope

from exporter.clock import wall_clock
from exporter.contract import Instant, to_datetime
from exporter.errors import DestinationLockedError, ExporterError, InterruptedExportError, StoreError, UsageError
from exporter.log.journal import CheckCommand, CheckRecord, RunRecord, append_run, note_check
from exporter.log.recordings import count_recordings
from exporter.log.state import Author, State, state_name
from exporter.model import Counters
from exporter.store.base import Store
from exporter.store.local.lock import host_name
from exporter.trace import span
from exporter.version import __version__

Command: TypeAlias = Literal[
    "export",
    "sync",
    "compact",
    "verify",
    "audit",
    "vacuum",
    "reread",
    "accept",
    "recordings",
    "protect",
    "rekey",
    "erase",
    "expire",
]

#: A run that ends with one of these, and has committed nothing, was refused: the destination holds another export, or
#: another run is at work there.
_REFUSED: Final = (UsageError.exit_status, DestinationLockedError.exit_status)


#: Is told of each run that has ended, also of one that gets no line in the journal.
ended: Final[ContextVar[Callable[[RunRecord], object]]] = ContextVar("ended", default=lambda _record: None)


def new_run() -> str:
    """Returns a name that no other run has."""
    return secrets.token_hex(6)


class CommandResult(Protocol):
    """Describes what a command returns; it decides the exit status of the process."""

    @property
    def exit_status(self) -> int: ...


OutcomeT = TypeVar("OutcomeT", bound=CommandResult)


class Run(msgspec.Struct):
    """Represents a run under way; no other run has its name. `spent` returns its requests to the API up to now."""

    command: Command
    name: str = msgspec.field(default_factory=new_run)
    spent: Callable[[], Counters] = Counters
    before: State | None = None
    after: State | None = None

    def saw(self, state: State) -> None:
        """Notes the state of the log; the first one noted is the state that the run began with."""
        self.before = self.before or state
        self.after = state

    @property
    def has_committed(self) -> bool:
        """Returns whether a commit of this run is in the log."""
        return self.after is not None and self.name in self.after.runs


async def recorded(store: Store, command: Command, work: Callable[[Run], Awaitable[OutcomeT]]) -> OutcomeT:
    """Does `work`, and adds a line to the journal of the export at `store`, if there is one, unless it is refused.

    Raises what `work` raises, and nothing of its own: a run keeps its status if the line cannot be written.
    """
    run, started_at = Run(command), wall_clock()
    with span("run", command=command, run=run.name) as describe:
        try:
            outcome = await work(run)
        except BaseException as error:
            if isinstance(error, InterruptedExportError) and run.after is not None:
                _say_what_is_kept(error, run.after)
            await _append(store, run, started_at, *_describe(error))
            raise
        describe(exit_status=outcome.exit_status)
    await _append(store, run, started_at, outcome.exit_status)
    return outcome


async def note_checked(
    store: Store, command: CheckCommand, outcome: CommandResult, generation: int | None, *, is_whole: bool
) -> None:
    """Notes in the journal, if there is one, how a check of the export at `store` has ended."""
    record = CheckRecord(
        checked=command,
        ended_at=to_datetime(wall_clock()),
        exit_status=outcome.exit_status,
        generation=generation,
        is_whole=is_whole,
    )
    await note_check(store, record)


def _say_what_is_kept(error: InterruptedExportError, state: State) -> None:
    error.kept_rows, error.kept_share = state.totals.rows, state.covered_share
    if state.has_recordings:
        counts = count_recordings(state)
        error.kept_recordings, error.known_recordings = counts.stored, counts.recorded


def _describe(error: BaseException) -> tuple[int, str, str | None]:
    match error:
        case ExporterError():
            return error.exit_status, type(error).__name__, str(error)
        case KeyboardInterrupt() | CancelledError():
            return InterruptedExportError.exit_status, InterruptedExportError.__name__, "interrupted"
    # The message of a defect may quote a conversation.
    return ExporterError.exit_status, type(error).__name__, None


async def _append(
    store: Store,
    run: Run,
    started_at: Instant,
    exit_status: int,
    error: str | None = None,
    message: str | None = None,
) -> None:
    before, after, spent = run.before, run.after, run.spent()
    record = RunRecord(
        run=run.name,
        command=run.command,
        started_at=to_datetime(started_at),
        ended_at=to_datetime(wall_clock()),
        exit_status=exit_status,
        error=error,
        message=message,
        state=None if after is None else state_name(after),
        generation_before=None if before is None else before.number,
        generation=None if after is None else after.number,
        rows=None if after is None else after.totals.rows,
        files=None if after is None else after.totals.files,
        bytes=None if after is None else after.totals.bytes,
        requests=spent.requests,
        retries=spent.retries,
        throttled=spent.throttled,
        host=host_name(),
        pid=os.getpid(),
        exporter=__version__,
    )
    ended.get()(record)
    if exit_status in _REFUSED and not run.has_committed:
        return
    # The disk may be full: a run that was stopped by this has said so.
    with CancelScope(shield=True), suppress(StoreError):
        await append_run(store, record)


def author_of(run: str) -> Author:
    """Returns this process and its software as the author of commits."""
    software = {"exporter": __version__, "python": platform.python_version(), "pyarrow": version("pyarrow")}
    return Author(run=run, host=host_name(), pid=os.getpid(), software=software)
