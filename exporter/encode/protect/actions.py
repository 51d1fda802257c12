"""Makes, of a rule, what changes a whole array of texts."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import pyarrow as pa

from exporter.encode.protect.redaction import Recognizer, Redactor
from exporter.encode.protect.values import Hasher, mask, without_query
from exporter.errors import ProtectionError
from exporter.keys import Key
from exporter.privacy import Pattern, Policy, Rule

#: Returns as many texts as it is given; null stays null.
Action: TypeAlias = Callable[[pa.Array], pa.Array]

#: The pattern that stands for what a recognizer finds.
ENTITIES = "entities"


def action_of(rule: Rule, policy: Policy, key: Key | None, recognize: Recognizer | None) -> Action:
    """Returns what the rule does to texts. Raises `ProtectionError` if the key or the recognizer is missing."""
    match rule.action:
        case "hash":
            return partial(_on_distinct, Hasher(needed(key), rule.domain, rule.normalise).all)
        case "mask":
            return partial(_on_distinct, partial(_each, partial(mask, keep=rule.keep)))
        case "no-query":
            return partial(_on_distinct, partial(_each, without_query))
        case "redact":
            names = [name for name in rule.patterns if name != ENTITIES]
            if ENTITIES not in rule.patterns:
                return Redactor(_found(names, policy.patterns))
            if recognize is None:
                raise ProtectionError("a rule of the policy names entities, and nothing is there that finds them")
            return Redactor(_found(names, policy.patterns), recognize)
    return lambda texts: texts


def needed(key: Key | None) -> Key:
    """Returns the key. Raises `ProtectionError` if there is none."""
    if key is None:
        raise ProtectionError("the policy needs a key, and there is none. Set EXPORTER_PRIVACY_KEY")
    return key


def _found(names: Sequence[str], patterns: Mapping[str, Pattern]) -> list[Pattern]:
    if missing := [name for name in names if name not in patterns]:
        raise ProtectionError(f"the policy has no pattern {missing[0]}")
    return [patterns[name] for name in names]


def _each(change: Callable[[str], str], values: Sequence[str]) -> list[str]:
    return list(map(change, values))


def _on_distinct(change: Callable[[list[str]], list[str]], texts: pa.Array) -> pa.Array:
    encoded = texts.dictionary_encode()
    return pa.array(change(encoded.dictionary.to_pylist()), pa.string()).take(encoded.indices)
