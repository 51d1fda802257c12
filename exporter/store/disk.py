"""Takes durable steps on a local file system of any kind, and alone turns its errors into the exporter's.

Blocking code: `local` and the pipeline call it from worker threads.
"""

import ctypes
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedReader, FileIO
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISREG
from typing import Any, Final, TypeVar

from exporter.errors import StoreError, UnreadableFileError
from exporter.settings import FileMode
from exporter.store.oserrors import NOT_SUPPORTED, describe, nearest
from exporter.store.owner import hand_over

T = TypeVar("T")

#: In a directory whose mode has the first digit 2, whatever is made has the group of the directory.
FILE_MODES: Final[dict[FileMode, int]] = {"private": 0o600, "group": 0o640}
DIRECTORY_MODES: Final[dict[FileMode, int]] = {"private": 0o700, "group": 0o2750}
#: Directories above a destination let their group pass, and see nothing, so that an export can be shared at any time.
_PASSAGE: Final = 0o010

#: File systems without hard links answer these (exFAT, some network and shared mounts), as do those that have them only
#: within one directory.
_NO_HARD_LINKS: Final = NOT_SUPPORTED | {errno.EPERM, errno.EMLINK, errno.EXDEV}
#: File systems that have nothing to do when a directory is fsynced answer these.
_NO_FSYNC: Final = NOT_SUPPORTED | {errno.EBADF, errno.EISDIR}
#: File systems that keep no modes answer these.
_NO_MODES: Final = NOT_SUPPORTED | {errno.EPERM, errno.EROFS}
#: A disk, or the network before it, answers these to a read that may succeed a moment later.
_PASSING: Final = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})
#: The pauses before further tries of such a read.
_PAUSES_SECONDS: Final = (0.05, 0.2, 0.5, 1.0)

