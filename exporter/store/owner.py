"""Gives what the superuser makes at a destination to its owner, whose runs could otherwise not go on there."""

import os
from pathlib import Path
from stat import S_ISLNK, S_ISREG
from typing import Final

from exporter.errors import DestinationError
from exporter.store.oserrors import NOT_SUPPORTED, user_name

_SUPERUSER: Final = 0


def heirs_of(directory: os.stat_result, user: int) -> tuple[int, int] | None:
    """Returns the owner and the group that `user` must give to what it makes in a directory; None for its own.

    Only the superuser can give files away, and needs to: everybody else works in directories of their own.
    """
    return (directory.st_uid, directory.st_gid) if user == _SUPERUSER != directory.st_uid else None


def hand_over(path: Path, descriptor: int | None = None) -> None:
    """Gives what was made at `path`, and may be open, to the heirs of its directory. Raises `OSError`.

    A link is left alone, and so is a file that has other names as well: the owner of the directory may have put there
    what belongs to others.
    """
    heirs = heirs_of(path.parent.stat(), os.geteuid())
    if heirs is None:
        return
    found = path.lstat()
    is_other = descriptor is not None and not os.path.samestat(found, os.fstat(descriptor))
    if is_other or S_ISLNK(found.st_mode) or (S_ISREG(found.st_mode) and found.st_nlink > 1):
        return
    if (found.st_uid, found.st_gid) != heirs:
        _give(path if descriptor is None else descriptor, heirs)


def check_heirs(root: Path) -> None:
    """Raises `DestinationError` if the superuser cannot give files to the owner of `root`, as in some containers and
    on some file servers. Changes nothing."""
    heirs = heirs_of(root.stat(), os.geteuid())
    if heirs is None:
        return
    try:
        _give(root.resolve(), heirs)
    except OSError as error:
        owner = user_name(heirs[0])
        raise DestinationError(
            f"{root}: its owner is {owner}, to whom {user_name(os.geteuid())} cannot give files here "
            f"({error.strerror}), so that the runs of {owner} could not go on. Run as {owner}"
        ) from error


def _give(what: Path | int, heirs: tuple[int, int]) -> None:
    try:
        os.chown(what, *heirs, follow_symlinks=isinstance(what, int))
    except OSError as error:
        # File systems that have no owners answer these.
        if error.errno not in NOT_SUPPORTED:
            raise
