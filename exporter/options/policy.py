"""Reads a policy file (`exporter help policy`): what becomes of personal data, and how parts are encrypted."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Literal, cast, get_args

import msgspec
from msgspec.structs import replace

from exporter.contract import FIELD_NAMES, TRANSCRIPT_FIELD
from exporter.encode.protect.patterns import BUILT_IN
from exporter.errors import UsageError
from exporter.model import TURNS
from exporter.options.policy_rules import ALL, ENTITIES, read_rules, read_turns_rules, steps_of
from exporter.options.toml import Node, read_toml
from exporter.privacy import (
    Encryption,
    EncryptionMode,
    Entities,
    KeyReference,
    Pattern,
    PatternCheck,
    Policy,
    Recordings,
)
from exporter.words import did_you_mean

VERSION: Final = 1
#: The columns that hold personal data, or may: a policy had better say something about each.
PERSONAL: Final = (
    "user_id",
    "agent_number",
    "agent",
    "summary",
    "initial_context",
    "custom_metadata",
    TRANSCRIPT_FIELD,
    "recording_details",
)

_SECTIONS: Final = (
    *("version", "key", "recordings", "defaults", "conversations", TURNS),
    *("patterns", "entities", "encryption"),
)
_KEY_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PATTERN_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ENTITY_KEYS: Final = ("engine", "language", "model", "types")
_ENTITY: Final = re.compile(r"[A-Z][A-Z_]{0,31}")
#: Expressions around another, each with a text that they match only if the other matches an empty text somewhere.
_EMPTY: Final = (("(?:{})", ""), ("^(?:{})a$", "a"), ("^a(?:{})$", "a"), ("^a(?:{})a$", "aa"), ("^a(?:{}) $", "a "))


class PolicyFile(msgspec.Struct, frozen=True):
    """Holds what a policy file says. Without `[encryption]`, parts are not encrypted."""

    policy: Policy
    encryption: Encryption | None


def load_policy(path: Path) -> PolicyFile:
    """Returns what a policy file says, with every pattern in full, so that the value carries its whole meaning.

    The check of a key is empty, because no key is looked for. Raises `UsageError`, which names line and column.
    """
    root = read_toml(path)
    members = root.table(_SECTIONS)
    if "version" not in members:
        raise root.error(f"must begin with version = {VERSION}")
    if members["version"].value != VERSION or isinstance(members["version"].value, bool):
        raise members["version"].error(f"must be {VERSION}; a newer exporter may know others")
    own = _read_patterns(members["patterns"]) if "patterns" in members else {}
    entities = _read_entities(members["entities"]) if "entities" in members else None
    known = (*own, *BUILT_IN, *((ENTITIES,) if entities else ()))
    rules = read_rules(members["conversations"], known) if "conversations" in members else {}
    turns = read_turns_rules(members[TURNS], known) if TURNS in members else {}
    named = {name for rule in (*rules.values(), *turns.values()) for name in rule.patterns}
    encryption = _read_encryption(members["encryption"]) if "encryption" in members else None
    defaults = members["defaults"].table(("extra", "quarantine", "odd")) if "defaults" in members else {}
    recordings = _read_recordings(members)
    if encryption is not None and recordings is not None:
        encryption = replace(encryption, recordings=recordings)
    policy = Policy(
        version=VERSION,
        rules=rules,
        turns=turns,
        patterns={name: pattern for name, pattern in {**own, **BUILT_IN}.items() if name in named},
        extra=cast(Literal["drop", "keep"], _default(defaults, "extra", ("drop", "keep"))),
        quarantine=_read_quarantine(defaults),
        odd=cast(Literal["drop"], _default(defaults, "odd", ("drop",))),
        entities=entities if ENTITIES in named else None,
        key=_read_key(members["key"]) if "key" in members else None,
        recordings=recordings,
    )
    if policy.needs_key and policy.key is None:
        raise _missing_key(root, members, policy)
    return PolicyFile(policy, encryption)


def dropped_columns(policy: Policy) -> frozenset[str]:
    """Returns the columns that are dropped whole: the API is not asked for them."""
    return frozenset(path for path, rule in policy.rules.items() if rule.action == "drop" and path in FIELD_NAMES)


def check_policy(policy: Policy, tables: Collection[str] | None, fields: Collection[str] | None) -> None:
    """Raises `UsageError` if a policy does not go with the `tables` and `fields` of a request; None means the usual."""
    if TURNS not in (tables or ()) or (fields is not None and TRANSCRIPT_FIELD not in fields):
        return
    for path, rule in policy.rules.items():
        if rule.action not in ("keep", "redact") and _holds_turns(path):
            raise UsageError(
                f'the policy has "{path}" = "{rule}", and the table {TURNS} is made of the transcript: its rows would '
                f'vanish. Leave {TURNS} out of --tables, or redact "conversation.items[*].content"'
            )


def _holds_turns(path: str) -> bool:
    *steps, last = [step for step in steps_of(path) if isinstance(step, str)]
    return (*steps, last) in ((TRANSCRIPT_FIELD,), (TRANSCRIPT_FIELD, "items"))


def _default(defaults: Mapping[str, Node], name: str, choices: tuple[str, ...]) -> str:
    return defaults[name].choice(choices) if name in defaults else choices[0]


def _read_quarantine(defaults: Mapping[str, Node]) -> Literal["withhold", "keep"]:
    node = defaults.get("quarantine")
    if node is not None and node.value == "encrypt":
        raise node.error(
            'rows that fit no column are encrypted with all others, if [encryption] is there. Write "withhold", or '
            '"keep" to have them as served'
        )
    return cast(Literal["withhold", "keep"], _default(defaults, "quarantine", ("withhold", "keep")))


def _read_recordings(members: Mapping[str, Node]) -> Recordings | None:
    """Returns what is said of audio, above all tables or in `[encryption]`; None if nothing is."""
    above = members.get("recordings")
    inside = members["encryption"].members().get("recordings") if "encryption" in members else None
    if above is not None and above.value == "encrypted":
        raise above.error('above all tables, this can only be "plain". What encrypts audio is [encryption]')
    said = None if above is None else above.choice(("plain",))
    choice = None if inside is None else inside.choice(get_args(Recordings))
    if above is not None and choice == "encrypted":
        raise above.error('[encryption] says "encrypted" of the same recordings. Leave one of the two out')
    return cast(Recordings | None, said or choice)


def _missing_key(root: Node, members: Mapping[str, Node], policy: Policy) -> UsageError:
    for section, rules in (("conversations", policy.rules), (TURNS, policy.turns)):
        for path, rule in rules.items():
            if rule.needs_key:
                return members[section].members()[path].error(f"{rule.action} needs a key: {_KEY_ADVICE}")
    return members.get("defaults", root).error(
        "rows that fit no column are withheld, and named by a keyed hash, which needs a key. "
        f'Write quarantine = "keep" in [defaults] to have them as served, or {_KEY_ADVICE}'
    )


_KEY_ADVICE: Final = 'write key = { env = "EXPORTER_PRIVACY_KEY", name = "k1" } at the top of the file'


def _read_key(node: Node) -> KeyReference:
    if not isinstance(node.value, dict):
        raise node.error('a key never stands in a policy. Say where it lies: { env = "VARIABLE", name = "k1" }')
    members = node.table(("env", "file", "name"), ("name",))
    places = [name for name in ("env", "file") if name in members]
    if len(places) != 1:
        raise node.error("must have one of env (a variable) and file (the path of a file of mode 0600)")
    name = members["name"].text()
    if not _KEY_NAME.fullmatch(name):
        raise members["name"].error("the name of a key has up to 16 letters, digits, - and _")
    place = members[places[0]].text()
    if places == ["env"]:
        if not _VARIABLE.fullmatch(place):
            raise members["env"].error("not the name of a variable. Give its name alone, never the key itself")
        return KeyReference(name=name, env=place)
    if not Path(place).is_absolute():
        raise members["file"].error("must be a whole path, because later runs may start in another directory")
    return KeyReference(name=name, file=place)


def _read_patterns(table: Node) -> dict[str, Pattern]:
    patterns: dict[str, Pattern] = {}
    for name, node in table.members().items():
        if name in (*BUILT_IN, ALL, ENTITIES):
            raise node.error("this pattern is built in. Give yours another name")
        if not _PATTERN_NAME.fullmatch(name):
            raise node.error("the name of a pattern has up to 32 small letters, digits and -, a letter first")
        members = node.table(("regex", "to", "check"), ("regex", "to"))
        _check_regex(members["regex"])
        if "\\" in members["to"].text():
            raise members["to"].error("must have no backslash: the text is written as it is")
        check = members["check"].choice(get_args(PatternCheck)) if "check" in members else "none"
        patterns[name] = Pattern(
            regex=members["regex"].text(), to=members["to"].text(), check=cast(PatternCheck, check)
        )
    return patterns


def _check_regex(node: Node) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    regex = node.text()
    try:
        pc.match_substring_regex(pa.array([""]), regex)
        matches_empty = any(
            pc.match_substring_regex(pa.array([text]), around.replace("{}", regex)).to_pylist()[0]
            for around, text in _EMPTY
        )
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        raise node.error(
            f"RE2 does not take it: {reason}. It knows no look-around and no back-references, and \\d is ASCII alone "
            "(\\p{Nd} is every digit)"
        ) from error
    if matches_empty:
        raise node.error("matches an empty text, so it would be found everywhere. Let it need a character")


def _read_entities(node: Node) -> Entities:
    members = node.table(_ENTITY_KEYS, _ENTITY_KEYS)
    members["engine"].choice(("presidio",))
    types = members["types"].items()
    if not types:
        raise members["types"].error('must name a type, such as "PERSON"')
    for each in types:
        if not _ENTITY.fullmatch(each.text()):
            raise each.error('a type is written in capital letters, such as "PERSON" or "LOCATION"')
    return Entities(
        engine="presidio",
        language=members["language"].text(),
        model=members["model"].text(),
        types=tuple(each.text() for each in types),
    )


def _read_encryption(node: Node) -> Encryption:
    members = node.table(("mode", "key", "plain_columns", "recordings"), ("key",))
    mode = members["mode"].choice(get_args(EncryptionMode)) if "mode" in members else "uniform"
    plain = members.get("plain_columns")
    if plain is not None and mode != "columns":
        raise plain.error('belongs to mode = "columns": uniform encrypts everything')
    if plain is None and mode == "columns":
        raise node.error("plain_columns is missing here: columns that can be read without the key, the others cannot")
    return Encryption(
        mode=cast(EncryptionMode, mode),
        key=_read_key(members["key"]),
        plain_columns=_read_plain_columns(plain) if plain else (),
    )


def _read_plain_columns(node: Node) -> tuple[str, ...]:
    from exporter.encode.recordings import recordings_schema
    from exporter.encode.schema import arrow_schema, turns_schema

    known = {*arrow_schema(None).names, *turns_schema().names, *recordings_schema().names}
    for each in node.items():
        if each.text() not in known:
            near = did_you_mean(each.text(), sorted(known)) or f" Those of conversations are {', '.join(FIELD_NAMES)}"
            raise each.error(f"there is no such column.{near}")
    return tuple(dict.fromkeys(each.text() for each in node.items()))
