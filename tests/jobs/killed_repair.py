"""Kills a repair before its n-th step on the file system, for every n.

    python killed_repair.py EXPORT DIRECTORY      prints, for each n, the copy of EXPORT that it was killed in; the last
                                                  one was not killed

Each is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import sys
from pathlib import Path

from exporter.jobs.verify import verify
from tests.jobs.made import NOW
from tests.store.local.crashing_run import copies_of, kill_at_each_step


def main(export: Path, directory: Path) -> None:
    kill_at_each_step(copies_of(export, directory), lambda root: verify(root, now=NOW, repair=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
