"""Kills an expiry before its n-th step on the file system, for every n.

    python killed_expiry.py EXPORT DIRECTORY STRIDE   prints, for each n, the copy of EXPORT that it was killed in; the
                                                      last one was not killed

Each is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exporter.contract import SECOND
from exporter.jobs.expire import ExpireResult, expire
from exporter.progress import Quiet
from exporter.settings import RunSettings
from tests.jobs.made import UNTIL
from tests.store.local.crashing_run import kill_before

#: What is kept for how long, from the end of the export on: half of its days, and fewer with all values.
AGES: Final = {"conversations": 3 * 86_400 + 3600, "recordings": 2 * 86_400, "summary": 86_400}
FLOORS: Final = {name: UNTIL - age * SECOND for name, age in AGES.items()}


async def let_expire(root: Path, ages: Mapping[str, int] = AGES) -> ExpireResult:
    return await expire(root, now=UNTIL, asked=ages, settings=RunSettings(), observer=Quiet())


def main(export: Path, directory: Path, stride: int) -> None:
    step, killed = 1 - stride, True
    while killed:
        step += stride
        root = Path(shutil.copytree(export, directory / str(step)))
        process = os.fork()
        if process == 0:
            kill_before(step)
            asyncio.run(let_expire(root))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.waitstatus_to_exitcode(status) == 0
        print(root, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
