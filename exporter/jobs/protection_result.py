"""Says how the rows of an export are protected, and what the rules of its policy have done in a run: never a value."""

from typing import Literal

import msgspec

from exporter.encode.protect.paths import parse_path
from exporter.encode.protect.protector import Protector
from exporter.log.state import State
from exporter.privacy import EncryptionMode, Recordings
from exporter.run.protection import pending_files


class Protection(msgspec.Struct, frozen=True, kw_only=True):
    """Says by which policy and with which key rows are protected. `rules` are those of conversations, in few words, and
    `turns` those of that table; `quarantine` says what becomes of rows that fit no column. `pending_files` are not yet
    as the policy wants them.

    Of the values that this run has read, `changed` counts those that a rule has changed, by its path, and `odd` those
    that were dropped because their rule cannot read them. `unmatched` are rules whose path has led to no value.
    """

    fingerprint: str
    key: str | None = None
    rules: dict[str, str] = msgspec.field(default_factory=dict)
    turns: dict[str, str] = msgspec.field(default_factory=dict)
    quarantine: Literal["withhold", "keep"] = "keep"
    pending_files: int = 0
    changed: dict[str, int] = msgspec.field(default_factory=dict)
    odd: dict[str, int] = msgspec.field(default_factory=dict)
    unmatched: tuple[str, ...] = ()


class Encrypted(msgspec.Struct, frozen=True, kw_only=True):
    """Says with which key and how files are encrypted, all but the `plain_columns`, and whether `recordings` are too.
    `pending_files` have another key yet, or none."""

    key: str
    mode: EncryptionMode
    plain_columns: tuple[str, ...]
    recordings: Recordings
    pending_files: int


def encrypted_of(state: State) -> Encrypted | None:
    """Returns how an export is encrypted; None if it is not."""
    found = state.privacy.encryption
    if found is None:
        return None
    return Encrypted(
        key=found.key.name,
        mode=found.mode,
        plain_columns=found.plain_columns,
        recordings=found.recordings,
        pending_files=sum(file.key != found.key.name for file in state.files.values()),
    )


def protection_of(state: State, protector: Protector | None = None) -> Protection | None:
    """Returns how an export is protected, and what its `protector` has done in this run; None without a policy."""
    policy = state.privacy.policy
    if policy is None:
        return None
    found = Protection(
        fingerprint=policy.fingerprint,
        key=None if policy.key is None else policy.key.name,
        rules={path: str(rule) for path, rule in policy.rules.items()},
        turns={path: str(rule) for path, rule in policy.turns.items()},
        quarantine=policy.quarantine,
        pending_files=len(pending_files(state)),
    )
    if protector is None:
        return found
    reached, asked = protector.reached, None if state.request is None else state.request.fields
    looked_for = [
        path
        for path, rule in policy.rules.items()
        if rule.action != "keep" and (asked is None or parse_path(path)[0] in asked)
    ]
    return msgspec.structs.replace(
        found,
        changed={path: count for path, count in sorted(protector.counts.items()) if count},
        odd={path: count for path, count in sorted(protector.odd.items()) if count},
        unmatched=tuple(path for path in looked_for if not reached[path]) if protector.rows else (),
    )
