"""Waits for processes that are nobody's children."""

import os
import select

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
