"""Tells a user what an error of the operating system means: what happened, why, and what to do. Changes nothing."""

import errno
import os
import pwd
import re
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

#: A file system answers these to what it cannot do. Some blame the arguments.
NOT_SUPPORTED: Final = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})

_ADVICE: Final = {
    errno.ENOSPC: "the disk is full. Free some space, then run again to resume",
    errno.EDQUOT: "the disk quota is used up. Free some space, then run again to resume",
    errno.EACCES: "permission denied. Run as the user who owns the destination, or choose another",
    errno.EPERM: "not permitted. Run as the user who owns the destination, or choose another",
    errno.EFBIG: (
        "too large for this file system, or for the limit of the process (ulimit -f). Raise it, then run again to "
        "resume"
    ),
    errno.EROFS: "the file system is read-only. Choose another destination",
    errno.EMFILE: "too many open files. Raise the limit (ulimit -n), or lower --concurrency",
    errno.ENFILE: "the machine has too many open files. Close some programs, then run again to resume",
    errno.ENOMEM: "the machine has no memory left. Free some, then run again to resume",
    errno.ENAMETOOLONG: "the name is too long for this file system. Choose a shorter destination",
    errno.EPIPE: "its reader has left, and what it got is not whole",
    errno.ENXIO: "not a regular file. Remove it, then run again to resume",
    errno.ESTALE: "the file server no longer knows this directory. Mount it again, then run again to resume",
}
#: If a step that an export needs ends with one of these, the file system is of the wrong kind.
_WRONG_KIND: Final = NOT_SUPPORTED | {errno.EXDEV, errno.ENOLCK, errno.ENOTTY}


def describe(error: OSError, path: Path | None = None) -> str:
    """Returns what went wrong and what to do, without the path. The cause is looked for at `path`, if given."""
    number = error.errno or 0
    if path is not None:
        if number == errno.ENOSPC and _lacks_inodes(path):
            return "its disk has room, but no inodes: it holds too many files. Delete some, then run again to resume"
        if number in (errno.EACCES, errno.EPERM) and (why := _why_denied(error, path)):
            return why
        if number in _WRONG_KIND:
            return (
                f"{_file_system(path)} cannot do what an export needs ({error.strerror}). Choose a destination on "
                "another file system"
            )
    return _ADVICE.get(number) or f"{error.strerror or error}. Check the disk, then run again to resume"


def nearest(path: Path) -> Path:
    """Returns `path`, or the nearest directory above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _lacks_inodes(path: Path) -> bool:
    with suppress(OSError):
        usage = os.statvfs(nearest(path))
        # File systems that make inodes as they need them count none.
        return usage.f_files > 0 and usage.f_favail == 0
    return False


def _why_denied(error: OSError, path: Path) -> str | None:
    """Returns what denies the step, `path` or a directory on the way, and whose it is, as far as that can be seen."""
    named = [name for name in (error.filename2, error.filename, path) if isinstance(name, str | bytes | Path)]
    for each in dict.fromkeys(Path(os.fsdecode(name)) for name in named):
        for one in (*reversed(each.parents), each):
            with suppress(OSError):
                status = one.stat()
                if _denies(one, status, is_parent=one == each.parent):
                    return _denial("its {}" if one == path else "the {} of " + str(one), status)
    return None


def _denies(path: Path, status: os.stat_result, *, is_parent: bool) -> bool:
    """Returns whether this user may not pass a directory, change one that is the parent, or read a file."""
    if S_ISDIR(status.st_mode):
        wanted = os.W_OK | os.X_OK if is_parent else os.X_OK
    elif S_ISREG(status.st_mode):
        wanted = os.R_OK
    else:
        return False
    return not os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids)


def _denial(what: str, status: os.stat_result) -> str:
    if status.st_uid == os.geteuid():
        fit = "u+rwx" if S_ISDIR(status.st_mode) else "600"
        return f"permission denied: {what.replace('{}', 'mode')} is {status.st_mode & 0o777:03o}. Run chmod {fit} on it"
    owner, user = user_name(status.st_uid), user_name(os.geteuid())
    return (
        f"permission denied: {what.replace('{}', 'owner')} is {owner}, and this is {user}. Run as {owner}, or let "
        f"{user} own all that is there (chown -R)"
    )


def user_name(user: int) -> str:
    """Returns the name of a user, or the number of one that this machine does not know."""
    with suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return f"user {user}"


def _file_system(path: Path) -> str:
    """Names the kind of file system that `path` lies on, and where that is mounted, as far as the machine tells."""
    with suppress(OSError):
        inside = os.fsencode(nearest(path).resolve())
        best, kind = b"", b""
        for line in Path("/proc/self/mounts").read_bytes().splitlines():
            where, type_ = (_unescape(word) for word in line.split(b" ")[1:3])
            if len(where) >= len(best) and (inside + b"/").startswith(where.rstrip(b"/") + b"/"):
                best, kind = where, type_
        if best:
            return f"its file system ({os.fsdecode(kind)}, mounted at {os.fsdecode(best)})"
    return "its file system"


def _unescape(word: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), word)
