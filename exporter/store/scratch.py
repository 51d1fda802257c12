"""A private place on a local disk for what is staged, and for copies of what lies elsewhere; it goes away in the end.

A process that is killed leaves its place behind. Whoever opens one next on this machine takes those away whose process
is gone: each is locked for as long as its process lives.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from threading import Lock
from typing import Final

from exporter.store.disk import reporting

_PREFIX: Final = "exporter-staging-"
#: Until it is locked, so that nobody takes it for one that was left behind.
_NEW_PREFIX: Final = ".exporter-new-"


class Scratch:
    """Made when it is first needed, below the directory that `TMPDIR` names; `close` takes it away.

    `disk`: the directory on whose disk it lies. Threads may use it. Raises `StoreError`.
    """

    def __init__(self) -> None:
        self.disk: Final = Path(tempfile.gettempdir())
        self._directory: Path | None = None
        self._descriptor = -1
        self._lock: Final = Lock()

    def staged(self, name: str = "") -> Path:
        """A staged file, or the directory of all."""
        return self._open() / "staged" / name

    def names(self) -> list[str]:
        """Of what is staged, sorted."""
        if self._directory is None:
            return []
        with reporting(self._directory):
            return sorted(file.name for file in (self._directory / "staged").iterdir())

    def new_copy(self, name: str) -> Path:
        """Where to write a copy of a file called `name`; no other one has this path."""
        return self._open() / "copies" / f"{secrets.token_hex(4)}-{name}"

    def close(self) -> None:
        with self._lock:
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
                os.close(self._descriptor)
                self._directory = None

    def _open(self) -> Path:
        with self._lock:
            if self._directory is None:
                with reporting(self.disk):
                    _sweep(self.disk)
                    self._directory, self._descriptor = _make(self.disk)
            return self._directory


def _make(disk: Path) -> tuple[Path, int]:
    new = Path(tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=disk))
    for name in ("staged", "copies"):
        (new / name).mkdir(mode=0o700)
    descriptor = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return new.rename(disk / f"{_PREFIX}{new.name.removeprefix(_NEW_PREFIX)}"), descriptor


def _sweep(disk: Path) -> None:
    for left in disk.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # another user's, or gone
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            continue  # its process is at work
        finally:
            os.close(descriptor)
