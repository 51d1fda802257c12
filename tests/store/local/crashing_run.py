"""Kills a small export before its n-th step on the file system, for every n, and then runs it again.

    python crashing_run.py DIRECTORY      prints, for each n, the directory of that run; the last one was not killed

Each run is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import asyncio
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pyarrow as pa

from exporter.coverage import Coverage, Interval
from exporter.layout import part_path
from exporter.log.commits import CommitLog
from exporter.log.manifest import write_manifest
from exporter.log.publish import find_garbage
from exporter.log.state import Author
from exporter.model import Change, DataFile
from exporter.partitions import partition_of
from exporter.parts.writer import PartWriter
from exporter.settings import Request
from exporter.store.local.store import LocalStore

SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("created_at", pa.timestamp("us", "UTC"))])
SCHEMAS = {"conversations": SCHEMA}
START, ROWS = 1_770_681_600_000_000, 10
RANGE = Interval(START, START + 2 * ROWS)
AUTHOR = Author(run="r1", host="here", pid=1)


async def write_file(store: LocalStore, name: str, window: Interval) -> DataFile:
    writer = PartWriter(store.staging_file(name), SCHEMA, row_group_bytes=200)
    times = range(window.end - 1, window.start - 1, -1)
    writer.write(pa.record_batch({"id": [str(time) for time in times], "created_at": list(times)}, schema=SCHEMA))
    finished = writer.close()
    partition, _ = partition_of(window.start, "day")
    path = part_path("conversations", partition, name)
    await store.publish(store.staging_file(name), path)
    return DataFile(
        path=path,
        table="conversations",
        partition=partition,
        rows=finished.rows,
        size_bytes=finished.size_bytes,
        sha256=finished.sha256,
        created_at_min=finished.created_at_min,
        created_at_max=finished.created_at_max,
        window=window,
    )


async def run(root: Path) -> None:
    """Reads what is left of two windows, then makes one file of the two."""
    store = LocalStore(root)
    await store.prepare()
    await store.acquire_lock("r1")
    log = CommitLog(store, AUTHOR)
    state = await log.load()
    if not state.number:
        state = await log.append(kind="begin", committed_at=START, request=Request(), range=RANGE)
    await write_manifest(store, state, schemas=SCHEMAS)
    for path in await find_garbage(store, state):
        await store.delete(path)
    for number, start in enumerate((START + ROWS, START)):
        window = Interval(start, start + ROWS)
        if state.left & Coverage([window]):
            file = await write_file(store, f"read-{number}", window)
            change = Change(covers=(window,), adds=(file,), read_since=START)
            state = await log.append(committed_at=START, change=change)
    await write_manifest(store, state, schemas=SCHEMAS)
    if len(state.files) > 1:
        old = tuple(state.files)
        file = await write_file(store, "compact", RANGE)
        state = await log.append(kind="compact", committed_at=START, change=Change(adds=(file,), removes=old))
        await write_manifest(store, state, schemas=SCHEMAS)
        for path in old:
            await store.delete(path)
    await store.release_lock()


def kill_before(step: int) -> None:
    """Kills this process before its `step`-th change of the file system."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.link", "os.rename", "os.remove", "os.mkdir", "os.truncate")
        if changes or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            count()

    real_write = os.write

    def write(descriptor: int, data: Any) -> int:
        count()
        return real_write(descriptor, data)

    # A kill loses nothing that the kernel has: syncing for real would only take time.
    os.write, os.fsync = write, lambda fd: count()
    sys.addaudithook(audit)


def kill_at_each_step(
    place: Callable[[int], Path],
    work: Callable[[Path], Coroutine[Any, Any, object]],
    *,
    first: int = 1,
    stride: int = 1,
) -> None:
    """Does `work` at the place of each n, from the `first` on and in strides, in a process that is killed before its
    n-th step, until one is not killed any more. Prints each place."""
    step, killed = first - stride, True
    while killed:
        step += stride
        root = place(step)
        process = os.fork()
        if process == 0:
            kill_before(step)
            asyncio.run(work(root))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.waitstatus_to_exitcode(status) == 0
        print(root, flush=True)


def copies_of(export: Path, directory: Path) -> Callable[[int], Path]:
    """Returns what makes a copy of an export for each n."""
    return lambda step: Path(shutil.copytree(export, directory / str(step)))


def main(directory: Path) -> None:
    # Modules that libraries load at their first use are loaded here once, and not in every child.
    importlib.import_module("anyio._backends._asyncio")
    pa.record_batch({"id": ["1"], "created_at": [1]}, schema=SCHEMA)
    kill_at_each_step(lambda step: directory / str(step), run)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
