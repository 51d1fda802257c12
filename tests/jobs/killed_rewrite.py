"""Kills a protection or a rekey before its n-th step on the file system, for every eleventh n.

    python killed_rewrite.py protect EXPORT DIRECTORY    prints, for each of these n, the copy of EXPORT that it was
    python killed_rewrite.py rekey EXPORT DIRECTORY      killed in; the last one was not killed

Each is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from exporter.jobs.protect import protect
from exporter.jobs.rekey import rekey
from exporter.progress import Quiet
from tests.jobs.protected import DATA_KEY, KEYS, STRICT
from tests.store.local.crashing_run import kill_before


async def rewrite(command: str, root: Path) -> None:
    if command == "protect":
        await protect(root, STRICT, keys=KEYS, memory_bytes=2**28, observer=Quiet())
    else:
        await rekey(root, new_key=DATA_KEY, keys=KEYS, memory_bytes=2**28, observer=Quiet())


def main(command: str, export: Path, directory: Path) -> None:
    step, killed = 1, True
    while killed:
        step += 11
        root = Path(shutil.copytree(export, directory / str(step)))
        process = os.fork()
        if process == 0:
            kill_before(step)
            asyncio.run(rewrite(command, root))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.waitstatus_to_exitcode(status) == 0
        print(root, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
