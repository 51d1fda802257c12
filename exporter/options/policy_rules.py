"""Reads the rules of a policy file: which column or path each is about, and whether its action suits it."""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final, get_args

from exporter.contract import ALWAYS_FIELDS, FIELDS, RECORDING_FIELD, RECORDING_URL, Field, Kind
from exporter.encode.protect.paths import Segment, Step, parse_path
from exporter.encode.protect.values import normaliser
from exporter.errors import UsageError
from exporter.options.toml import Node
from exporter.privacy import Action, Rule
from exporter.words import any_of, did_you_mean

#: The columns that no rule may change: the order, the merge, the audit and the proof rest on them.
UNTOUCHABLE: Final = (*ALWAYS_FIELDS, "organization_id")
#: The pattern that stands for what `[entities]` finds.
ENTITIES: Final = "entities"
ALL: Final = "all"

_ACTIONS: Final = get_args(Action)
_AGENT_MEMBERS: Final = ("id", "name")
_DETAILS: Final[dict[str, tuple[str, ...]]] = {
    "hash": ("normalise",),
    "mask": ("keep",),
    "redact": ("everywhere", "inside"),
    "round": (),
}
_MOST_KEPT: Final = 12
_NORMALISATIONS: Final = ("lower", "trim", "digits")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_PATHS: Final = 'write column, column.member, column."a.b", column.**.member or column.items[*].member'
_FURTHEST: Final = 2**31 - 1


class Target(Enum):
    """Names the kind of value that a rule is about, with the actions that suit it."""

    TEXT = ("keep", "drop", "hash", "mask", "redact")
    INTEGER = ("keep", "drop", "round")
    JSON = ("keep", "drop", "redact")
    MEMBER = ("keep", "drop", "hash", "mask", "redact", "round")
    LINK = (*MEMBER, "no-query")
    OTHER = ("keep", "drop")


_WORDS: Final = {
    Target.TEXT: "a text",
    Target.INTEGER: "an integer",
    Target.JSON: "a whole JSON value",
    Target.MEMBER: "a member that is no link to a recording",
    Target.LINK: "the link to a recording",
    Target.OTHER: "a value that is neither a text nor an integer",
}
_OF_KIND: Final = {
    Kind.STRING: Target.TEXT,
    Kind.INTEGER: Target.INTEGER,
    Kind.TIMESTAMP: Target.OTHER,
    Kind.AGENT: Target.OTHER,
    Kind.JSON: Target.JSON,
}


def steps_of(path: str) -> tuple[Segment, ...]:
    """Returns a path as its steps, the column first. Raises `UsageError` for what is no path."""
    column, steps = parse_path(path)
    return column, *steps


def may_meet(one: Sequence[Segment], other: Sequence[Segment]) -> bool:
    """Returns whether two paths, as steps, may lead to the same value."""
    if not one or not other:
        return all(step is Step.DEPTH for step in (*one, *other))
    if one[0] is Step.DEPTH:
        return may_meet(one[1:], other) or may_meet(one, other[1:])
    if other[0] is Step.DEPTH:
        return may_meet(other, one)
    return one[0] == other[0] and may_meet(one[1:], other[1:])


def are_equal(one: Sequence[Segment], other: Sequence[Segment]) -> bool:
    """Returns whether two paths may lead to the same value, and neither comes before the other there.

    That with more names comes first, and then that with fewer `**`. A path to an array is one to its items.
    """
    ranks = [(sum(isinstance(step, str) for step in each), each.count(Step.DEPTH)) for each in (one, other)]
    return ranks[0] == ranks[1] and may_meet(_of_items(one), _of_items(other))


def _of_items(steps: Sequence[Segment]) -> Sequence[Segment]:
    while steps[-1] is Step.ELEMENT:
        steps = steps[:-1]
    return steps


