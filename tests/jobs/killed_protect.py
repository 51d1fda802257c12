"""Kills a protection before its n-th step on the file system, for every eleventh n.

    python killed_protect.py EXPORT DIRECTORY     prints, for each of these n, the copy of EXPORT that it was
                                                  killed in; the last one was not killed

Each is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from exporter.jobs.protect import protect
from exporter.progress import Quiet
from tests.jobs.protected import KEYS, STRICT
from tests.store.local.crashing_run import kill_before


def main(export: Path, directory: Path) -> None:
    step, killed = 1, True
    while killed:
        step += 11
        root = Path(shutil.copytree(export, directory / str(step)))
        process = os.fork()
        if process == 0:
            kill_before(step)
            asyncio.run(protect(root, STRICT, keys=KEYS, memory_bytes=2**28, observer=Quiet()))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.waitstatus_to_exitcode(status) == 0
        print(root, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
