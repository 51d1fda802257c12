"""Defines what is told of exports that run at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from exporter.fleet.outcome import Outcome


class FleetObserver(Protocol):
    """Receives what happens to the exports of a fleet. No call may block for long, and none may raise."""

    def started(self, name: str) -> None:
        """Takes the name of an export whose process has started."""

    def progress(self, name: str, figures: Mapping[str, Any]) -> None:
        """Takes the figures of an export that is at work, at most one set a second."""

    def told(self, name: str, level: str, event: str, details: Mapping[str, Any]) -> None:
        """Takes a line of an export's log: `level` is info, warning or error."""

    def ended(self, outcome: Outcome, remarks: Sequence[str]) -> None:
        """Takes how an export has ended, and lines that it printed beside its reports."""

    def tick(self, requests: int) -> None:
        """Takes the number of requests that all exports have sent, each second and after each end."""
