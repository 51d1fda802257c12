"""Compares two policies: what differs, and whether one can follow the other where rows are stored. Pure.

Stored rows are never protected twice: what has become a hash would become the hash of a hash. So a policy can follow
another only with rules for what lies there as it was served, or by dropping more.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from exporter.contract import TRANSCRIPT_FIELD
from exporter.encode.protect.paths import Segment, Step, Target, parse_path
from exporter.privacy import Entities, Pattern, Policy, Rule

_KEEP: Final = Rule(action="keep")


def differences(stored: Policy, wanted: Policy) -> list[str]:
    """Returns in words what differs between two policies that do not mean the same; nothing if they do."""
    return [] if stored.fingerprint == wanted.fingerprint else list(_differences(stored, wanted))


def obstacles(stored: Policy | None, wanted: Policy) -> list[str]:
    """Returns in words why `wanted` cannot follow a stored policy (None: rows lie there as they were served)."""
    return [] if stored is None else list(_obstacles(stored, wanted))


def difference(stored: Policy | None, wanted: Policy) -> Policy:
    """Returns the policy that makes what `wanted` makes of served rows out of rows that `stored` was applied to.

    There must be no `obstacles`.
    """
    if stored is None:
        return wanted
    changed = _changed(stored.rules, wanted.rules)
    # What was done is not done again, and its rule still comes before a wider one.
    rules = {path: rule if path in changed else _KEEP for path, rule in wanted.rules.items()}
    return msgspec.structs.replace(wanted, rules=rules)


def takes_turns(policy: Policy) -> str | None:
    """Returns the path of a rule by which transcripts lose the items that turns are made of, if there is one."""
    for path, rule in policy.rules.items():
        column, steps = parse_path(path)
        inside = [step for step in steps if isinstance(step, str)]
        if column == TRANSCRIPT_FIELD and inside in ([], ["items"]) and rule.action not in ("keep", "redact"):
            return path
    return None


def is_inside(path: str, column: str) -> bool:
    """Returns whether a path leads into this column."""
    return path.startswith((f"{column}.", f"{column}["))


def _differences(stored: Policy, wanted: Policy) -> Iterator[str]:
    for table, ours, theirs in (("", stored.rules, wanted.rules), ("turns ", stored.turns, wanted.turns)):
        for path in dict.fromkeys((*ours, *theirs)):
            if ours.get(path) != theirs.get(path):
                yield _both(f"{table}{path}", _in_words(ours.get(path)), _in_words(theirs.get(path)))
    for name in dict.fromkeys((*stored.patterns, *wanted.patterns)):
        if stored.patterns.get(name) != wanted.patterns.get(name):
            found, asked = (_pattern(each.patterns.get(name)) for each in (stored, wanted))
            yield _both(f"pattern {name}", found, asked)
    yield from _entities(stored.entities, wanted.entities)
    for what in ("extra", "quarantine", "odd", "version"):
        if (found := getattr(stored, what)) != (asked := getattr(wanted, what)):
            yield _both(what, _plain(found), _plain(asked))
    names = [None if each.key is None else each.key.name for each in (stored, wanted)]
    if names[0] != names[1]:
        yield _both("key", names[0] or "none", names[1] or "none")


def _entities(stored: Entities | None, wanted: Entities | None) -> Iterator[str]:
    if stored is None or wanted is None:
        if stored is not wanted:
            yield _both("entities", *("none" if each is None else ", ".join(each.types) for each in (stored, wanted)))
        return
    for what in ("language", "model", "types", "version"):
        if (found := getattr(stored, what)) != (asked := getattr(wanted, what)):
            yield _both(f"entities.{what}", _plain(found), _plain(asked))


def _both(what: str, stored: str, wanted: str) -> str:
    return f"{what}: {stored} stored, {wanted} asked for"


def _in_words(rule: Rule | None) -> str:
    """Returns all of a rule in words."""
    if rule is None:
        return "no rule"
    more = [
        *(f"after {each}" for each in rule.normalise),
        *(["everywhere"] if rule.everywhere else []),
        *(["inside json"] if rule.inside == "json" else []),
    ]
    return f"{rule} ({', '.join(more)})" if more else str(rule)


def _pattern(pattern: Pattern | None) -> str:
    return "none" if pattern is None else f"{pattern.regex} to {pattern.to}"


def _plain(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else str(msgspec.to_builtins(value))


def _obstacles(stored: Policy, wanted: Policy) -> Iterator[str]:
    for table, ours, theirs in (("", stored.rules, wanted.rules), ("turns ", stored.turns, wanted.turns)):
        for path, rule in ours.items():
            new = theirs.get(path)
            if new != rule and _is_applied(rule) and not _is_dropped(path, theirs):
                yield _both(f"{table}{path}", _in_words(rule), _in_words(new))
    yield from _overlaps(stored.rules, wanted.rules)
    applied = [rule for rule in (*stored.rules.values(), *stored.turns.values()) if _is_applied(rule)]
    for name in sorted({name for rule in applied for name in rule.patterns} & wanted.patterns.keys()):
        if (found := stored.patterns.get(name)) != (asked := wanted.patterns[name]):
            yield _both(f"pattern {name}", _pattern(found), _pattern(asked))
    if stored.entities is not None:
        yield from _entities(stored.entities, wanted.entities)
    if stored.needs_key and wanted.needs_key and _key(stored) != _key(wanted):
        yield _both("key", *(f"{name} ({check})" for name, check in (_key(stored), _key(wanted))))
    for what, strict in (("extra", "drop"), ("quarantine", "withhold")):
        if (found := getattr(stored, what)) == strict != (asked := getattr(wanted, what)):
            yield _both(what, found, asked)


def _key(policy: Policy) -> tuple[str, str]:
    return ("none", "") if policy.key is None else (policy.key.name, policy.key.check)


def _overlaps(stored: Mapping[str, Rule], wanted: Mapping[str, Rule]) -> Iterator[str]:
    """Names rules for values that had another rule: new ones whose values a wider rule has changed, and old exceptions
    from a wider rule, which it has left alone."""
    new = {path: rule for path, rule in wanted.items() if stored.get(path) != rule and rule.action != "drop"}
    for path, rule in new.items():
        for wide in _wider(path, rule, stored):
            yield f"{path}: some of it is {_in_words(stored[wide])} already, by {wide}"
    left = {path: rule for path, rule in stored.items() if not (_is_applied(rule) or path in wanted)}
    for path, rule in left.items():
        for wide in _wider(path, rule, stored):
            if not _is_dropped(path, wanted):
                yield f"{path}: is kept, and {_in_words(stored[wide])} was not applied to it, by {wide}"


def _wider(path: str, rule: Rule, rules: Mapping[str, Rule]) -> Iterator[str]:
    """Returns the paths of rules that have changed values at a path, unless this has a rule of its own."""
    column, target = _target(path, rule)
    for other, theirs in rules.items():
        their_column, wide = _target(other, theirs)
        is_wider = _is_applied(theirs) and their_column == column and wide.rank < target.rank
        if is_wider and _may_meet(wide, target.steps):
            yield other


def _changed(stored: Mapping[str, Rule], wanted: Mapping[str, Rule]) -> set[str]:
    return {path for path, rule in wanted.items() if _is_applied(rule) and stored.get(path) != rule}


def _target(path: str, rule: Rule) -> tuple[str, Target]:
    column, steps = parse_path(path)
    return column, Target(path, steps, rule)


def _is_applied(rule: Rule | None) -> bool:
    return rule is not None and rule.action != "keep"


def _is_dropped(path: str, rules: Mapping[str, Rule]) -> bool:
    """Returns whether a path, or something that it lies in, is dropped."""
    return any(rule.action == "drop" and (path == each or is_inside(path, each)) for each, rule in rules.items())


def _may_meet(old: Target, steps: Sequence[Segment]) -> bool:
    """Returns whether a value at these steps may be one that the older rule is for."""
    return _meet(old.steps, steps, is_deep=old.is_deep)


def _meet(one: Sequence[Segment], other: Sequence[Segment], *, is_deep: bool) -> bool:
    if not one:
        # A rule for an array is for its elements.
        return is_deep or all(step in (Step.ELEMENT, Step.DEPTH) for step in other)
    if one[0] is Step.DEPTH:
        return _meet(one[1:], other, is_deep=is_deep) or (bool(other) and _meet(one, other[1:], is_deep=is_deep))
    if not other:
        return all(step is Step.ELEMENT for step in one)
    if other[0] is Step.DEPTH:
        return _meet(one, other[1:], is_deep=is_deep) or _meet(one[1:], other, is_deep=is_deep)
    return one[0] == other[0] and _meet(one[1:], other[1:], is_deep=is_deep)
