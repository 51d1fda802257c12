"""Makes private places for temporary files: staged files, and copies of what lies elsewhere. Deletes them in the end.

A killed process leaves its place behind. The next process that opens one beside it deletes those whose process is gone:
in each, a file is locked for as long as its process lives.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

from exporter.errors import UsageError
from exporter.layout import SCRATCH
from exporter.store.disk import open_private, reporting
from exporter.store.local.lock import try_lock
from exporter.store.owner import hand_over

_PREFIX: Final = "exporter-staging-"
#: A place has this prefix until it is locked, so that nobody takes it for one that was left behind.
_NEW_PREFIX: Final = ".exporter-new-"
_LOCK: Final = "lock"


def temporary_directory(destination: Path | None = None) -> Path:
    """Returns where temporary files go: where `TMPDIR` and the system say, otherwise below a local `destination`.

    Raises `UsageError` if neither can be written to.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        if destination is not None:
            place = destination / SCRATCH
            with suppress(OSError):
                place.mkdir(mode=0o700, exist_ok=True)
                hand_over(place)
                return place
        raise UsageError(
            "there is no directory for temporary files: /tmp and the like are not there, or cannot be written to. Set "
            "TMPDIR to a directory that can"
        ) from error


@contextmanager
def private_place(disk: Path) -> Iterator[Path]:
    """Makes an empty directory on `disk` for the block. Raises `StoreError`."""
    with reporting(disk):
        sweep(disk)
        place, descriptor = _make(disk)
    try:
        yield place / "staged"
    finally:
        _take_away(place, descriptor)


class Scratch:
    """Holds a private place, which is made below `disk` when it is first needed; `close` deletes it.

    `disk` is where `temporary_directory` says. Threads may use it. Raises `StoreError`; `UsageError` if there is no
    directory for temporary files.
    """

    def __init__(self) -> None:
        self.disk: Final = temporary_directory()
        self._directory: Path | None = None
        self._descriptor = -1
        self._lock: Final = Lock()

    def staged(self, name: str = "") -> Path:
        """Returns the path of a staged file, or of the directory that holds all."""
        return self._open() / "staged" / name

    def names(self) -> list[str]:
        """Returns the names of what is staged, sorted."""
        if self._directory is None:
            return []
        with reporting(self._directory):
            return sorted(file.name for file in (self._directory / "staged").iterdir())

    def discard(self, name: str) -> bool:
        """Deletes a staged file; returns whether there was one."""
        if self._directory is None:
            return False
        file = self._directory / "staged" / name
        with reporting(file):
            try:
                file.unlink()
            except FileNotFoundError:
                return False
        return True

    def new_copy(self, name: str) -> Path:
        """Returns where to write a copy of a file called `name`; no other one has this path."""
        return self._open() / "copies" / f"{secrets.token_hex(4)}-{name}"

    def close(self) -> None:
        with self._lock:
            if self._directory is not None:
                _take_away(self._directory, self._descriptor)
                self._directory = None

    def _open(self) -> Path:
        with self._lock:
            if self._directory is None:
                with reporting(self.disk):
                    sweep(self.disk)
                    self._directory, self._descriptor = _make(self.disk)
            return self._directory


def sweep(disk: Path) -> None:
    """Deletes the places in `disk` whose processes are gone."""
    for left in disk.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(left / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # it is another user's, or gone
        try:
            if try_lock(descriptor, fcntl.LOCK_EX):
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(descriptor)


def _make(disk: Path) -> tuple[Path, int]:
    new = Path(tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=disk))
    for name in ("staged", "copies"):
        (new / name).mkdir(mode=0o700)
    # It is a file, because some file systems lock none that is open only for reading, as a directory always is.
    descriptor = open_private(new / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try_lock(descriptor, fcntl.LOCK_EX)
    return new.rename(disk / f"{_PREFIX}{new.name.removeprefix(_NEW_PREFIX)}"), descriptor


def _take_away(place: Path, descriptor: int) -> None:
    shutil.rmtree(place, ignore_errors=True)
    os.close(descriptor)
