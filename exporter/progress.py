"""What a run tells its user while it works: a snapshot after every page and every second, and events worth a line.

All of it goes to stderr, and none of it can stop an export: a stream that breaks is written to no more. Rates are
taken from the snapshots' own `seconds`, so that an observer needs no clock. rich and structlog are loaded by the
observer that needs them, for `exporter --help` waits for neither.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a run stands at one moment.

    `share`: of the range, 0 to 1, measured in time and not in rows, that is covered or has been read. All else counts
    this run alone; `seconds` since its start, `bytes` of JSON text.
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


class Observer(Protocol):
    """What a run reports to. No call blocks for longer than a line takes to write, and none raises."""

    def progress(self, snapshot: Snapshot) -> None:
        """Called after every page, and every second; how often it is shown is the observer's business."""

    def note(self, event: str, /, **details: object) -> None:
        """Something to read with `-v`."""

    def warn(self, event: str, /, **details: object) -> None:
        """Something to read in any case."""

    def close(self) -> None:
        """Takes down the display; the observer is told nothing afterwards."""


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
