"""One run at a time per destination: an advisory lock on a file that says who holds it.

The kernel releases the lock of a process that is gone, however it went. The file is never removed: two runs that
lock two files of one name would both hold it.
"""

import fcntl
import os
import socket
from pathlib import Path

import msgspec

from exporter.contract import Instant, format_instant
from exporter.errors import DestinationLockedError
from exporter.store.disk import open_private, reporting


class LockHolder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a destination: process, host and run, and since when."""

    pid: int
    host: str
    run: str
    since: Instant

    def __str__(self) -> str:
        return f"run {self.run} (process {self.pid} on {self.host}), since {format_instant(self.since)}"


def acquire(path: Path, run: str, now: Instant) -> int:
    """Takes the lock and returns its descriptor, for `release`. Waits for nobody.

    Raises `DestinationLockedError` with who holds it, and `StoreError`.
    """
    with reporting(path):
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            if not _try_lock(descriptor):
                holder = _read(descriptor)
                who = str(holder) if holder else "another run, which is just starting"
                raise DestinationLockedError(
                    f"{path.parent.parent}: held by {who}. Wait until it ends, or stop it, then run again"
                )
            _write(descriptor, LockHolder(pid=os.getpid(), host=socket.gethostname(), run=run, since=now))
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
    """Who holds the lock now; None when nobody does. Takes nothing away from anybody.

    Raises `StoreError`.
    """
    with reporting(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(descriptor) or LockHolder(pid=0, host="unknown host", run="unknown", since=0)
        finally:
            os.close(descriptor)
        return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, holder: LockHolder) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(holder) + b"\n", 0)


def _read(descriptor: int) -> LockHolder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=LockHolder)
    except msgspec.MsgspecError:
        return None
