"""Decides which clock a run goes by, and takes back what an earlier run claimed by a clock that was ahead."""

from typing import Final

import msgspec

from exporter.clock import wall_clock
from exporter.contract import BEGINNING, END_OF_TIME, SECOND, Instant, format_instant
from exporter.coverage import Coverage, Interval
from exporter.errors import UsageError
from exporter.log.commits import CommitLog
from exporter.log.state import State
from exporter.model import Change, DataFile
from exporter.pipeline.probe import Opening
from exporter.pipeline.reader import Reader
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.schedule.clock import (
    ClockSample,
    Now,
    choose_opinion,
    is_doubted,
    is_refused,
    is_to_come,
    settle,
    trusted_since,
)
from exporter.settings import TrustedClock
from exporter.words import format_seconds

_NAMES: Final = {"server": "API's", "local": "machine's"}
_HOW: Final = "Set the one that is wrong, or name the one to believe: --trust-clock server, or local"


def settle_time(reader: Reader, opening: Opening, until: Instant | None, context: RunContext) -> Now:
    """Returns the time to go by, from all that the first answers have told. `until` is the range's end, if it is known.

    Raises `UsageError` if the clocks differ by too much to go by either.
    """
    told, trusted, observer = choose_opinion(reader.told), context.settings.trust_clock, context.observer
    if trusted == "server" and told.server is None:
        raise UsageError(
            "--trust-clock server: the API's answers have no usable Date header. Give local, or leave it out"
        )
    if trusted is None and is_refused(told):
        raise UsageError(f"{_differ(told)}. Nothing was read. {_HOW}")
    newest = opening.newest
    if told.server is not None and until is not None and until < min(told.local, told.server):
        newest = ()  # newer rows than these exist
    now = settle(told, newest, trusted)
    if is_doubted(told):
        observer.warn(_doubt(told, now, trusted))
    elif now.rows is not None:
        # Each night may be this quiet, so there is no reason to warn.
        observer.note("the stream of conversations has ended", at=format_instant(now.rows))
    return now


def _doubt(told: ClockSample, now: Now, trusted: TrustedClock | None) -> str:
    if told.ahead is None:
        text = (
            f"the API's answers have no usable Date header, and this machine's clock ({format_instant(told.local)}) is "
        )
        if now.rows is None:
            return text + "believed alone, as --trust-clock says"
        return (
            text + f"not believed alone: the export counts as up to date until {format_instant(now.rows)}, which the "
            "newest conversations bear out. If this clock is right, give --trust-clock local"
        )
    if trusted is not None:
        return f"{_differ(told)}. The {_NAMES[trusted]} is believed, as --trust-clock says"
    return f"{_differ(told)}. The earlier one is believed. {_HOW}"


def _differ(told: ClockSample) -> str:
    served, ahead = told.served or 0, told.ahead or 0
    return (
        f"the API's clock ({format_instant(served)}, by its Date header) is {format_seconds(abs(ahead) / SECOND)} "
        f"{'ahead of' if ahead > 0 else 'behind'} this machine's ({format_instant(told.local)})"
    )


def is_ahead(state: State, now: Instant | None = None) -> bool:
    """Returns whether the range ends after `now` (this machine's time by default), because the clock that an earlier
    run went by was ahead."""
    return state.range is not None and is_to_come(state.range.end, wall_clock() if now is None else now)


async def take_back(log: CommitLog, now: Now, lag: int, observer: Observer) -> None:
    """Takes out of the coverage the future, which an earlier run took for read. Raises `StoreError`.

    No row of the past is dropped: the range then ends right after the newest of them.
    """
    state, range_ = log.state, log.state.range
    if range_ is None or not is_ahead(state, now.instant):
        return
    end = max(_reliable_end(state, now.instant, lag), range_.start + 1)
    observer.warn(
        f"the range of this export ends at {format_instant(range_.end)}, and it is {format_instant(now.instant)}: the "
        "clock that an earlier run went by was ahead. "
        f"What is created after {format_instant(end)} is read again as it appears"
    )
    if end < range_.end:
        change = _cut(state, end)
        await log.append(committed_at=wall_clock(), kind="repair", range=Interval(range_.start, end), change=change)


def _reliable_end(state: State, now: Instant, lag: int) -> Instant:
    """Returns the time before which everything that is covered had already happened when it was read."""
    read_since = now if state.read_since is None else trusted_since(state.read_since, now)
    held = [file.created_at_max + 1 for file in state.conversations if file.created_at_min <= now]
    return max([BEGINNING if read_since is None else read_since - lag, *held])


def _cut(state: State, end: Instant) -> Change:
    """Returns the change after which nothing is covered from `end` on. Files keep their rows and their names."""
    lost = state.coverage & Coverage([Interval(end, END_OF_TIME)])
    removes, adds = list[str](), list[DataFile]()
    for file in state.conversations:
        if file.window.end <= end:
            continue
        for one in (file, *state.turns_beside(file)):
            removes.append(one.path)
            if file.created_at_max < end:
                adds.append(msgspec.structs.replace(one, window=Interval(one.window.start, end)))
    return Change(uncovers=lost.intervals, removes=tuple(removes), adds=tuple(adds))


def updates_since(state: State, now: Instant, observer: Observer) -> Instant | None:
    """Returns where a sync begins: where the export says, if a believed clock has got there. None means the start."""
    if state.read_since is None:
        return None
    since = trusted_since(state.read_since, now)
    if since != state.read_since:
        observer.warn(
            f"this export counts as up to date until {format_instant(state.read_since)}, and it is "
            f"{format_instant(now)}: the clock that an earlier run went by was ahead. "
            + ("Every row" if since is None else f"What was updated since {format_instant(since)}")
            + " is read again"
        )
    return since
