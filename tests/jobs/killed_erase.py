"""Kills an erasure before its n-th step on the file system, for every STRIDE-th n.

    python killed_erase.py EXPORT DIRECTORY STRIDE ID…      prints, for each n, the copy of EXPORT that it was killed
                                                            in; the last one was not killed

Each is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import sys
from pathlib import Path

from exporter.jobs.erase import erase
from exporter.progress import Quiet
from exporter.run.erasure_wish import Wish
from tests.jobs.erasing import KEYS
from tests.jobs.made import NOW
from tests.store.local.crashing_run import copies_of, kill_at_each_step


def main(export: Path, directory: Path, stride: int, ids: list[str]) -> None:
    kill_at_each_step(
        copies_of(export, directory), lambda root: erase(root, Wish(ids=ids), KEYS, Quiet(), now=NOW), stride=stride
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