def read_rules(table: Node, known_patterns: tuple[str, ...]) -> dict[str, Rule]:
    """Returns the rules of `[conversations]`, by column or path. `known_patterns` are in the order of `all`.

    Raises `UsageError` for a rule that has no clear meaning.
    """
    known = {field.name: field for field in FIELDS}
    rules: dict[str, Rule] = {}
    read: dict[str, tuple[Segment, ...]] = {}
    for path, node in table.members().items():
        try:
            steps = steps_of(path)
        except UsageError as error:
            raise node.error(f"no path: {_PATHS}") from error
        target = _target(node, steps, known)
        rules[path] = _read_rule(node, target, known_patterns)
        for other, theirs in read.items():
            if are_equal(steps, theirs):
                raise node.error(f"may be the same value as {other}, which would have two rules. Leave one of them out")
            dropped, inner = (other, path) if len(theirs) == 1 else (path, other)
            if steps[0] == theirs[0] and {len(steps), len(theirs)} > {1} and rules[dropped].action == "drop":
                raise node.error(f"{dropped} is dropped whole, so a rule for {inner} has nothing to do. Leave it out")
        read[path] = steps
    return rules


def _target(node: Node, steps: tuple[Segment, ...], known: Mapping[str, Field]) -> Target:
    column = str(steps[0])
    if column in UNTOUCHABLE:
        raise node.error(f"{', '.join(UNTOUCHABLE)} take no rule: what is read, merged and proven rests on them")
    if column == "extra":
        raise node.error('fields that the API adds are kept or dropped together: write extra = "drop" in [defaults]')
    if column not in known:
        near = did_you_mean(column, known) or f" The columns are {', '.join(known)}"
        raise node.error(f"there is no such column.{near}")
    kind = known[column].kind
    if len(steps) == 1:
        return _OF_KIND[kind]
    if kind is Kind.AGENT:
        if steps[1:] not in {(member,) for member in _AGENT_MEMBERS}:
            raise node.error(f"{column} has only {any_of([f'{column}.{member}' for member in _AGENT_MEMBERS])}")
        return Target.TEXT
    if kind is not Kind.JSON:
        raise node.error(f"{column} is neither JSON nor a struct, so it has no paths. Give it a rule as a whole")
    return Target.LINK if column == RECORDING_FIELD and steps[-1] == RECORDING_URL else Target.MEMBER


def read_turns_rules(table: Node, known_patterns: tuple[str, ...]) -> dict[str, Rule]:
    """Returns the rules of `[turns]`, by column. Raises `UsageError`, for a path also."""
    import pyarrow as pa

    from exporter.encode.schema import turns_schema

    schema = turns_schema()
    fixed, as_json = schema.names[:3], ("content", "other_metrics", "extra")
    rules: dict[str, Rule] = {}
    for name, node in table.members().items():
        if name in fixed:
            raise node.error(f"{', '.join(fixed)} take no rule: a turn is found by them")
        if name not in schema.names:
            near = "" if "." in name else did_you_mean(name, schema.names)
            near = near or " Rules for what is in a transcript belong in [conversations]"
            raise node.error(f"turns has no such column.{near}")
        is_text = schema.field(name).type == pa.string()
        target = Target.JSON if name in as_json else Target.TEXT if is_text else Target.OTHER
        rules[name] = _read_rule(node, target, known_patterns)
    return rules


def _read_rule(node: Node, target: Target, known_patterns: tuple[str, ...]) -> Rule:
    if isinstance(node.value, str):
        action = node.choice([*(each for each in _ACTIONS if each not in _DETAILS), *_DETAILS])
        if action in _DETAILS:
            raise node.error(f"{action} needs its details: write {_EXAMPLES[action]}")
        _check_suits(node, action, target)
        return Rule(action=action)  # type: ignore[arg-type]  # one of _ACTIONS
    members = node.members('a rule: "drop", "keep", "no-query", or a table such as { hash = "person" }')
    actions = [key for key in members if key in _DETAILS]
    inside = [key for key in members if (*node.place, key) in node.document.dotted]
    if inside or (not actions and any(isinstance(member.value, dict) for member in members.values())):
        raise node.error(f'a path is written in quotes: "{node.place[-1]}.{next(iter([*inside, *members]))}" = …')
    if len(actions) != 1:
        known = (*_DETAILS, *(detail for details in _DETAILS.values() for detail in details))
        node.table(known)
        raise node.error(f"must have one action of {any_of([*_DETAILS])}, and has {', '.join(actions) or 'none'}")
    action = actions[0]
    node.table((action, *_DETAILS[action]))
    _check_suits(node, action, target)
    return _READERS[action](members, target=target, known_patterns=known_patterns)


