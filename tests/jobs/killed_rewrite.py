"""Kills a protection or a rekey before its n-th step on the file system, for every n in strides.

    python killed_rewrite.py protect EXPORT DIRECTORY STRIDE    prints, for each n, the copy of EXPORT that it was
    python killed_rewrite.py rekey EXPORT DIRECTORY STRIDE      killed in; the last one was not killed

Each is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import sys
from functools import partial
from pathlib import Path

from exporter.jobs.protect import protect
from exporter.jobs.rekey import rekey
from exporter.progress import Quiet
from tests.jobs.protected import DATA_KEY, KEYS, STRICT
from tests.store.local.crashing_run import copies_of, kill_at_each_step


async def rewrite(command: str, root: Path) -> None:
    if command == "protect":
        await protect(root, STRICT, keys=KEYS, memory_bytes=2**28, observer=Quiet())
    else:
        await rekey(root, new_key=DATA_KEY, keys=KEYS, memory_bytes=2**28, observer=Quiet())


def main(command: str, export: Path, directory: Path, stride: int) -> None:
    kill_at_each_step(copies_of(export, directory), partial(rewrite, command), first=1 + stride, stride=stride)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
