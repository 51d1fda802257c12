"""The journal of runs: a line of JSON for each, whichever way it ended. Nothing rests on it; it is for people to read.

A run that is killed leaves no line, or half a one, which the next line does not touch.
"""

from typing import Final

import msgspec

from exporter.layout import RUNS
from exporter.log.state import StateName
from exporter.store.base import Store

#: Of an error's message: what it quotes may be long.
_MESSAGE_CHARACTERS: Final = 1000


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times are ISO 8601, in UTC, by this machine's clock.

    `state`, `generation`, `rows`, `files` and `bytes` are those of the export when the run ended; None, as
    `generation_before`, where it ended before the log was read. `requests`, `retries` and `throttled` are the run's
    own. `error`: the class of what ended it early; `message`: what the user was told, None for a defect.
    """

    run: str
    command: str
    started_at: str
    ended_at: str
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


async def append_run(store: Store, record: RunRecord) -> None:
    """Adds a line, durably. Raises `StoreError`."""
    # It may quote a path that is no text.
    message = record.message and record.message[:_MESSAGE_CHARACTERS].encode(errors="backslashreplace").decode()
    line = msgspec.json.encode(msgspec.structs.replace(record, message=message))
    await store.append(RUNS, line + b"\n")


async def read_last_run(store: Store) -> RunRecord | None:
    """The last run that has a whole line; None when there is none. Raises `StoreError`."""
    for line in reversed((await store.read(RUNS) or b"").splitlines()):
        try:
            return msgspec.json.decode(line, type=RunRecord)
        except (msgspec.MsgspecError, ValueError):
            continue
    return None
