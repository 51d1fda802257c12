"""Writes the file of figures that node_exporter's textfile collector reads, or another program."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from exporter.errors import UsageError

#: A collector runs as another user.
_MODE: Final = 0o644


def check_metrics_file(file: Path, destination: str) -> Path:
    """Returns the absolute path of a file that may be replaced. Raises `UsageError` for one inside the export, whose
    files it could spoil, and for one that is no regular file."""
    with suppress(OSError):
        if "://" not in destination and file.resolve().is_relative_to(Path(destination).resolve()):
            raise UsageError(f"--metrics-file {file}: inside the export. Name a file elsewhere")
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return file.absolute()
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--metrics-file {file}: {what}") from error
    if not stat.S_ISREG(mode):
        raise UsageError(f"--metrics-file {file}: not a regular file")
    return file.absolute()


def write_metrics(file: Path, text: str) -> None:
    """Replaces a file atomically by one that everybody can read, and that has the group of its directory.

    Until then it has a name that does not end with `.prom`, which a collector would read. Raises `OSError`.
    """
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            with suppress(PermissionError):
                os.fchown(descriptor, -1, file.parent.stat().st_gid)
            # Whatever the umask is.
            os.fchmod(descriptor, _MODE)
            os.fsync(descriptor)
        unfinished.replace(file)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
