"""Answers tasks of the engines' tests in place of an export's work, wherever an engine runs it.

A task is a JSON object that says what to do. What tasks of one test tell each other lies in a directory that all see.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from exporter.errors import EngineError

#: A worker that is started on a busy machine takes its time.
PATIENCE_SECONDS = 120.0


def task(do: str, **given: Any) -> bytes:
    """Returns a task for `work`."""
    return json.dumps({"do": do, **given}).encode()


def work(sent: bytes) -> bytes:
    """Does what a task says."""
    given = json.loads(sent)
    match given.pop("do"):
        case "reverse":
            return bytes(given["content"], "latin-1")[::-1]
        case "large":
            return bytes(range(256)) * (int(given["size"]) // 256)
        case "meet":
            return _meet(Path(given["place"]), given["name"], given["others"])
        case "refuse":
            raise EngineError(given["reason"])
        case "fail":
            raise RuntimeError(given["secret"])
        case "die":
            return _die_once(Path(given["mark"]))
        case "wait":
            Path(given["mark"]).write_text(str(os.getpid()))
            time.sleep(PATIENCE_SECONDS)
    raise AssertionError("a test's task that nobody knows")


def _meet(place: Path, name: str, others: int) -> bytes:
    """Waits until as many others are there, which only happens if they run at the same time."""
    (place / name).touch()
    until = time.monotonic() + PATIENCE_SECONDS
    while len(list(place.iterdir())) <= others:
        if time.monotonic() > until:
            return b"alone"
        time.sleep(0.01)
    return b"met"


def _die_once(mark: Path) -> bytes:
    """Kills the process at the first call, and answers from the second on."""
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return b"again"
