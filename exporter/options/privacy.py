"""Defines the options of privacy: the policy, and where keys are found."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.errors import ProtectionError, UsageError
from exporter.keys import DATA_VARIABLE, NEW_DATA_VARIABLE, PRIVACY_VARIABLE, Key, Keys, parse_key, read_private
from exporter.options.option import Group, Option, options_of
from exporter.options.retention import RetentionOptions

if TYPE_CHECKING:
    from exporter.options.policy import PolicyFile

#: The name of a key stands in the metadata of files, where other characters would end it.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_of_privacy = partial(Option, group=Group.PRIVACY)


@dataclass(frozen=True, kw_only=True)
class KeyOptions:
    """Says where keys are found, for commands that read or write what is protected."""

    privacy_key_file: Path | str | None = _of_privacy(
        "Read the key that hashes from this file, which nobody else may be able to read.",
        "FILE",
        otherwise=f"where the policy says, or {PRIVACY_VARIABLE}",
    ).field(None)
    data_key_file: Path | str | None = _of_privacy(
        "Read the key that encrypts from this file, which nobody else may be able to read.",
        "FILE",
        otherwise=f"where the policy says, or {DATA_VARIABLE}",
    ).field(None)

    def keys(self, environment: Mapping[str, str]) -> Keys:
        """Returns where keys are found; none is read yet."""
        return Keys(environment, _path(self.privacy_key_file), _path(self.data_key_file))


@dataclass(frozen=True, kw_only=True)
class PrivacyOptions(RetentionOptions, KeyOptions):
    """Says what becomes of personal data."""

    policy: Path | str | None = _of_privacy(
        "Protect personal data as this file says (exporter help privacy), before anything is written.",
        "FILE",
        otherwise="the policy that is stored; at first none",
        of_dataset=True,
    ).field(None)

    def read_policy(self) -> "PolicyFile | None":
        """Returns what the policy file says. Raises `UsageError`."""
        from exporter.options.policy import load_policy

        return None if self.policy is None else load_policy(Path(self.policy))


def find_new_key(name: str, file: Path | str | None, environment: Mapping[str, str]) -> Key:
    """Returns the key that takes the place of another, from a file or the environment. Raises `UsageError` for a name
    that is no name, and `ProtectionError` if there is no key or it is no key."""
    if _NAME.fullmatch(name) is None:
        raise UsageError("--to: a name has up to 64 letters of ASCII, digits, dots, dashes or underscores")
    if file is not None:
        return Key(name, parse_key(read_private(Path(file), "--new-key-file", "key"), f"--new-key-file {file}"))
    if text := environment.get(NEW_DATA_VARIABLE, "").strip():
        return Key(name, parse_key(text, NEW_DATA_VARIABLE))
    raise ProtectionError(f"the new key {name} is not here. Set {NEW_DATA_VARIABLE}, or give --new-key-file")


def _path(text: Path | str | None) -> Path | None:
    return None if text is None else Path(text)


#: The names of the options that say where keys are found.
KEYS: Final = tuple(options_of(KeyOptions))
