"""Sets up a process that is the exporter's own, as that of a command is, and not a part of somebody's program."""

import gc
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import FrameType, ModuleType
from typing import Final

_NOT_FOR_ARROW: Final = frozenset({"numpy", "pandas"})
#: Arrow looks for pandas from compiled code, when it is first given values.
_ASKING_FOR_ARROW: Final = frozenset({"pyarrow", "exporter"})
#: Modules live as long as the process; rows and turns come and go by the thousand, and hold no cycles. Looking for
#: cycles after every 700 objects took a twentieth of an export with turns.
_OBJECTS_BETWEEN_COLLECTIONS: Final = 50_000
#: The modules of an export make half as many, of which none is garbage.
_OBJECTS_WHILE_LOADING: Final = 1_000_000


def set_up_interpreter() -> None:
    """Sets what holds for the whole process, its heap excepted. Call it before Arrow is loaded, and `end_loading` when
    there is work to do."""
    gc.set_threshold(_OBJECTS_WHILE_LOADING)
    # Files that a library creates must also be private to this user.
    os.umask(0o077)
    # A core dump would leave the token and conversations on the disk.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # Where NumPy is loaded, its linear algebra is not used: where it cannot start its threads, it sends a SIGINT here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.meta_path[:0] = _OnlyArrow(), _BareContexts()


def end_loading() -> None:
    """Takes all that there is by now as there to stay: no search for cycles looks at it again. Does nothing in a
    process that is not the exporter's own."""
    if gc.get_threshold()[0] == _OBJECTS_WHILE_LOADING:
        gc.freeze()
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


class _OnlyArrow:
    """Lets Arrow find neither NumPy nor pandas, which it would load, where they are installed, to see whether it is
    given any.

    Nothing here is made of them, Arrow needs neither, and loading both took longer than loading Arrow. Other libraries
    find them.
    """

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name in _NOT_FOR_ARROW and _asking_package() in _ASKING_FOR_ARROW:
            raise ModuleNotFoundError(f"{name}: not for Arrow", name=name)


class _BareContexts:
    """Lets aiohttp load without the authorities of the system, which it would read twice, for contexts that nothing
    here uses: `route.trust` makes those that are used. A context without authorities trusts nobody."""

    def find_spec(self, name: str, path: Sequence[str] | None, _target: object = None) -> ModuleSpec | None:
        if name != "aiohttp.connector":
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _BareLoader(name, spec.loader.path)
        return spec


class _BareLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        import ssl

        # It hides what the class inherits.
        ssl.SSLContext.set_default_verify_paths = lambda _: None  # type: ignore[assignment, method-assign]
        try:
            super().exec_module(module)
        finally:
            del ssl.SSLContext.set_default_verify_paths


def _asking_package() -> str:
    """Returns the package whose code asks for a module; compiled code counts as that of its caller."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package: str = frame.f_globals.get("__name__", "").partition(".")[0]
        if package != "importlib" and frame.f_globals is not globals():
            return package
        frame = frame.f_back
    return ""
