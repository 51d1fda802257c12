"""How one request has failed so far, and in which words it is given up. Pure."""

from dataclasses import dataclass
from typing import Final

from exporter.contract import SECOND, Instant, format_instant
from exporter.errors import RefusedError, SourceError, ThrottledError, TransientError
from exporter.words import format_seconds

_KINDS: Final = (ThrottledError, RefusedError, TransientError)


@dataclass(slots=True)
class Trouble:
    """How often a request has failed in one way, and since when."""

    since: float
    attempts: int = 0

    def words(self, failure: SourceError, now: float) -> str:
        """What is said of `failure`, which was the last of them."""
        seconds = format_seconds(now - self.since)
        if not isinstance(failure, RefusedError):
            attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
            return f"given up after {attempts} in {seconds}: {failure}"
        return str(failure) if self.attempts == 1 else f"refused {self.attempts} times in {seconds}: {failure}"


class Troubles:
    """Those of one request, which began at `began`, by kind."""

    def __init__(self, began: float) -> None:
        self._began: Final = began
        self._known: dict[type[SourceError], Trouble] = {}

    def add(self, failure: SourceError, now: float) -> Trouble:
        """A refusal is doubted from when it was first met, all else from when the request began."""
        kind = next(kind for kind in _KINDS if isinstance(failure, kind))
        trouble = self._known.setdefault(kind, Trouble(now if kind is RefusedError else self._began))
        trouble.attempts += 1
        return trouble


def until(wait_seconds: float, today: Instant) -> str:
    """How long a server asks to be left alone, and until when, by a clock that says `today`."""
    end = format_instant((today // SECOND + round(wait_seconds)) * SECOND)
    return f"asks to be left alone for {format_seconds(wait_seconds)}, until {end}"
