"""Finds the sizes of many files: a run looks at all parts of an export before it builds on them."""

import os
from collections.abc import Collection
from pathlib import Path
from stat import S_ISREG

from exporter.store.disk import file_size
from exporter.store.location import parts_inside


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
