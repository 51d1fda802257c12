"""Starts programs that end with their test, and waits for processes that are nobody's children."""

import os
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def started(command: Sequence[str | Path], **given: Any) -> Iterator[subprocess.Popen[Any]]:
    """Starts a program, and kills it if the test fails, which would otherwise wait for its end for ever."""
    with subprocess.Popen(command, **given) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
