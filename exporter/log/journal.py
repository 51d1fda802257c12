"""Keeps a journal of runs: one line of JSON for each, however it ended. People read it; what else rests on it is only
whether a run was killed, and may have left something to sweep.

A run that is killed leaves no line, or half a line, which does not spoil the next one. Who has told somebody of it adds
a line that says so, which names the run and is no record of it. Neither is the line that a check adds.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from exporter.contract import format_datetime
from exporter.errors import DestinationLockedError, StoreError
from exporter.layout import RUNS
from exporter.log.state import StateName
from exporter.store.base import Store

#: An error's message is cut here, because what it quotes may be long.
_MESSAGE_CHARACTERS: Final = 1000
CheckCommand: TypeAlias = Literal["verify", "audit", "reconcile"]
CHECKS: Final[tuple[CheckCommand, ...]] = get_args(CheckCommand)
_Time: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Describes one run. Times are in UTC, by this machine's clock.

    `state`, `generation`, `rows`, `files` and `bytes` are those of the export when the run ended; they and
    `generation_before` are None if it ended before the log was read. `requests`, `retries` and `throttled` are those
    of the run. `error` is the class of the error that ended it early, and `message` is what the user was told; None for
    a defect.
    """

    run: str
    command: str
    started_at: _Time
    ended_at: _Time
    exit_status: int
    error: str | None
    message: str | None
    state: StateName | None
    generation_before: int | None
    generation: int | None
    rows: int | None
    files: int | None
    bytes: int | None
    requests: int
    retries: int
    throttled: int
    host: str
    pid: int
    exporter: str


class CheckRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Says when a command ended that has `checked` an export at a `generation`, None if its log is damaged, and with
    which exit status. It `is_whole` if it was to look at all of the export."""

    checked: CheckCommand
    ended_at: _Time
    exit_status: int
    generation: int | None
    is_whole: bool


class _Told(msgspec.Struct, frozen=True):
    """Names a run that was killed, of which somebody has been told."""

    told_of: str


async def append_run(store: Store, record: RunRecord) -> None:
    """Adds a line, durably. Raises `StoreError`."""
    # The message may quote a path that is not valid text.
    message = record.message and record.message[:_MESSAGE_CHARACTERS].encode(errors="backslashreplace").decode()
    times = {name: format_datetime(getattr(record, name)) for name in ("started_at", "ended_at")}
    line = msgspec.json.encode({**msgspec.structs.asdict(record), **times, "message": message})
    await store.append(RUNS, line + b"\n")


class JournalEnd(NamedTuple):
    """Holds the last run that has a whole line and was not refused, None if there is none, and what `has_ended` says of
    another run."""

    last_run: RunRecord | None
    has_ended: bool


async def read_end(store: Store, run: str) -> JournalEnd:
    """Returns how the journal ends, and whether `run` has ended. Raises `StoreError`."""
    lines = await store.read(RUNS) or b""
    last_run = next((record for record in _read_backwards(lines) if not _was_refused(record)), None)
    return JournalEnd(last_run, _has_ended(lines, run))


async def read_last_success(store: Store, commands: Collection[str]) -> RunRecord | None:
    """Returns the last run of one of these commands that ended with exit status 0. Raises `StoreError`."""
    runs = _read_backwards(await store.read(RUNS) or b"")
    return next((run for run in runs if run.exit_status == 0 and run.command in commands), None)


async def note_told(store: Store, run: str) -> None:
    """Notes, durably, that somebody has been told that `run` was killed. Raises `StoreError`."""
    await store.append(RUNS, msgspec.json.encode(_Told(run)) + b"\n")


async def note_check(store: Store, record: CheckRecord) -> None:
    """Adds a line that says how a check has ended, if there is a journal and it can be written: a check also serves
    people who may only read."""
    line = msgspec.json.encode({**msgspec.structs.asdict(record), "ended_at": format_datetime(record.ended_at)})
    with suppress(StoreError):
        if await store.read(RUNS) is not None:
            await store.append(RUNS, line + b"\n")


async def read_checks(store: Store) -> dict[CheckCommand, CheckRecord]:
    """Returns the last record of each command that checks, if there is one. Raises `StoreError`."""
    found: dict[CheckCommand, CheckRecord] = {}
    for line in (await store.read(RUNS) or b"").splitlines():
        with suppress(msgspec.MsgspecError, ValueError):
            record = msgspec.json.decode(line, type=CheckRecord)
            found[record.checked] = record
    return found


async def is_told(store: Store, run: str) -> bool:
    """Returns whether `note_told` has noted `run`. Raises `StoreError`."""
    for line in (await store.read(RUNS) or b"").splitlines():
        with suppress(msgspec.MsgspecError, ValueError):
            if msgspec.json.decode(line, type=_Told).told_of == run:
                return True
    return False


async def read_runs(store: Store) -> list[RunRecord]:
    """Returns the runs that have a whole line, in the order of their lines; none without a journal. Raises
    `StoreError`."""
    return list(_read_backwards(await store.read(RUNS) or b""))[::-1]


async def has_ended(store: Store, run: str) -> bool:
    """Returns whether a line is that of `run`, or nobody can tell because no line can be read."""
    try:
        lines = await store.read(RUNS) or b""
    except StoreError:
        return True
    return _has_ended(lines, run)


def _has_ended(lines: bytes, run: str) -> bool:
    others = False
    for record in _read_backwards(lines):
        if record.run == run:
            return True
        others = True
    return not others


async def has_ended_well(store: Store, run: str) -> bool:
    """Returns whether a line says that `run` ended, and that no error ended it early."""
    try:
        lines = await store.read(RUNS) or b""
    except StoreError:
        return False
    return any(record.run == run and record.error is None for record in _read_backwards(lines))


def _was_refused(run: RunRecord) -> bool:
    """Returns whether a run found another at work, whose line comes later. Exporters used to add a line for it."""
    return run.exit_status == DestinationLockedError.exit_status and run.generation == run.generation_before


def _read_backwards(lines: bytes) -> Iterator[RunRecord]:
    for line in reversed(lines.splitlines()):
        try:
            yield msgspec.json.decode(line, type=RunRecord)
        except (msgspec.MsgspecError, ValueError):
            continue
