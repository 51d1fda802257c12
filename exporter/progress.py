"""Defines what a run reports while it works: a snapshot after every page and every second, and events worth a line.

All of it goes to stderr, and none of it can stop an export: a stream that breaks is no longer written to. Rates come
from the snapshots' own `seconds`, so an observer needs no clock.
"""

from datetime import datetime
from typing import Protocol

import msgspec


class Trouble(msgspec.Struct, frozen=True):
    """Tells what the API, or the connection to it, said last, while no answer helps the run any further.

    `since_seconds` is when that began, and `until_seconds` when the run gives up, by the clock of `Snapshot.seconds`;
    None means that it does not give up. `throttled` means that the API asks to be asked less often.
    """

    reason: str
    since_seconds: float
    until_seconds: float | None
    throttled: bool = False


class Snapshot(msgspec.Struct, frozen=True):
    """Describes a run at one moment.

    `share` is the part of the whole range that is covered or has been read: 0 to 1, measured in time and not in rows;
    while the run is about recordings, it is the part of `recordings_in_all` that is done.
    `stored_rows` is the number of conversations that the export held when the run began. All other values count this
    run alone; `seconds` counts from its start, and `bytes` counts JSON text. `trouble` is None while answers come.
    `reading` spans what is being read, in UTC; None if that is nothing. `recordings` counts those that were fetched or
    found to be beyond reach, of `recordings_in_all`, which is None while the run is about conversations: then they are
    fetched beside these, and nobody knows how many there are.
    """

    share: float
    rows: int
    bytes: int
    files: int
    requests: int
    retries: int
    throttled: int
    in_flight: int
    windows: int
    seconds: float
    stored_rows: int = 0
    trouble: Trouble | None = None
    reading: tuple[datetime, datetime] | None = None
    recordings: int = 0
    recording_bytes: int = 0
    recordings_in_all: int | None = None


class Observer(Protocol):
    """Receives the reports of a run. No call may block for longer than a line takes to write, and none may raise."""

    def progress(self, snapshot: Snapshot) -> None:
        """Takes a snapshot, after every page and every second; the observer decides how often to show one."""

    def note(self, event: str, /, **details: object) -> None:
        """Reports an event that is shown with `-v`."""

    def warn(self, event: str, /, **details: object) -> None:
        """Reports an event that is always shown."""

    def close(self) -> None:
        """Takes down the display; the observer receives nothing afterwards."""


class Quiet:
    """Shows nothing."""

    def progress(self, snapshot: Snapshot) -> None:
        pass

    def note(self, event: str, /, **details: object) -> None:
        pass

    def warn(self, event: str, /, **details: object) -> None:
        pass

    def close(self) -> None:
        pass
