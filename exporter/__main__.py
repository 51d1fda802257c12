"""Starts the command line, for `python -m exporter` and for the command `exporter`."""

import gc
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Final

from exporter.signals import heeded
from exporter.streams import close_streams, open_streams

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_NOT_FOR_ARROW: Final = frozenset({"numpy", "pandas"})
#: Arrow looks for pandas from compiled code, when it is first given values.
_ASKING_FOR_ARROW: Final = frozenset({"pyarrow", "exporter"})
#: Modules live as long as the process; rows and turns come and go by the thousand, and hold no cycles. Looking for
#: cycles after every 700 objects took a twentieth of an export with turns.
_OBJECTS_BETWEEN_COLLECTIONS: Final = 50_000


def main() -> None:
    """Runs the command line as this process."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # Files that a library creates must also be private to this user.
    os.umask(0o077)
    # These act while modules load, and wherever no job listens: a traceback would help no user.
    for number in heeded():
        signal.signal(number, _leave)
    open_streams()
    # Where NumPy is loaded, its linear algebra is not used: where it cannot start its threads, it sends a SIGINT here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.meta_path.insert(0, _OnlyArrow())

    status = _run()
    # Only the interpreter's own shutdown is left.
    for number in heeded():
        signal.signal(number, signal.SIG_IGN)
    is_printed = close_streams()
    # The shutdown would look for cycles in all that is left, four times over, to free what the system frees anyway.
    gc.freeze()
    sys.exit(status or (0 if is_printed else _FAILED))


class _OnlyArrow:
    """Lets Arrow find neither NumPy nor pandas, which it would load, where they are installed, to see whether it is
    given any.

    Nothing here is made of them, Arrow needs neither, and loading both took longer than loading Arrow. Other libraries
    find them.
    """

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name in _NOT_FOR_ARROW and _asking_package() in _ASKING_FOR_ARROW:
            raise ModuleNotFoundError(f"{name}: not for Arrow", name=name)


def _asking_package() -> str:
    """Returns the package whose code asks for a module; compiled code counts as that of its caller."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package: str = frame.f_globals.get("__name__", "").partition(".")[0]
        if package != "importlib" and frame.f_globals is not globals():
            return package
        frame = frame.f_back
    return ""


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
