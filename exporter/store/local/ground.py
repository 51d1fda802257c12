"""Prepares a directory for an export, and clears it again if no export has begun. Blocking code.

Two runs may do this at the same time: one that has begun nothing takes its directories away only under the lock, so
that a run that has the lock finds what is missing, and makes it again.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from exporter.errors import DestinationError
from exporter.layout import (
    CHECK_PLACES,
    COMMITS,
    LOCK,
    MANIFEST,
    PRIVATE,
    QUARANTINE,
    RUNS,
    SCRATCH,
    STAGING,
    is_clutter,
)
from exporter.settings import FileMode
from exporter.store.disk import fsync_directory, is_read_only, make_directories
from exporter.store.local.scratch import sweep
from exporter.store.local.trial import sweep_places
from exporter.store.oserrors import describe, nearest
from exporter.store.owner import check_heirs

#: Directories of every export. The commits come last: without them, the others are nobody's.
_EMPTY_AT_FIRST: Final = (STAGING, QUARANTINE, COMMITS)
_TRIES: Final = 20


@contextmanager
def _refusing(root: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DestinationError(f"{root}: no directory can be made there. Choose another destination") from error
    except OSError as error:
        raise DestinationError(f"{root}: {describe(error, root)}") from error


def prepare(root: Path, durable: set[Path], file_mode: FileMode) -> None:
    """Makes the directories of an export, after `check`; adds to `durable` those that are known to be so."""
    check(root)
    with _refusing(root):
        for _ in range(_TRIES - 1):
            # Another run, which has begun nothing, may take away what was just there.
            with suppress(FileNotFoundError, FileExistsError):
                _make_all(root, durable, file_mode)
                break
            durable.clear()
        else:
            _make_all(root, durable, file_mode)
    with suppress(OSError):
        for directory in (root, root / PRIVATE):
            sweep_places(directory)
    with suppress(OSError):
        # Killed audits have left these; an audit that is at work keeps its own.
        sweep(root / SCRATCH)
        (root / SCRATCH).rmdir()


def _make_all(root: Path, durable: set[Path], file_mode: FileMode) -> None:
    for directory in (root, root / PRIVATE, *(root / name for name in _EMPTY_AT_FIRST)):
        make_directories(directory, durable, file_mode, is_inside=directory != root)
    fsync_directory(root / COMMITS)


def clear(root: Path, new: list[Path]) -> None:
    """Takes away what holds no export, while the lock is held, and the directories `new` if they are empty."""
    with suppress(OSError):  # whatever is not empty stays
        if next((root / COMMITS).iterdir(), None) is not None:
            return
        for name in _EMPTY_AT_FIRST:
            (root / name).rmdir()
        (root / LOCK).unlink()
        for directory in (root / PRIVATE, *new):
            directory.rmdir()


def is_prepared(root: Path) -> bool:
    """Returns whether the directories are there."""
    return all((root / name).is_dir() for name in _EMPTY_AT_FIRST)


def check(root: Path) -> None:
    """Raises `DestinationError` for a directory that cannot be written to, or holds something else. Changes nothing."""
    with _refusing(root):
        _check_what_is_there(root)


def _check_what_is_there(root: Path) -> None:
    if root.is_symlink() and not root.exists():
        raise DestinationError(f"{root}: a link that leads nowhere. Give a directory")
    existing = nearest(root)
    if not existing.is_dir():
        raise DestinationError(f"{existing}: a file, not a directory. Give a directory")
    if is_read_only(existing):
        raise DestinationError(f"{existing}: {describe(OSError(errno.EROFS, ''))}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise DestinationError(f"{existing}: not writable. Run as the user who owns it, or choose another destination")
    if existing == root:
        check_heirs(root)
    if existing != root or (root / COMMITS).is_dir():
        return
    found = {entry.name for entry in root.iterdir() if not is_clutter(entry.name)}
    if not found:
        return
    # A kill or a power cut may leave only this of an export that had just begun. Another run may begin one meanwhile.
    checks = tuple((root / PRIVATE).glob(f"{CHECK_PLACES}*"))
    private = {
        path
        for path in (root / PRIVATE).rglob("*")
        if path.is_file() and not any(path.is_relative_to(check) for check in checks)
    }
    begun = {path for path in private if any(path.is_relative_to(root / place) for place in (COMMITS, STAGING))}
    if found == {PRIVATE} and private - begun <= {root / RUNS, root / LOCK}:
        return
    if MANIFEST in found:
        raise DestinationError(
            f"{root / COMMITS}: missing, although its manifest exists. Restore it, or give a new directory"
        )
    raise DestinationError(f"{root}: not empty, and not an export. Give a new directory, or that of an export")
