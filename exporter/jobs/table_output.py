"""Writes what a command makes of an export to a new file or directory of its user: whole, private, and over nothing.

Until it is whole, it has a hidden name beside the one it will get. Blocking code.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from exporter.errors import UsageError
from exporter.store.disk import DIRECTORY_MODES, fsync, fsync_directory, open_private, place, reporting
from exporter.store.location import SCHEMES, Location
from exporter.store.owner import hand_over

_BUFFER_BYTES: Final = 1 << 20
_THERE: Final = "is there already, and is never overwritten. Name a new one"


def parse_output(text: str, destination: Location) -> Path:
    """Returns the path that `--output` names. Raises `UsageError` as `check_output`, and for a URL or no path."""
    if not text or "\0" in text:
        raise UsageError("--output: must be a path")
    if text.partition("://")[0].lower() in SCHEMES and "://" in text:
        raise UsageError("--output: must be a path on this machine. Write it there, then copy it to the store")
    path = Path(text)
    check_output(path, destination)
    return path


def check_output(path: Path, destination: Location) -> None:
    """Raises `UsageError` if there is something at `path`, if there is no directory for it, or if it lies at or inside
    the destination, where only the export's own files may be."""
    with reporting(path):
        if isinstance(destination, Path):
            inside = path.resolve()
            if destination.resolve() in (inside, *inside.parents):
                raise UsageError(f"--output {path}: lies in the export. Name a path outside of {destination}")
        if os.path.lexists(path):
            raise UsageError(f"--output {path}: {_THERE}")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"--output {path}: there is no directory {path.parent}; make it first")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a file that nobody else can read, and gives it the name `path` once the block is done, durably.

    If the block raises, nothing is left. Raises `StoreError` if the disk fails, also in the block, and `UsageError` if
    something has that name by then.
    """
    hidden = _hidden(path)
    with reporting(path):
        try:
            with open(hidden, "xb", buffering=_BUFFER_BYTES, opener=open_private) as file:
                yield file
                file.flush()
                fsync(file.fileno())
            if not place(hidden, path):
                raise UsageError(f"--output {path}: {_THERE}")
        finally:
            with suppress(OSError):
                hidden.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yields a directory for files, which `new_file` writes, and gives it the name `path` once the block is done.

    Nobody else can read it. Raises, and leaves nothing, as `new_file`.
    """
    hidden = _hidden(path)
    with reporting(path):
        try:
            hidden.mkdir(mode=DIRECTORY_MODES["private"])
            hand_over(hidden)
            yield hidden
            fsync_directory(hidden)
            # A rename would take the place of an empty directory, whose owner may have given it a mode of its own.
            if os.path.lexists(path):
                raise UsageError(f"--output {path}: {_THERE}")
            hidden.rename(path)
            fsync_directory(path.absolute().parent)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _hidden(path: Path) -> Path:
    # As short as can be, because the name itself may be as long as a file system takes.
    return path.with_name(f".{secrets.token_hex(8)}.partial")
