"""Says what an export does to personal data: a policy, resolved to plain data, and what else a log keeps about privacy.

A policy is stored with all that its meaning depends on, so that a later run protects rows as an earlier one did. The
two are the same if their fingerprints are.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from exporter.contract import Instant

Action: TypeAlias = Literal["keep", "drop", "hash", "mask", "redact", "no-query", "round"]
PatternCheck: TypeAlias = Literal["none", "luhn", "iban", "phone"]
EncryptionMode: TypeAlias = Literal["uniform", "columns"]
#: What becomes of audio: it is encrypted with the data key, or kept as it was served and not encrypted.
Recordings: TypeAlias = Literal["encrypted", "plain"]

#: What may expire: `conversations` with all that belongs to them, `recordings` with their media, or a field, by its
#: name, whose column becomes null. With the transcript's field, turns also leave.
Expirable: TypeAlias = str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Says what becomes of a value.

    `hash` takes a `domain`, in which equal values have equal hashes, after `normalise` in this order (`lower`, `trim`,
    `digits`, `phone:REGION`). `mask` shows the last `keep` digits. `redact` replaces what the `patterns` find, in this
    order; `everywhere` means in every text of a JSON value, keys too, and `inside` that a text is JSON itself. `round`
    makes integers multiples of `to`.
    """

    action: Action
    domain: str = ""
    normalise: tuple[str, ...] = ()
    keep: int = 4
    patterns: tuple[str, ...] = ()
    everywhere: bool = False
    inside: Literal["text", "json"] = "text"
    to: int = 1

    @property
    def needs_key(self) -> bool:
        return self.action == "hash"

    def __str__(self) -> str:
        """Returns the rule in few words, as the manifest shows it: `hash:person`, `mask:4`, `redact:email,phone`."""
        detail = {
            "hash": self.domain,
            "mask": str(self.keep),
            "redact": ",".join(self.patterns),
            "round": str(self.to),
        }.get(self.action, "")
        return f"{self.action}:{detail}" if detail else self.action


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """Finds what to redact: `regex` in RE2's syntax, and the text `to` that takes its place.

    A hit counts only if its `check` holds: the check digits of a card or an IBAN, or being a phone number and no date.
    """

    regex: str
    to: str
    check: PatternCheck = "none"


class KeyReference(msgspec.Struct, frozen=True, kw_only=True):
    """Names a key, and says where it was found: a variable of the environment, or a file. `check` tells a wrong key."""

    name: str
    env: str | None = None
    file: str | None = None
    check: str = ""


class Entities(msgspec.Struct, frozen=True, kw_only=True):
    """Says how names, places and the like are found in texts: the pattern `entities` of a `redact`."""

    engine: Literal["presidio"]
    language: str
    model: str
    types: tuple[str, ...]
    version: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Says what becomes of personal data before anything is written.

    `rules` are those of conversations, by column or path, and `turns` those of the columns of turns. `patterns` holds
    each pattern that a rule names. `extra` is about unknown fields, `quarantine` about rows that fit no column, and
    `odd` about values that a rule cannot read. `recordings` is None if the policy says nothing of audio, which cannot
    be redacted: then none may lie beside redacted text.
    """

    version: int = 1
    rules: dict[str, Rule] = msgspec.field(default_factory=dict)
    turns: dict[str, Rule] = msgspec.field(default_factory=dict)
    patterns: dict[str, Pattern] = msgspec.field(default_factory=dict)
    extra: Literal["drop", "keep"] = "drop"
    quarantine: Literal["withhold", "keep"] = "withhold"
    odd: Literal["drop"] = "drop"
    entities: Entities | None = None
    key: KeyReference | None = None
    recordings: Recordings | None = None

    @property
    def needs_key(self) -> bool:
        """Returns whether rows cannot be protected without the key. A withheld row is named by a keyed hash."""
        rules = (*self.rules.values(), *self.turns.values())
        return self.quarantine == "withhold" or any(rule.needs_key for rule in rules)

    @property
    def fingerprint(self) -> str:
        """Returns 32 hexadecimal digits that another policy, or the same one with another key, does not have."""
        key = None if self.key is None else KeyReference(name=self.key.name, check=self.key.check)
        meaning = msgspec.structs.replace(self, key=key, recordings=None)
        return hashlib.sha256(msgspec.json.encode(meaning, order="sorted")).hexdigest()[:32]

    def protects(self, column: str) -> bool:
        """Returns whether a rule changes this column, or a path in it."""
        return any(
            rule.action != "keep" and (path == column or path.startswith((f"{column}.", f"{column}[")))
            for path, rule in self.rules.items()
        )


class Encryption(msgspec.Struct, frozen=True, kw_only=True):
    """Says how parts are encrypted: whole with one key (`uniform`), or all columns except those named (`columns`).

    `recordings` says whether audio is encrypted with the same key.
    """

    mode: EncryptionMode = "uniform"
    key: KeyReference
    plain_columns: tuple[str, ...] = ()
    recordings: Recordings = "encrypted"


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """Records that people were erased. `tombstones` are keyed hashes of the ids that must never come back, `subjects`
    of the values of a column (`user_id:…`) by which new conversations are left out. `key` is the key of both.

    An erasure is done once a later commit names the same `certificate` with `finished`.
    """

    certificate: str
    sha256: str
    conversations: int = 0
    tombstones: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    key: KeyReference | None = None
    finished: bool = False


#: Ages in seconds, by what expires.
Retention: TypeAlias = Mapping[Expirable, int]
#: The instants before which nothing is kept any more, by what expires.
Floors: TypeAlias = Mapping[Expirable, Instant]
NO_FLOORS: Final[Floors] = MappingProxyType({})
