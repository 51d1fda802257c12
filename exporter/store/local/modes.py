"""Gives what lies at a destination the modes of `--file-mode`. What is written later gets them as it is made.

Files in staging stay private until they are whole, and so does whatever is temporary; their directory is not, because
`status` and `verify` list it.
"""

import grp
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from stat import S_IMODE, S_ISGID
from typing import Final, TypeAlias

from exporter.errors import DestinationError
from exporter.layout import ALL_TABLES, ICEBERG, MANIFEST, MEDIA, PRIVATE, SCRATCH, STAGING, SUCCESS
from exporter.settings import FileMode
from exporter.store.disk import DIRECTORY_MODES, FILE_MODES, fsync, fsync_directory, reporting, set_mode
from exporter.store.owner import hand_over

_Entry: TypeAlias = tuple[Path, os.stat_result, int]

#: Beside these, a directory may hold what is not the exporter's.
_OURS: Final = (MANIFEST, SUCCESS, *ALL_TABLES, MEDIA, ICEBERG, PRIVATE)


def apply_file_mode(root: Path, file_mode: FileMode) -> None:
    """Gives the directory `root`, and each file of its export, this mode, and with `group` the group of `root`.

    Raises `DestinationError` if they cannot have them, and `StoreError`.
    """
    group = root.stat().st_gid
    for path, found, wanted in _entries(root, file_mode):
        with reporting(path):
            try:
                if file_mode == "group" and found.st_gid != group:
                    # It also clears the first digit of a mode.
                    os.chown(path, -1, group)
                elif _fits(found, wanted, file_mode):
                    continue
                path.chmod(wanted)
            except PermissionError as error:
                raise _refused(path, group, file_mode) from error
            if S_IMODE(path.stat().st_mode) & S_ISGID != wanted & S_ISGID:
                # The kernel drops it in silence for users who are not in the group.
                raise _refused(path, group, file_mode)


def keep_modes(directory: Path, known: Collection[str], file_mode: FileMode) -> None:
    """Gives what a library has written to `directory`, since it held the names `known`, its mode and owner, durably."""
    with reporting(directory):
        for entry in list(os.scandir(directory)):
            if entry.is_file(follow_symlinks=False) and (
                entry.name not in known or entry.stat().st_mode & 0o777 != FILE_MODES[file_mode]
            ):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    hand_over(Path(entry.path), descriptor)
                    set_mode(descriptor, file_mode)
                    fsync(descriptor)
                finally:
                    os.close(descriptor)
        fsync_directory(directory)


def has_file_mode(root: Path, file_mode: FileMode) -> bool:
    """Returns whether `apply_file_mode` has nothing to do. Raises `StoreError`."""
    group = root.stat().st_gid
    return all(
        _fits(found, wanted, file_mode) and (file_mode == "private" or found.st_gid == group)
        for _, found, wanted in _entries(root, file_mode)
    )


def _fits(found: os.stat_result, wanted: int, file_mode: FileMode) -> bool:
    # Whatever is made in a directory that hands its group down does so as well, and is no less private.
    return S_IMODE(found.st_mode) & (0o777 if file_mode == "private" else 0o7777) == wanted


def _entries(root: Path, file_mode: FileMode) -> Iterator[_Entry]:
    """Yields the directories and files of an export, each directory before what it holds, with the modes to have."""
    yield root, root.stat(), DIRECTORY_MODES[file_mode]
    with reporting(root), os.scandir(root) as entries:
        yield from _below([entry for entry in entries if entry.name in _OURS], root, file_mode)


def _below(
    entries: list[os.DirEntry[str]], root: Path, file_mode: FileMode
) -> Iterator[tuple[Path, os.stat_result, int]]:
    for entry in entries:
        path = Path(entry.path)
        if entry.is_file(follow_symlinks=False):
            if path.parent != root / STAGING:
                yield path, entry.stat(), FILE_MODES[file_mode]
        elif entry.is_dir(follow_symlinks=False) and path != root / SCRATCH:
            yield path, entry.stat(), DIRECTORY_MODES[file_mode]
            with os.scandir(path) as inside:
                yield from _below([*inside], root, file_mode)


def _refused(path: Path, group: int, file_mode: FileMode) -> DestinationError:
    return DestinationError(
        f"{path}: cannot get the mode that --file-mode {file_mode} asks for. This user must own it and be a member of "
        f"the directory's group, {_name_of(group)}, and the file system must keep modes"
    )


def _name_of(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
