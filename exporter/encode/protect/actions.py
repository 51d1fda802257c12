"""Makes, of a rule, what changes a whole array of texts."""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain
from typing import TypeAlias

import pyarrow as pa

from exporter.encode.protect.redaction import Recognizer, Redactor
from exporter.encode.protect.values import Hasher, mask, without_query
from exporter.errors import ProtectionError
from exporter.keys import Key
from exporter.privacy import Pattern, Policy, Rule

#: Returns as many texts as it is given; null stays null.
Action: TypeAlias = Callable[[pa.Array], pa.Array]

#: Changes something: yields once the texts that it needs changed, with what changes them, is sent the new ones, which
#: are the same arrays if nothing changes, and returns what it makes.
Work: TypeAlias = Generator[Sequence[tuple[Action, pa.Array]], Sequence[pa.Array], pa.Array]

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


def together(works: Sequence[Work]) -> list[pa.Array]:
    """Returns what all works make. What has the same action is done at once: each call costs as much as many texts."""
    asked = [next(work) for work in works]
    by_action: dict[Action, list[pa.Array]] = {}
    for action, texts in chain.from_iterable(asked):
        by_action.setdefault(action, []).append(texts)
    done = {action: iter(_all_at_once(action, arrays)) for action, arrays in by_action.items()}
    return [
        _result(work, [next(done[action]) for action, _ in requests])
        for work, requests in zip(works, asked, strict=True)
    ]


def _all_at_once(action: Action, arrays: Sequence[pa.Array]) -> list[pa.Array]:
    old = pa.concat_arrays(arrays)
    new = action(old)
    if new is old:
        return [*arrays]
    starts = accumulate(map(len, arrays), initial=0)
    return [new.slice(start, len(array)) for start, array in zip(starts, arrays, strict=False)]


def _result(work: Work, texts: Sequence[pa.Array]) -> pa.Array:
    try:
        work.send(texts)
    except StopIteration as end:
        return end.value
    raise AssertionError("a work yields once")
