"""Durable steps on a local file system, and one place where its errors become the exporter's.

Blocking code: `local` and the pipeline call it from worker threads.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, TypeVar

from exporter.errors import StoreError, UnreadableFileError

T = TypeVar("T")

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700

#: What file systems without hard links answer (exFAT, some network and shared mounts).
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
#: What file systems answer that have nothing to do when a directory is fsynced.
_NO_DIRECTORY_FSYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
#: What a disk, or the network before it, answers to a read that may succeed a moment later.
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})
#: Before each further try of such a read.
_PAUSES_SECONDS: Final = (0.05, 0.2, 0.5, 1.0)

_ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space, then run again to resume",
    errno.EDQUOT: "the disk quota is used up. Free some space, then run again to resume",
    errno.EACCES: "permission denied. Run as the user who owns the destination, or choose another",
    errno.EPERM: "not permitted. Run as the user who owns the destination, or choose another",
    errno.EFBIG: "too large for this file system, or for the limit of the process (ulimit -f). Run again to resume",
    errno.EROFS: "the file system is read-only. Choose another destination",
    errno.EMFILE: "too many open files. Raise the limit (ulimit -n), or lower --concurrency",
}


def describe(error: OSError) -> str:
    """What went wrong and what to do, without the path."""
    advice = _ADVICE.get(error.errno or 0)
    return advice or f"{error.strerror or error}. Check the disk, then run again to resume"


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turns an `OSError` of the block into a `StoreError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {describe(error)}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns an `OSError` of the block, which reads `path`, into an `UnreadableFileError`."""
    try:
        yield
    except OSError as error:
        raise UnreadableFileError(path, describe(error)) from error


def patiently(read: Callable[[], T]) -> T:
    """What `read` returns, which is tried again where its error may pass. Raises its last `OSError`."""
    for pause_seconds in _PAUSES_SECONDS:
        try:
            return read()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
        time.sleep(pause_seconds)
    return read()


class PatientFile(FileIO):
    """A file of which every read is done `patiently`; `open_patiently` opens it in the same way."""

    def readinto(self, buffer: Any) -> int | None:
        return patiently(partial(_readinto, self, buffer))

    def readall(self) -> bytes:
        return b"".join(iter(partial(self._read_some, 1 << 20), b""))

    def _read_some(self, size: int) -> bytes:
        buffer = bytearray(size)
        return bytes(memoryview(buffer)[: self.readinto(buffer) or 0])


_readinto: Final = FileIO.readinto


def open_patiently(path: Path) -> PatientFile:
    """Opens a file for reading. Raises `OSError`."""
    return patiently(partial(PatientFile, path))


def file_size(path: Path) -> int | None:
    """Bytes; None when there is no file. Raises `StoreError`."""
    with reporting(path):
        try:
            status = patiently(path.stat)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if S_ISREG(status.st_mode) else None


def free_bytes(directory: Path) -> int:
    """What a user without privileges can still write to the file system of `directory`, which need not be there yet.

    Raises `StoreError`.
    """
    existing = directory
    while not existing.exists():
        existing = existing.parent
    with reporting(existing):
        usage = os.statvfs(existing)
        return usage.f_bavail * usage.f_frsize


def open_private(path: str | Path, flags: int) -> int:
    """`os.open` for a file that nobody else can read; fits `opener=`."""
    return os.open(path, flags | os.O_CLOEXEC, PRIVATE_FILE)


def fsync_directory(directory: Path) -> None:
    """Makes the names in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FSYNC:
            raise
    finally:
        os.close(descriptor)


def make_directories(directory: Path, durable: set[Path]) -> None:
    """Creates `directory` and its missing parents, private and durable; `durable`: known to be, and added to.

    That a directory is there does not mean that it will be after a power cut: a run that was killed may have made it.
    """
    if directory in durable:
        return
    if not directory.parent.exists():
        make_directories(directory.parent, durable)
    directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    fsync_directory(directory.parent)
    durable.add(directory)


def keep_private(directory: Path, known: Collection[str]) -> None:
    """Makes durable, and nobody else's, what a library has written to `directory` since it held the names `known`."""
    with reporting(directory):
        for entry in list(os.scandir(directory)):
            if entry.is_file(follow_symlinks=False) and (
                entry.name not in known or entry.stat().st_mode & 0o777 != PRIVATE_FILE
            ):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fchmod(descriptor, PRIVATE_FILE)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        fsync_directory(directory)


def place(whole: Path, final: Path) -> bool:
    """Gives a whole, fsynced file its final name, durably; False, and nothing done, when that name is taken.

    The old name may stay behind; it is the caller's to delete. A hard link is the one portable step that never
    overwrites. Without hard links the check comes before the rename, and only the destination's lock keeps another
    run out of the moment between.
    """
    try:
        os.link(whole, final)
    except FileExistsError:
        # Whoever learns that a name is taken may rely on it: it has to be as durable as their own would be.
        fsync_directory(final.parent)
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if final.exists():
            return False
        whole.rename(final)
    fsync_directory(final.parent)
    return True