def _check_suits(node: Node, action: str, target: Target) -> None:
    if action not in target.value:
        raise node.error(f"{action} does not suit {_WORDS[target]}. Here a rule is {any_of(target.value)}")


def _read_hash(members: Mapping[str, Node], target: Target, known_patterns: tuple[str, ...]) -> Rule:
    domain = members["hash"].text()
    if not _DOMAIN.fullmatch(domain):
        raise members["hash"].error("a domain has up to 32 letters, digits, - and _")
    normalise = [_normalisation(item) for item in members["normalise"].items()] if "normalise" in members else []
    return Rule(action="hash", domain=domain, normalise=tuple(normalise))


def _normalisation(node: Node) -> str:
    try:
        normaliser(node.text())
    except UsageError as error:
        what = str(error).removeprefix(f"normalise {node.value}: ")
        raise node.error(f"{what}.{did_you_mean(node.value, _NORMALISATIONS)}".rstrip(".")) from error
    return node.text()


def _read_mask(members: Mapping[str, Node], target: Target, known_patterns: tuple[str, ...]) -> Rule:
    members["mask"].choice(("phone",))
    return Rule(action="mask", keep=members["keep"].number(0, _MOST_KEPT) if "keep" in members else 4)


def _read_redact(members: Mapping[str, Node], target: Target, known_patterns: tuple[str, ...]) -> Rule:
    node = members["redact"]
    everywhere = "everywhere" in members and members["everywhere"].flag()
    inside = members["inside"].choice(("text", "json")) if "inside" in members else "text"
    if target is Target.JSON and not everywhere:
        raise node.error("the column is JSON: add everywhere = true, or name paths in it")
    if target is Target.TEXT and everywhere:
        raise members["everywhere"].error("this is a text, and no JSON value with texts in it. Leave it out")
    patterns = known_patterns if node.value == ALL else tuple(_pattern(each, known_patterns) for each in _names(node))
    if len({*patterns}) != len(patterns):
        raise node.error("names a pattern twice")
    return Rule(action="redact", patterns=patterns, everywhere=everywhere, inside=inside)  # type: ignore[arg-type]


def _names(node: Node) -> list[Node]:
    if isinstance(node.value, str):
        return [node]
    names = node.items()
    if not names:
        raise node.error(f'must name a pattern, or be "{ALL}"')
    return names


def _pattern(node: Node, known_patterns: tuple[str, ...]) -> str:
    name = node.text()
    if name in known_patterns:
        return name
    if name == ENTITIES:
        raise node.error("needs the table [entities], which says how they are found")
    if name == ALL:
        raise node.error(f'"{ALL}" stands alone: write redact = "{ALL}"')
    known = ", ".join(known_patterns)
    near = did_you_mean(name, known_patterns) or f" There are {known}; [patterns.NAME] defines another"
    raise node.error(f"there is no such pattern.{near}")


def _read_round(members: Mapping[str, Node], target: Target, known_patterns: tuple[str, ...]) -> Rule:
    return Rule(action="round", to=members["round"].number(2, _FURTHEST))


_READERS: Final[dict[str, Callable[..., Rule]]] = {
    "hash": _read_hash,
    "mask": _read_mask,
    "redact": _read_redact,
    "round": _read_round,
}
_EXAMPLES: Final = {
    "hash": '{ hash = "person" }',
    "mask": '{ mask = "phone", keep = 4 }',
    "redact": '{ redact = "all" }',
    "round": "{ round = 60 }",
}
