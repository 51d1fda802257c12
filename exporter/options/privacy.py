"""Defines the options of privacy: the policy, and where keys are found."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.keys import DATA_VARIABLE, PRIVACY_VARIABLE, Keys
from exporter.options.option import Group, Option

if TYPE_CHECKING:
    from exporter.options.policy import PolicyFile

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
class PrivacyOptions(KeyOptions):
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


def _path(text: Path | str | None) -> Path | None:
    return None if text is None else Path(text)
