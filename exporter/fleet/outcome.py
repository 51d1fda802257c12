"""Says how exports that ran at once have ended. Pure."""

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from exporter.errors import (
    AccessError,
    DamagedLogError,
    DestinationLockedError,
    ExporterError,
    InterruptedExportError,
    UsageError,
)

Ending: TypeAlias = Literal[
    "complete", "in doubt", "locked", "failed", "killed", "misconfigured", "refused", "damaged", "interrupted",
    "not started",
]  # fmt: skip

#: Exit statuses. A doubt weighs less than a run that another one keeps out, because that one may do the work; this less
#: than an error that running again may mend, and this less than what somebody has to mend.
FROM_GOOD_TO_BAD: Final = (0, 3, 5, 1, 2, 4, 6)
_ENDINGS: Final[dict[int, Ending]] = {
    0: "complete",
    3: "in doubt",
    DestinationLockedError.exit_status: "locked",
    UsageError.exit_status: "misconfigured",
    AccessError.exit_status: "refused",
    DamagedLogError.exit_status: "damaged",
    InterruptedExportError.exit_status: "interrupted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Says how one export has ended.

    `summary` is what the run itself says in JSON, if it came to its end; `reason` why it did not, in words. `signal` is
    the number of the signal that has killed it. `exit_status` is that of the run, and 1 if it was killed.
    """

    name: str
    ending: Ending
    exit_status: int
    seconds: float = 0.0
    summary: Mapping[str, Any] | None = None
    reason: str | None = None
    signal: int | None = None

    @classmethod
    def of(
        cls, name: str, code: int, seconds: float, summary: Mapping[str, Any] | None, reason: str | None, *, stops: bool
    ) -> "Outcome":
        """Returns the outcome of a process that has ended with `code`, which is below 0 for one that was killed.

        `stops` says that this program was told to stop meanwhile.
        """
        interrupted = InterruptedExportError.exit_status
        if code < 0 and stops:
            code = interrupted
        if code == interrupted and not stops:
            why = "stopped, though not by this run; run again to resume"
            return cls(name=name, ending="killed", exit_status=1, seconds=seconds, reason=why)
        if code < 0:
            why = f"killed by {signal_name(-code)}; run again to resume"
            return cls(name=name, ending="killed", exit_status=1, seconds=seconds, reason=why, signal=-code)
        if summary is None and code in (0, 3):
            code, reason = ExporterError.exit_status, f"ended with status {code}, and without its result"
        if summary is None and reason is None:
            reason = (
                "stopped; run again to resume" if code == interrupted else f"ended with status {code}, and said no more"
            )
        ending = _ENDINGS.get(code, "failed")
        return cls(name=name, ending=ending, exit_status=code, seconds=seconds, summary=summary, reason=reason)

    @classmethod
    def not_started(cls, name: str, reason: str, exit_status: int) -> "Outcome":
        """Returns the outcome of an export for which no process was started."""
        return cls(name=name, ending="not started", exit_status=exit_status, reason=reason)


def signal_name(number: int) -> str:
    """Returns the name of a signal, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def worst_status(statuses: Iterable[int]) -> int:
    """Returns the exit status of a whole by those of its parts: 130 if one was interrupted, otherwise the worst."""
    worst = 0
    for status in statuses:
        if status == InterruptedExportError.exit_status:
            return status
        known = status if status in FROM_GOOD_TO_BAD else ExporterError.exit_status
        worst = max(worst, known, key=FROM_GOOD_TO_BAD.index)
    return worst
