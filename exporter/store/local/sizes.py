"""Finds the sizes of many files: a run looks at all parts of an export before it builds on them."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from stat import S_IFREG, S_ISREG
from typing import Final

from exporter.store.disk import file_size
from exporter.store.location import parts_inside

#: What kind of file a mode tells, above these bits; a call for each of many files costs more than the shift.
_FORMAT_BITS: Final = 12
_REGULAR: Final = S_IFREG >> _FORMAT_BITS


def sizes_of(root: Path, paths: Collection[str]) -> dict[str, int]:
    """Returns the size of each file below `root` that exists. Blocks. Raises `StoreError`, also for a path that leads
    out."""
    above = f"{root}/"
    found = {}
    for path in paths:
        size = _plain_size(above, path)
        if size is None:
            size = file_size(root.joinpath(*parts_inside(root, path)))
        if size is not None:
            found[path] = size
    return found


def have_sizes(root: Path, sizes: Iterable[tuple[str, int]]) -> bool:
    """Returns whether each of these files below `root` is surely there, with the size beside its path: at a part of
    what `sizes_of` costs, which decides where this returns False. Blocks."""
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        for path, size in sizes:
            if path[:1] == "/" or ".." in path:
                return False
            status = os.stat(path, dir_fd=top)
            if status.st_size != size or status.st_mode >> _FORMAT_BITS != _REGULAR:
                return False
    except (OSError, ValueError):
        return False
    finally:
        os.close(top)
    return True


def _plain_size(above: str, path: str) -> int | None:
    """Returns a file's size at a fifth of what `file_size` costs; None if only that can tell, or if `path` may lead
    out."""
    if path[:1] in ("", "/", ".") or ".." in path or "\0" in path:
        return None
    try:
        status = os.stat(above + path)  # noqa: PTH116 - a `Path` costs more than the call
    except (OSError, ValueError):
        return None
    return status.st_size if S_ISREG(status.st_mode) else None
