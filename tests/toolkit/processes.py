"""Starts programs that end with their test, and waits for processes that are nobody's children."""

import os
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: A process that was killed still has to be scheduled once more, which takes long on a busy machine.
_PATIENCE_SECONDS = 60.0


def ends(pid: int) -> bool:
    """Returns whether the process has ended, at once or in a moment, even if nobody has buried it yet."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], _PATIENCE_SECONDS)[0])
    finally:
        os.close(handle)


def children_of(pid: int, word: str) -> list[int]:
    """Returns the processes that a process has started and whose command line has this word, on Linux."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name of a program, in parentheses, may hold anything.
            parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and word.encode() in (directory / "cmdline").read_bytes():
                found.append(int(directory.name))
    return sorted(found)


@contextmanager
def started(command: Sequence[str | Path], **given: Any) -> Iterator[subprocess.Popen[Any]]:
    """Starts a program, and kills it if the test fails, which would otherwise wait for its end for ever."""
    with subprocess.Popen(command, **given) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
