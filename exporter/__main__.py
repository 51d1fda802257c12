"""Starts the command line, for `python -m exporter` and for the command `exporter`."""

import gc
import os
import signal
import sys
from contextlib import suppress
from typing import Final

from exporter.interpreter import set_up_interpreter
from exporter.signals import heeded
from exporter.streams import close_streams, open_streams

_FAILED: Final = 1
_INTERRUPTED: Final = 130


def main() -> None:
    """Runs the command line as this process."""
    set_up_interpreter()
    # These act while modules load, and wherever no job listens: a traceback would help no user.
    for number in heeded():
        signal.signal(number, _leave)
    open_streams()

    status = _run()
    # Only the interpreter's own shutdown is left.
    for number in heeded():
        signal.signal(number, signal.SIG_IGN)
    is_printed = close_streams()
    # The shutdown would look for cycles in all that is left, four times over, to free what the system frees anyway.
    gc.freeze()
    sys.exit(status or (0 if is_printed else _FAILED))


def _run() -> int:
    try:
        from exporter.cli import main as run
    except (ImportError, MemoryError, OSError) as error:
        what = str(error) or type(error).__name__
        print(f"exporter: cannot be loaded: {what}. Reinstall it, or raise its limits", file=sys.stderr)
        return _FAILED
    return run()


def _leave(_number: int, _frame: object) -> None:
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
