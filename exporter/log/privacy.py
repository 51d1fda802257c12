"""Folds what commits say of privacy: the policy, the encryption, what expires, and who was erased. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from exporter.contract import Instant, format_instant
from exporter.model import CONVERSATIONS, RECORDINGS, TURNS, Change, DataFile
from exporter.privacy import Encryption, Erasure, Floors, KeyReference, Policy, Retention

#: Commits of these kinds take rows or values away for good: what they replace is not kept for readers of older
#: manifests or of older versions of tables, and not put aside.
UNKEEPING: Final = ("protect", "rekey", "erase", "expire")


class PrivacyChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Says what a commit changes: None, or nothing, leaves it as it was. `floors` are raised.

    A `policy` or an `encryption` is there from the `begin` on; `protect` brings another policy, and `rekey` another
    key. `retention` is what later runs apply; if it is empty, they apply none.
    """

    policy: Policy | None = None
    encryption: Encryption | None = None
    retention: dict[str, int] | None = None
    floors: dict[str, Instant] = msgspec.field(default_factory=dict)
    erasure: Erasure | None = None


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Holds what the commits of an export fold to. `erasures` are in the order in which they began."""

    policy: Policy | None = None
    encryption: Encryption | None = None
    retention: Retention = field(default_factory=dict)
    floors: Floors = field(default_factory=dict)
    erasures: tuple[Erasure, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Returns that of the policy, which its parts name; empty without a policy."""
        return "" if self.policy is None else self.policy.fingerprint

    @property
    def key_name(self) -> str:
        """Returns the name of the key that parts are encrypted with; empty if they are not."""
        return "" if self.encryption is None else self.encryption.key.name

    @property
    def tombstones(self) -> frozenset[str]:
        """Returns the keyed hashes of the ids that must never come back."""
        return frozenset().union(*(one.tombstones for one in self.erasures))

    @property
    def subjects(self) -> frozenset[str]:
        """Returns the keyed hashes of the values by which new conversations are left out."""
        return frozenset().union(*(one.subjects for one in self.erasures))

    @property
    def erasure_key(self) -> KeyReference | None:
        """Returns the key of tombstones and subjects; None if there are none."""
        return next((one.key for one in self.erasures if one.key is not None), None)

    @property
    def unfinished(self) -> tuple[Erasure, ...]:
        """Returns the erasures of which something may still lie somewhere."""
        return tuple(one for one in self.erasures if not one.finished)

    @property
    def takes_away(self) -> bool:
        """Returns whether commits may have taken away for good what files held."""
        return bool(self.policy or self.encryption or self.floors or self.erasures)

    def is_protected(self, file: DataFile) -> bool:
        """Returns whether a part is as the policy and the encryption want it."""
        return (file.table == RECORDINGS or file.policy == self.fingerprint) and file.key == self.key_name


def next_privacy(privacy: Privacy, change: PrivacyChange | None) -> Privacy:
    """Returns what is after a change, against which there must be no objections."""
    if change is None:
        return privacy
    erasures = privacy.erasures
    if (one := change.erasure) is not None:
        known = [erasure.certificate for erasure in erasures]
        if one.certificate in known:
            at = known.index(one.certificate)
            done = msgspec.structs.replace(erasures[at], finished=one.finished, sha256=one.sha256)
            erasures = (*erasures[:at], done, *erasures[at + 1 :])
        else:
            erasures = (*erasures, one)
    return replace(
        privacy,
        policy=change.policy or privacy.policy,
        encryption=change.encryption or privacy.encryption,
        retention=privacy.retention if change.retention is None else change.retention,
        floors={**privacy.floors, **change.floors},
        erasures=erasures,
    )


def privacy_objections(privacy: Privacy, change: PrivacyChange | None, kind: str) -> Iterator[str]:
    """Says why a change in a commit of this kind does not fit."""
    if change is None:
        return
    if change.policy is not None and kind not in ("begin", "protect"):
        yield "changes the policy"
    if change.encryption is not None and kind not in ("begin", "protect", "rekey"):
        yield "changes the encryption"
    if change.floors and kind != "expire":
        yield "lets rows expire"
    if (change.erasure is not None) != (kind == "erase"):
        yield "erases somebody"
    for what, floor in change.floors.items():
        if floor < privacy.floors.get(what, floor):
            yield f"brings back {what} that have expired"


def file_objections(privacy: Privacy, change: Change) -> Iterator[str]:
    """Says which files do not fit an export that is encrypted. An older exporter kept the quarantine plain."""
    if name := privacy.key_name:
        unfit = [file.path for file in change.adds if file.key != name]
        unfit += [file.path for file in change.quarantines if file.key not in ("", name)]
        unfit += [file.path for file in change.changed if file.key != name]
        yield from (f"adds {path}, which is not encrypted with {name}" for path in unfit)


def render_privacy(privacy: Privacy, files: Mapping[str, DataFile]) -> dict[str, Any]:
    """Returns what the manifest says of privacy: nothing for an export without any of it."""
    found: dict[str, Any] = {}
    policy, encryption = privacy.policy, privacy.encryption
    if policy is not None or encryption is not None:
        found["protection"] = {
            "fingerprint": privacy.fingerprint or None,
            "key": None if policy is None else _key(policy.key),
            "rules": {} if policy is None else {path: str(rule) for path, rule in policy.rules.items()},
            "turns": {} if policy is None else {path: str(rule) for path, rule in policy.turns.items()},
            "entities": None if policy is None else msgspec.to_builtins(policy.entities),
            "pending_files": sum(
                not privacy.is_protected(file)
                for file in files.values()
                if file.table in (CONVERSATIONS, TURNS, RECORDINGS)
            ),
            "encryption": None if encryption is None else _encryption(encryption),
        }
    if privacy.erasures:
        found["erasures"] = {
            "requests": len(privacy.erasures),
            "conversations": sum(one.conversations for one in privacy.erasures),
            "unfinished": len(privacy.unfinished),
            "certificates": [one.certificate for one in privacy.erasures],
        }
    if privacy.retention:
        found["retention"] = dict(privacy.retention)
    if privacy.floors:
        found["expired_before"] = {what: format_instant(floor) for what, floor in sorted(privacy.floors.items())}
    return found


def _key(key: KeyReference | None) -> dict[str, str] | None:
    return None if key is None else {"name": key.name, "check": key.check}


def _encryption(encryption: Encryption) -> dict[str, Any]:
    return {
        "mode": encryption.mode,
        "algorithm": "AES_GCM_V1",
        "key": _key(encryption.key),
        "plain_columns": list(encryption.plain_columns),
        "recordings": encryption.recordings,
    }
