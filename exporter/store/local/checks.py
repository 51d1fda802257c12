"""Says whether a directory can hold an export, before anything is written to it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import DestinationError
from exporter.layout import COMMITS, MANIFEST, PRIVATE, RUNS, is_clutter
from exporter.store.disk import is_read_only
from exporter.store.oserrors import describe, nearest


@contextmanager
def refusing(root: Path) -> Iterator[None]:
    """Turns an `OSError` of the block into a `DestinationError` that names the directory."""
    try:
        yield
    except FileNotFoundError as error:
        raise DestinationError(f"{root}: no directory can be made there. Choose another destination") from error
    except OSError as error:
        raise DestinationError(f"{root}: {describe(error, root)}") from error


def check_directory(root: Path) -> None:
    """Raises `DestinationError` for a directory that cannot be written to, or that holds something else."""
    with refusing(root):
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
    if existing != root or (root / COMMITS).is_dir():
        return
    found = {entry.name for entry in root.iterdir() if not is_clutter(entry.name)}
    if not found:
        return
    # A power cut may leave only this of an export that had just begun.
    if found == {PRIVATE} and {path for path in (root / PRIVATE).rglob("*") if path.is_file()} <= {root / RUNS}:
        return
    if MANIFEST in found:
        raise DestinationError(
            f"{root / COMMITS}: missing, although its manifest exists. Restore it, or give a new directory"
        )
    raise DestinationError(f"{root}: not empty, and not an export. Give a new directory, or that of an export")
