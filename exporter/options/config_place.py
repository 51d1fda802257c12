"""Finds the config file: where it is named, in this directory, or at home."""

import os
import stat
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from exporter.errors import UsageError

CONFIG_VARIABLE: Final = "EXPORTER_CONFIG"
FILE_NAME: Final = "exporter.toml"
#: What the config file held when the process that has started this one checked it. Since then, it may have changed.
CHECKED: ContextVar[bytes | None] = ContextVar("checked", default=None)


def find_config(given: str | None, environment: Mapping[str, str]) -> Path | None:
    """Returns the config file: the one that is `given`, that of the environment, of this directory, or of the user.

    None if there is none. Raises `UsageError` for a file that was named and is not there, and for one of this
    directory that another user could have put there.
    """
    if given == "":
        raise UsageError("--config: must name a file; is the variable that it was taken from empty?")
    for name, path in (("--config", given), (CONFIG_VARIABLE, environment.get(CONFIG_VARIABLE))):
        if path:
            if CHECKED.get() is None and not os.path.lexists(path):
                raise UsageError(f"{name} {path}: there is no such file")
            return Path(path)
    here = Path(FILE_NAME)
    if os.path.lexists(here):
        _check_owner(here)
        return here
    # As the specification of these directories says, a relative one is not heeded.
    homes = (Path(environment.get("XDG_CONFIG_HOME", "")), Path(environment.get("HOME", ""), ".config"))
    own = next((each / "exporter" / FILE_NAME for each in homes if each.is_absolute()), None)
    return own if own is not None and os.path.lexists(own) else None


def _check_owner(path: Path) -> None:
    try:
        looks = (path.lstat(), path.stat())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    why = ""
    if any(each.st_uid not in (os.geteuid(), 0) for each in looks):
        why = "belongs to another user"
    elif looks[1].st_mode & stat.S_IWOTH:
        why = "anybody can write to it"
    if why:
        raise UsageError(
            f"{path}: {why}, and a config file may name commands to run. If you trust it, give --config {path}"
        )
