"""Runs the command line in this process, and counts the CPU of each stage.

    python -m benchmarks.stage_clocks FILE export …

Each thread has a clock that runs only while the thread does. It is read when a stage is entered and left; calls into
another stage count for that stage. The seconds are written to FILE, as a JSON object.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import wraps
from inspect import isfunction
from pathlib import Path
from time import process_time, thread_time
from typing import Any

from exporter.cli import main
from exporter.encode.batch import Encoder
from exporter.encode.decode import Decoder
from exporter.fetch.walk.walk import Walk
from exporter.fetch.wire.client import Client
from exporter.parts.writer import PartWriter
from exporter.schedule.scheduler import Scheduler

_CLASSES = {"steer": (Walk, Scheduler), "decode": (Decoder,), "encode": (Encoder,), "write": (PartWriter,)}


class Counts:
    """Counts seconds of CPU of all threads; `in_main` and `start_of_main` are those of the main thread alone."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.in_main = 0.0
        self.start = 0.0
        self.start_of_main = 0.0
        self._lock = threading.Lock()
        self._thread = threading.local()

    def count(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that does the same, and counts the CPU of its calls for `stage`."""

        @wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            outside = getattr(self._thread, "inside", 0.0)
            self._thread.inside = 0.0
            began = thread_time()
            try:
                return function(*arguments, **named)
            finally:
                took = thread_time() - began
                own = took - self._thread.inside
                self._thread.inside = outside + took
                with self._lock:
                    self.spent[stage] += own
                    if threading.current_thread() is threading.main_thread():
                        self.in_main += own

        return counted

    def note_start(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that does the same; its first call ends the start of the process."""

        @wraps(function)
        def noted(*arguments: Any, **named: Any) -> Any:
            if not self.start:
                self.start, self.start_of_main = process_time(), thread_time()
            return function(*arguments, **named)

        return noted

    def stages(self) -> dict[str, float]:
        """Returns the seconds of each stage up to now.

        `fetch` is what the event loop does besides the counted stages: connections, HTTP, tasks. `rest` is what other
        threads do besides them, such as renaming files, and the threads of Arrow itself.
        """
        fetch = thread_time() - self.start_of_main - self.in_main
        counted = self.start + fetch + self.spent.total()
        return {"start": self.start, "fetch": fetch, **self.spent, "rest": process_time() - counted}


def run(target: Path, arguments: list[str]) -> int:
    """Runs the command line, and returns its exit status."""
    counts = Counts()
    for stage, classes in _CLASSES.items():
        for class_ in classes:
            for name, function in list(vars(class_).items()):
                if isfunction(function) and not name.startswith("_"):
                    setattr(class_, name, counts.count(stage, function))
    Client.get_page = counts.note_start(Client.get_page)  # type: ignore[method-assign]
    status = main(arguments)
    target.write_text(json.dumps(counts.stages()), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
