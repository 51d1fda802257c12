"""Kills a change of keys before its n-th step on the file system, for every n in strides.

    python killed_rekey.py EXPORT DIRECTORY STRIDE     prints, for each n, the copy of EXPORT that it was killed in;
                                                       the last one was not killed

Each is a process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import sys
from pathlib import Path

from exporter.jobs.rekey import rekey
from exporter.progress import Quiet
from tests.jobs.sealed import SECRETS, keys
from tests.store.local.crashing_run import copies_of, kill_at_each_step


def main(export: Path, directory: Path, stride: int) -> None:
    kill_at_each_step(
        copies_of(export, directory),
        lambda root: rekey(root, new_key=SECRETS["d2"], keys=keys(), memory_bytes=2**28, observer=Quiet()),
        first=1 + stride,
        stride=stride,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
