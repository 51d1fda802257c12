"""Reads, lists, appends to and deletes the files of a local store. All functions block, and raise `StoreError`."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from exporter.layout import COMMITS
from exporter.settings import FileMode
from exporter.store.disk import finish, fsync_directory, open_patiently, open_private, reporting


def append(root: Path, file: Path, line: bytes, file_mode: FileMode) -> None:
    """Appends a line to a file, whose last line it ends first if a kill has cut it; does nothing without a log."""
    if not (root / COMMITS).is_dir():
        return
    with reporting(file):
        descriptor = open_private(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            while line:
                line = line[os.write(descriptor, line) :]
            finish(descriptor, file_mode)
        finally:
            os.close(descriptor)
        if not size:
            fsync_directory(file.parent)


def delete(path: Path) -> None:
    """Deletes a file, if it is there, for good."""
    with reporting(path):
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        fsync_directory(path.parent)


def read(file: Path) -> bytes | None:
    """Returns what a file holds; None if there is none."""
    with reporting(file), suppress(FileNotFoundError), open_patiently(file) as opened:
        return opened.readall()
    return None


def read_all(files: Collection[Path]) -> list[bytes | None]:
    """Returns what each file holds, in order, and None for each that is not there."""
    return [read(file) for file in files]


def paths_in(root: Path, directory: Path, after: str) -> list[str]:
    """Returns the paths below `root` of all files in a directory that sort behind `after`, in order."""
    with reporting(directory):
        paths = _paths_below(str(directory), directory.relative_to(root).as_posix())
        return sorted(path for path in paths if path > after)


def _paths_below(directory: str, prefix: str) -> Iterator[str]:
    """Yields the paths of all files in a directory and below, with this prefix; a link to a directory leads nowhere."""
    try:
        entries = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if not entry.is_dir():
            yield f"{prefix}/{entry.name}"
        elif not entry.is_symlink():
            yield from _paths_below(entry.path, f"{prefix}/{entry.name}")


def strays_below(root: Path, directories: Iterable[str], known: Mapping[str, Collection[str]]) -> list[str]:
    """Returns the paths below `root` of all files in these directories and below, except those whose names are `known`,
    by directory. A directory that holds nothing else costs a look at its names. Raises `StoreError`."""
    found, waiting = list[str](), [*directories]
    while waiting:
        directory = waiting.pop()
        names = known.get(directory, ())
        try:
            strange = {*os.listdir(f"{root}/{directory}")}  # noqa: PTH208 - names alone cost less
            strange.difference_update(names)
            entries = list(os.scandir(f"{root}/{directory}")) if strange else ()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            with reporting(root / directory):
                raise
        for entry in entries:
            if not entry.is_dir():
                found += [] if entry.name in names else [f"{directory}/{entry.name}"]
            elif not entry.is_symlink():
                waiting.append(f"{directory}/{entry.name}")
    return found