#: Linux's `renameat2` leaves alone what has the new name.
_FROM_HERE: Final = -100
_NO_REPLACE: Final = 1
#: A rename that takes its turn by a claim waits this long for another.
_CLAIM_PAUSES_SECONDS: Final = (0.05,) * 40


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turns an `OSError` of the block into a `StoreError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {describe(error, path)}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns an `OSError` of the block, which reads `path`, into an `UnreadableFileError`."""
    try:
        yield
    except OSError as error:
        raise UnreadableFileError(path, describe(error, path)) from error


def patiently(read: Callable[[], T]) -> T:
    """Returns what `read` returns; tries again after an error that may pass. Raises the last `OSError`."""
    for pause_seconds in _PAUSES_SECONDS:
        try:
            return read()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
        time.sleep(pause_seconds)
    return read()


class PatientFile(FileIO):
    """Reads a file `patiently`; `open_patiently` opens it in the same way."""

    def readinto(self, buffer: Any) -> int | None:
        return patiently(partial(read_once, self, buffer))

    def readall(self) -> bytes:
        # It reads straight into the bytes that it returns.
        reader = BufferedReader(self)
        try:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
            return b"".join([reader.read(size), *iter(partial(reader.read, 1 << 20), b"")])
        finally:
            reader.detach()


#: Reads from a file once, without patience.
read_once: Final = FileIO.readinto


def open_patiently(path: Path) -> PatientFile:
    """Opens a file for reading. Raises `OSError`, also for what is neither a file nor a directory."""
    return patiently(partial(PatientFile, path, opener=_open_at_once))


def _open_at_once(path: str, flags: int) -> int:
    # Otherwise a pipe that nobody writes to would be waited for in silence.
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        os.close(descriptor)
        # So the system answers for a socket.
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), path)
    return descriptor


def file_size(path: Path) -> int | None:
    """Returns the size of a file in bytes, or None if there is none. Raises `StoreError`."""
    with reporting(path):
        try:
            status = patiently(path.stat)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if S_ISREG(status.st_mode) else None


def free_bytes(directory: Path) -> int:
    """Returns the bytes that an unprivileged user can write to the file system of `directory`, which need not exist.

    Raises `StoreError`.
    """
    with reporting(directory):
        try:
            usage = os.statvfs(nearest(directory))
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise
            return sys.maxsize
        # File systems that do not know answer zeros.
        return usage.f_bavail * usage.f_frsize if usage.f_blocks else sys.maxsize


def is_read_only(directory: Path) -> bool:
    """Returns whether the file system of `directory` says that it is read-only. Raises `OSError`."""
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        return False


def open_private(path: str | Path, flags: int) -> int:
    """Opens a file that nobody else can read, as `os.open` does; fits `opener=`.

    If the superuser makes it, it belongs to the owner of its directory.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, FILE_MODES["private"])
    if flags & os.O_CREAT:
        try:
            hand_over(Path(path), descriptor)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def fsync(descriptor: int) -> None:
    """Makes a file or a directory survive a power cut, if its file system has something to do for that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def finish(descriptor: int, file_mode: FileMode) -> None:
    """Gives a whole file its mode, until when only its owner can read it, and makes it survive a power cut."""
    if file_mode != "private":
        set_mode(descriptor, file_mode)
    fsync(descriptor)


def set_mode(descriptor: int, file_mode: FileMode) -> None:
    """Gives a file its mode, if its file system keeps modes."""
    try:
        os.fchmod(descriptor, FILE_MODES[file_mode])
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def fsync_directory(directory: Path) -> None:
    """Makes the names in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(
    directory: Path, durable: set[Path], file_mode: FileMode = "private", *, is_inside: bool = True
) -> None:
    """Creates `directory` and its missing parents, durable; adds them to `durable`, those known to be so.

    A directory that exists may be gone after a power cut, because a killed run may have made it, and may not have got
    to its mode, nor to its owner: that of the directory above, if it `is_inside` a destination.
    """
    if directory in durable:
        return
    if not directory.parent.exists():
        make_directories(directory.parent, durable, file_mode if is_inside else "private", is_inside=is_inside)
        if not is_inside:
            _widen(directory.parent, _PASSAGE)
    directory.mkdir(mode=DIRECTORY_MODES["private"], exist_ok=True)
    if is_inside:
        hand_over(directory)
    if file_mode != "private":
        _widen(directory, DIRECTORY_MODES["group"])
    if os.access(directory.parent, os.R_OK):
        # The parent of several users' directories may often be entered, but not read.
        fsync_directory(directory.parent)
    durable.add(directory)


def _widen(directory: Path, wanted: int) -> None:
    mode = S_IMODE(directory.stat().st_mode)
    if wanted & ~mode:
        try:
            directory.chmod(mode | wanted)
        except OSError as error:
            if error.errno not in _NO_MODES:
                raise


def place(whole: Path, final: Path) -> bool:
    """Gives a whole, fsynced file its final name, durably; returns False, with nothing done, if that name is taken.

    The old name may stay behind; the caller must delete it. Every file system has one of three steps that never
    overwrite, whatever else is at work: a hard link, a rename that promises it, and a directory that can be made once.
    """
    is_placed = _take_name(whole, final)
    # A caller that learns that a name is taken may rely on it: it must be as durable as the caller's own would be.
    fsync_directory(final.parent)
    return is_placed


def replace(whole: Path, final: Path) -> None:
    """Gives a whole, fsynced file its final name, durably, in place of any file that has it."""
    try:
        whole.replace(final)
    except FileExistsError:
        # Some file systems replace nothing; a reader in between finds no file, as after a kill.
        final.unlink()
        whole.rename(final)
    fsync_directory(final.parent)


def _take_name(whole: Path, final: Path) -> bool:
    for step in (os.link, _rename_to_new):
        try:
            step(whole, final)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            return True
    return _rename_by_claim(whole, final)


def _rename_to_new(whole: Path, final: Path) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(_FROM_HERE, os.fsencode(whole), _FROM_HERE, os.fsencode(final), _NO_REPLACE):
        raise OSError(number := ctypes.get_errno(), os.strerror(number))


def _rename_by_claim(whole: Path, final: Path) -> bool:
    """Takes the name if it is free, while no other process may."""
    claim = final.with_name(f"_{final.name}.claim")
    for pause_seconds in _CLAIM_PAUSES_SECONDS:
        try:
            claim.mkdir(mode=DIRECTORY_MODES["private"])
            break
        except FileExistsError:
            time.sleep(pause_seconds)
    else:
        raise StoreError(f"{final}: another run is about to write it. If none is at work, delete {claim}")
    try:
        if final.exists():
            return False
        whole.rename(final)
        return True
    finally:
        claim.rmdir()
