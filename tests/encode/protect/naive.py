"""Applies rules to JSON in the most obvious way, one value at a time: what the engine must come to."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exporter.encode.protect.paths import Segment, Step, parse_path
from exporter.privacy import Rule

#: What one policy says about one column: the actions on texts, by path, with their rules.
Naive = dict[str, tuple[Rule, Callable[[str], str]]]
_Path = tuple[str | int, ...]
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Pairs(list[tuple[str, Any]]):
    """Holds the members of an object, with those that have the same key."""


@dataclass(frozen=True)
class Number:
    """Holds a number as it is written."""

    text: str


class _Gone:
    """Stands for a value that is dropped."""


GONE: Final = _Gone()


def parse(text: str) -> Any:
    """Returns a JSON value with all that its text says."""
    return json.loads(
        text, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=Number, strict=False
    )


def protected(rules: Naive, value: Any) -> Any:
    """Returns what the rules leave of the value of a column; `GONE` if nothing."""
    targets = [(path, parse_path(path)[1], *rules[path]) for path in rules]
    return _protected(targets, value, ())


def _protected(targets: Sequence[tuple[str, tuple[Segment, ...], Rule, Any]], value: Any, at: _Path) -> Any:
    matching = [target for target in targets if _is_for(target[1], target[2], at)]
    _, steps, rule, act = max(matching, key=_rank, default=("", (), Rule(action="keep"), str))
    is_deep = rule.action == "redact" or steps[-1:] == (Step.DEPTH,)
    if not matching and value is not None and _is_in_the_way(targets, value, at):
        return GONE
    if rule.action == "drop":
        return GONE
    if isinstance(value, Pairs):
        if rule.action != "keep" and not is_deep:
            return GONE
        members = Pairs()
        for key, member in value:
            new = _protected(targets, member, (*at, key))
            if new is not GONE:
                members.append((act(key) if rule.everywhere else key, new))
        return members
    if isinstance(value, list):
        elements = [_protected(targets, element, (*at, number)) for number, element in enumerate(value)]
        return [None if element is GONE else element for element in elements]
    if rule.action == "keep" or value is None:
        return value
    if isinstance(value, Number):
        if is_deep and value.text in ("NaN", "Infinity", "-Infinity"):
            return value
        if _NUMBER.fullmatch(value.text) is None or rule.action == "no-query":
            return GONE
        if rule.action == "redact" and re.search("[.eE]", value.text):
            return value
        new = act(value.text)
        return value if new == value.text else new
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return GONE
        return _inside(value, act) if rule.inside == "json" else act(value)
    return value if is_deep else GONE


def _inside(text: str, act: Callable[[str], str]) -> Any:
    if re.match(r'[ \t\r\n]*[\[{"]', text) is None:
        return act(text)
    try:
        value = parse(text)
    except ValueError:
        return None if "\\" in text else act(text)
    rule = Rule(action="redact", everywhere=True)
    new = _protected([("", (), rule, act)], value, ())
    return text if new == value else render(new)


def render(value: Any) -> str:
    """Returns the JSON text of a value that was parsed."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{render(member)}" for key, member in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(render, value)) + "]"
    return value.text if isinstance(value, Number) else json.dumps(value)


def _rank(target: tuple[str, tuple[Segment, ...], Rule, Any]) -> Any:
    path, steps, _, _ = target
    return sum(isinstance(step, str) for step in steps), -steps.count(Step.DEPTH), len(steps), path


def _is_for(steps: tuple[Segment, ...], rule: Rule, at: _Path) -> bool:
    if _leads(steps, at):
        return True
    if not at:
        return False
    is_deep = rule.action == "redact" or steps[-1:] == (Step.DEPTH,) or rule.action == "keep"
    return (is_deep or isinstance(at[-1], int)) and _is_for(steps, rule, at[:-1])


def _is_in_the_way(targets: Sequence[tuple[str, tuple[Segment, ...], Rule, Any]], value: Any, at: _Path) -> bool:
    wanted: set[type] = set()
    for _, steps, rule, _ in targets:
        done, rest = steps[: len(at)], steps[len(at) :]
        if rest and Step.DEPTH not in (*done, rest[0]) and rule.action != "keep" and _leads(done, at):
            wanted.add(Pairs if isinstance(rest[0], str) else list)
    return bool(wanted) and type(value) not in wanted


def _leads(steps: tuple[Segment, ...], at: _Path) -> bool:
    if not steps:
        return not at
    step, *rest = steps
    if step is Step.DEPTH:
        return any(_leads(tuple(rest), at[skipped:]) for skipped in range(len(at) + 1))
    if not at:
        return False
    fits = isinstance(at[0], int) if step is Step.ELEMENT else at[0] == step
    return fits and _leads(tuple(rest), at[1:])
