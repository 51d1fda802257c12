"""`python -m exporter`, and the command `exporter`."""

import os
import signal
import sys
from io import TextIOWrapper
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED: Final = 130


def main() -> None:
    """Runs the command line as this process."""
    # Also what a library creates is for this user alone.
    os.umask(0o077)
    # While modules are loaded, and wherever no job listens: a traceback would tell nobody anything.
    for number in _SIGNALS:
        signal.signal(number, _leave)

    if isinstance(sys.stdout, TextIOWrapper):
        # A path need not be text: it is shown as it was given.
        sys.stdout.reconfigure(errors="surrogateescape")

    from exporter.cli import main as run

    status = run()
    # What is left is the interpreter's own end; its status is the job's.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def _leave(_number: int, _frame: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
