"""Kills an expiry before its n-th step on the file system, for every n.

    python killed_expiry.py EXPORT DIRECTORY STRIDE   prints, for each n, the copy of EXPORT that it was killed in; the
                                                      last one was not killed

Each is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exporter.contract import SECOND
from exporter.jobs.expire import ExpireResult, expire
from exporter.progress import Quiet
from exporter.settings import RunSettings
from tests.jobs.made import UNTIL
from tests.store.local.crashing_run import copies_of, kill_at_each_step

#: What is kept for how long, from the end of the export on: half of its days, and fewer with all values.
AGES: Final = {"conversations": 3 * 86_400 + 3600, "recordings": 2 * 86_400, "summary": 86_400}
FLOORS: Final = {name: UNTIL - age * SECOND for name, age in AGES.items()}


async def let_expire(root: Path, ages: Mapping[str, int] = AGES) -> ExpireResult:
    return await expire(root, now=UNTIL, asked=ages, settings=RunSettings(), observer=Quiet())


def main(export: Path, directory: Path, stride: int) -> None:
    kill_at_each_step(copies_of(export, directory), let_expire, stride=stride)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
