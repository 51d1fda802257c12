"""Says how the rows of an export are protected, and what the rules of its policy have done in a run: never a value."""

import msgspec

from exporter.encode.protect.paths import parse_path
from exporter.encode.protect.protector import Protector
from exporter.log.state import State


class Protection(msgspec.Struct, frozen=True, kw_only=True):
    """Says by which policy and with which key rows are protected. `rules` are those of conversations, in few words, and
    `turns` those of that table. `pending_files` are not yet as the policy wants them.

    Of the values that this run has read, `changed` counts those that a rule has changed, by its path, and `odd` those
    that were dropped because their rule cannot read them. `unmatched` are rules whose path has led to no value.
    """

    fingerprint: str
    key: str | None = None
    rules: dict[str, str] = msgspec.field(default_factory=dict)
    turns: dict[str, str] = msgspec.field(default_factory=dict)
    pending_files: int = 0
    changed: dict[str, int] = msgspec.field(default_factory=dict)
    odd: dict[str, int] = msgspec.field(default_factory=dict)
    unmatched: tuple[str, ...] = ()


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
        pending_files=sum(not state.privacy.is_protected(file) for file in state.files.values()),
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
