"""Lets one run at a time use a destination, by an advisory lock on a file that names the run.

The kernel releases the lock of a process that is gone, however it ended. The file may be removed by its holder alone,
and a run that has locked a file looks whether it is still there: two runs that lock two files of one name would both
hold the lock. If the file system has no locks, a run goes on without one: the numbered commits keep two runs from
spoiling one another's work.
"""

import errno
import fcntl
import os
import platform
from pathlib import Path
from typing import Final

import msgspec

from exporter.contract import Instant
from exporter.errors import DestinationLockedError
from exporter.settings import FileMode
from exporter.store.base import LockHolder
from exporter.store.disk import open_private, reporting, set_mode
from exporter.store.oserrors import NOT_SUPPORTED

#: File systems without locks answer these: some network and shared mounts.
_NO_LOCKS: Final = NOT_SUPPORTED | {errno.ENOLCK, errno.EBADF}


def host_name() -> str:
    """Returns the name of this machine as text, even if it has no name, or one that is not text."""
    return platform.node().encode(errors="replace").decode() or "unknown host"


def acquire(path: Path, run: str, now: Instant, file_mode: FileMode = "private") -> int:
    """Takes the lock and returns its descriptor, for `release`. Waits for nobody.

    Raises `DestinationLockedError`, which names the holder, and `StoreError`.
    """
    with reporting(path):
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            if try_lock(descriptor, fcntl.LOCK_EX) is False:
                holder = _read(descriptor)
                who = str(holder) if holder else "another run, which is just starting"
                raise DestinationLockedError(
                    f"{path.parent.parent}: held by {who}. Wait until it ends, or stop it, then run again"
                )
            if not _is_at(path, descriptor):
                raise DestinationLockedError(
                    f"{path.parent.parent}: held by another run, which is just ending. Run again"
                )
            if file_mode != "private":
                set_mode(descriptor, file_mode)
            _write(descriptor, LockHolder(pid=os.getpid(), host=host_name(), run=run, since=now))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def release(descriptor: int) -> None:
    """Gives the lock back and takes the holder's name out of the file."""
    try:
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def current_holder(path: Path) -> LockHolder | None:
    """Returns the holder of the lock, or None if there is none. Takes the lock from nobody.

    Raises `StoreError`.
    """
    with reporting(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            lock_is_free = try_lock(descriptor, fcntl.LOCK_SH)
            if lock_is_free:
                return None
            holder = _read(descriptor)
        finally:
            os.close(descriptor)
        # Without locks, only the file names the holder; a killed run is named there until the next run.
        is_unknown = holder is None and lock_is_free is False
        return LockHolder(pid=0, host="unknown host", run="unknown", since=0) if is_unknown else holder


def try_lock(descriptor: int, kind: int) -> bool | None:
    """Takes a lock of this kind, and returns False if another process has it, None if the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Returns whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write(descriptor: int, holder: LockHolder) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(holder) + b"\n", 0)


def _read(descriptor: int) -> LockHolder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=LockHolder)
    except msgspec.MsgspecError:
        return None
