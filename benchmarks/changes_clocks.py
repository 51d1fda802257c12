"""Measures what a sync spends on telling what it changes, in this process.

    python -m benchmarks.changes_clocks FILE DIRECTORY URL

Seconds of CPU, and the rows and bytes of the file of changes, are written to FILE, as a JSON object.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final

import anyio

from exporter.jobs.sync import sync
from exporter.log.commits import load_state
from exporter.parts.changes import ChangesWriter
from exporter.pipeline.changes import Changes, MergeChanges, PartChanges
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore

#: What is called from outside, so that no time counts twice.
_CLOCKED: Final = (
    (MergeChanges, "__init__"),
    (MergeChanges, "joined"),
    (PartChanges, "dropped"),
    (PartChanges, "all_dropped"),
    (PartChanges, "came"),
    (Changes, "gone"),
    (ChangesWriter, "close"),
)


def main() -> None:
    file, directory, url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    spent: list[float] = []
    for owner, name in _CLOCKED:
        setattr(owner, name, _clocked(getattr(owner, name), spent))
    context = RunContext(RunSettings(base_url=url), Credentials(TOKEN), Quiet())
    began = time.process_time()
    done = anyio.run(partial(sync, directory, Selection(), context))
    seconds = time.process_time() - began
    (told,) = anyio.run(load_state, LocalStore(directory)).changes.values()
    figures = {
        "sync_seconds": seconds,
        "telling_seconds": sum(spent),
        "changed": done.updated,
        "told": told.rows,
        "bytes": told.size_bytes,
    }
    file.write_text(json.dumps(figures))


def _clocked(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        began = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            spent.append(time.thread_time() - began)

    return call


if __name__ == "__main__":
    main()
