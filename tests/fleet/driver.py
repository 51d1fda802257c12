"""Runs a fleet as a process of its own: its arguments are JSON lists of a name and the arguments of a command.

It prints the number of the process of each export once that is at work, and in the end how each has ended.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from os import environ
from typing import Any

import anyio

from exporter.fleet.child import Job
from exporter.fleet.fleet import Fleet
from exporter.fleet.outcome import Outcome


class Printer:
    """Prints what a test waits for."""

    def started(self, name: str) -> None:
        pass

    def progress(self, name: str, figures: Mapping[str, Any]) -> None:
        pass

    def told(self, name: str, level: str, event: str, details: Mapping[str, Any]) -> None:
        if event == "started":
            print(json.dumps([name, details["process"]]), flush=True)

    def ended(self, outcome: Outcome, remarks: Sequence[str]) -> None:
        print(json.dumps([outcome.name, outcome.ending, outcome.exit_status]), flush=True)

    def tick(self, requests: int) -> None:
        pass


if __name__ == "__main__":
    jobs = [Job(name, tuple(arguments)) for name, arguments in map(json.loads, sys.argv[1:])]
    anyio.run(Fleet(jobs, 2, Printer(), environ).run)
