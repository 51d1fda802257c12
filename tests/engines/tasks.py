"""Answers tasks of the engines' tests in place of an export's work, wherever an engine runs it.

A task is a JSON object that says what to do. What tasks of one test tell each other lies in a directory that all see.
"""

import json
import os
import resource
import signal
import sys
import time
from importlib import import_module
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
        case "exit":
            os._exit(int(given["status"]))
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "show":
            return json.dumps(_set_up()).encode()
        case "print":
            print(given["text"], flush=True)
            print(given["text"], file=sys.stderr, flush=True)
            os.write(1, given["text"].encode())
            return b"printed"
        case "read":
            return os.environ[given["variable"]].encode()
        case "import":
            return str(import_module(given["module"]).SAID).encode()
        case "wait":
            Path(given["mark"]).write_text(str(os.getpid()))
            return _wait_for(Path(given.get("end", "/nowhere")))
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


def _wait_for(end: Path) -> bytes:
    until = time.monotonic() + PATIENCE_SECONDS
    while not end.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return b"waited"


def _set_up() -> dict[str, Any]:
    """Returns how the process is set up."""
    import pyarrow as pa

    os.umask(umask := os.umask(0))
    core, _ = resource.getrlimit(resource.RLIMIT_CORE)
    is_leader = os.getsid(0) == os.getpid()
    return {"umask": umask, "core": core, "pool": pa.default_memory_pool().backend_name, "leads": is_leader}


def _die_once(mark: Path) -> bytes:
    """Kills the process at the first call, and answers from the second on."""
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return b"again"
