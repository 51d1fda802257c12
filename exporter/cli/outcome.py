"""Decides what others are told of a run, and by which hooks. Pure."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from exporter.cli.public_reason import public_reason
from exporter.contract import format_datetime
from exporter.jobs.standing import Standing
from exporter.jobs.status import Status, UnendedRun
from exporter.log.journal import RunRecord
from exporter.options.hooks import HookCommand, Hooks, HookTarget, HookUrl
from exporter.version import __version__
from exporter.words import count_of

Event: TypeAlias = Literal["start", "success", "doubt", "failure", "held"]

#: What an exit status means in a word.
_WORDS: Final = {0: "success", 2: "refused", 3: "doubt", 4: "denied", 5: "held", 6: "damaged", 130: "interrupted"}
_EVENTS: Final[Mapping[int, Event]] = {0: "success", 3: "doubt", 5: "held"}
#: What a ping adds to its path, as Healthchecks expects it. A run that finds another one at work says nothing of the
#: export, and one that ends in doubt does not count as a success.
_ENDINGS: Final[Mapping[Event, str]] = {
    "start": "/start", "success": "", "doubt": "/fail", "failure": "/fail", "held": "/log",
}  # fmt: skip
_COUNTED: Final = (
    ("new_doubts", "doubt"),
    ("quarantined_rows", "quarantined row"),
    ("unproven", "unproven time"),
)


class Call(NamedTuple):
    """Describes one call: to whom, and with what."""

    target: HookTarget
    content: bytes
    content_type: str = "application/json"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what is told of a run. No value is a row's content, or a secret.

    `export` is the name of the entry in the config file, if there is one. `run` is None if the run ended before it had
    begun to read the log. `state`, `generation`, `rows` and `range_end` are those of the destination, and None if it
    could not be read. `result` is a word for the exit status, or `killed` for a run that left none.
    """

    event: Event
    export: str | None
    destination: str
    command: str | None
    run: str | None
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float | None = None
    exit_status: int | None = None
    result: str | None = None
    reason: str | None = None
    state: str | None = None
    generation: int | None = None
    rows: int | None = None
    new_rows: int | None = None
    range_end: datetime | None = None
    requests: int | None = None
    retries: int | None = None
    throttled: int | None = None
    host: str
    pid: int
    version: str = __version__

    def encoded(self) -> bytes:
        times = {name: getattr(self, name) for name in ("started_at", "ended_at", "range_end")}
        written = {name: None if at is None else format_datetime(at) for name, at in times.items()}
        return msgspec.json.encode({**msgspec.structs.asdict(self), **written})


class Ending(NamedTuple):
    """Says how a run ended: with the figures of its result, or with an error."""

    exit_status: int
    figures: Mapping[str, Any] = {}
    error: BaseException | None = None

    @property
    def event(self) -> Event:
        return _EVENTS.get(self.exit_status, "failure")

    @property
    def word(self) -> str:
        return _WORDS.get(self.exit_status, "failed")

    @property
    def reason(self) -> str | None:
        """Returns in a line why the run did not end well, without what messages may quote."""
        if self.error is not None:
            return public_reason(self.error)
        if not self.exit_status:
            return None
        counts = [count_of(number, noun) for key, noun in _COUNTED if (number := self.figures.get(key))]
        found = f": {', '.join(counts)}" if counts else ""
        if self.exit_status == 3:
            return f"finished, but something is in doubt{found}"
        return f"ended with exit status {self.exit_status}{found}"


def told_of_start(began: Told, standing: Standing | None) -> Told:
    """Returns what is told of a run that begins."""
    return began if standing is None else msgspec.structs.replace(began, **_place(standing.status))


def told_of_end(
    began: Told, ending: Ending, ended_at: datetime, seconds: float, record: RunRecord | None, standing: Standing | None
) -> Told:
    """Returns what is told of a run at its end. `record` is that of the journal, if there is one."""
    figures, status = ending.figures, None if standing is None else standing.status
    return msgspec.structs.replace(
        began,
        event=ending.event,
        run=None if record is None else record.run,
        ended_at=ended_at,
        seconds=round(seconds, 3),
        exit_status=ending.exit_status,
        result=ending.word,
        reason=ending.reason,
        new_rows=figures.get("new_rows"),
        requests=_spent("requests", figures, record),
        retries=_spent("retries", figures, record),
        throttled=_spent("throttled", figures, record),
        **({} if status is None else _place(status)),
    )


def told_of_killed(began: Told, killed: UnendedRun, standing: Standing) -> Told:
    """Returns what is told of a run that was killed before the one that has just begun."""
    return msgspec.structs.replace(
        began,
        event="failure",
        command=None,
        run=killed.run,
        started_at=killed.started_at,
        result="killed",
        reason=f"a run on {killed.host} did not end: it was killed, or works out of sight",
        host=killed.host,
        pid=killed.pid,
        **_place(standing.status),
    )


def calls_of(hooks: Hooks, told: Told) -> list[Call]:
    """Returns whom to call with what."""
    targets: Mapping[Event, tuple[HookTarget, ...]] = {
        "start": hooks.on_start,
        "success": hooks.on_success,
        "doubt": hooks.on_doubt,
        "failure": hooks.on_failure,
        "held": (),
    }
    content = told.encoded()
    calls = [Call(target, content) for target in targets[told.event]]
    if hooks.ping is not None:
        path, mark, query = hooks.ping.url.partition("?")
        target = HookUrl(f"{path.rstrip('/')}{_ENDINGS[told.event]}{mark}{query}")
        reason = (told.reason or "").encode(errors="backslashreplace")
        calls.append(Call(target, reason, "text/plain; charset=utf-8") if told.reason else Call(target, content))
    return calls


def name_of(target: HookTarget) -> str:
    """Returns how a warning names a target: arguments and the path of a URL may be secrets."""
    return Path(target.arguments[0]).name if isinstance(target, HookCommand) else target.origin


def _spent(name: str, figures: Mapping[str, Any], record: RunRecord | None) -> int:
    known = figures.get(name)
    return known if isinstance(known, int) else getattr(record, name, 0)


def _place(status: Status) -> dict[str, Any]:
    return {name: getattr(status, name) for name in ("state", "generation", "rows", "range_end")}
