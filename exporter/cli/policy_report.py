"""Says in words, and as one object, what a policy means and what it did to rows. No value of a row is ever shown."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.contract import FIELD_NAMES
from exporter.encode.protect.patterns import BUILT_IN
from exporter.keys import Key, with_check
from exporter.model import CONVERSATIONS, TURNS
from exporter.options.policy import PERSONAL, PolicyFile, dropped_columns
from exporter.privacy import KeyReference, Pattern, Policy, Rule
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.policy import Trial


def describe_policy(
    loaded: PolicyFile, file: Path, key: Key | None, why_no_key: str, why_no_entities: str, trial: "Trial | None"
) -> list[str]:
    """Returns lines for people: each rule, the patterns, what else holds, and what is worth a look."""
    policy = loaded.policy
    rules = len(policy.rules) + len(policy.turns)
    lines = [f"{file}: {count_of(rules, 'rule')}, {count_of(len(policy.patterns), 'pattern')}, nothing wrong"]
    for table, of_table in ((CONVERSATIONS, policy.rules), (TURNS, policy.turns)):
        if of_table:
            rows = [(path, rule.action, describe_rule(rule)) for path, rule in of_table.items()]
            lines += ["", *_columns([(table, "action", "detail"), *rows])]
    if policy.patterns:
        found = [(name, each.to, _describe_pattern(name, each)) for name, each in policy.patterns.items()]
        lines += ["", *_columns([("pattern", "becomes", "finds"), *found])]
    lines += ["", *_columns(_settings(loaded, key, why_no_key, why_no_entities))]
    if trial is not None:
        lines += ["", *_describe_trial(trial)]
    return [*lines, *(f"warning: {warning}" for warning in _warnings(policy, why_no_entities, trial))]


def policy_figures(
    loaded: PolicyFile, file: Path, key: Key | None, why_no_entities: str, trial: "Trial | None"
) -> dict[str, Any]:
    """Returns the same for programs. `fingerprint` is null unless all is here that it depends on: the key, and what
    finds entities."""
    policy, encryption = loaded.policy, loaded.encryption
    return {
        "file": str(file),
        "fingerprint": None if why_no_entities else _fingerprint(policy, key),
        "key": None if policy.key is None else {"name": policy.key.name, "is_here": key is not None},
        "rules": {path: str(rule) for path, rule in policy.rules.items()},
        "turns": {path: str(rule) for path, rule in policy.turns.items()},
        "patterns": msgspec.to_builtins(policy.patterns),
        "entities": _entities(policy, why_no_entities),
        "extra": policy.extra,
        "quarantine": policy.quarantine,
        "odd": policy.odd,
        "recordings": policy.recordings,
        "encryption": msgspec.to_builtins(encryption),
        "dropped_columns": sorted(dropped_columns(policy)),
        "without_rule": _without_rule(policy),
        "trial": None if trial is None else msgspec.to_builtins(trial),
    }


def describe_rule(rule: Rule) -> str:
    """Returns the details of a rule in words."""
    match rule.action:
        case "hash":
            after = f", after {', '.join(rule.normalise)}" if rule.normalise else ""
            return f"in the domain {rule.domain}{after}"
        case "mask":
            return "all digits and letters" + (f" except the last {count_of(rule.keep, 'digit')}" if rule.keep else "")
        case "redact":
            where = ", in every text and key" if rule.everywhere else ""
            return f"{', '.join(rule.patterns)}{where}{', in the JSON in the text' if rule.inside == 'json' else ''}"
        case "round":
            return f"to a multiple of {rule.to}"
    return ""


def _describe_pattern(name: str, pattern: Pattern) -> str:
    checked = "" if pattern.check == "none" else f", checked as {pattern.check}"
    return ("built in" if name in BUILT_IN else pattern.regex) + checked


def _settings(loaded: PolicyFile, key: Key | None, why_no_key: str, why_no_entities: str) -> Iterator[tuple[str, str]]:
    policy, encryption = loaded.policy, loaded.encryption
    yield "unknown fields", policy.extra
    yield "rows that fit no column", policy.quarantine
    yield "values that a rule cannot read", policy.odd
    audio = encryption.recordings if encryption is not None else policy.recordings
    if audio is not None:
        yield "recordings", {"encrypted": "encrypted", "plain": "plain: as they were served, not encrypted"}[audio]
    if (entities := policy.entities) is not None:
        yield "entities", f"{', '.join(entities.types)}, by {entities.engine} with {entities.version or entities.model}"
    if encryption is not None:
        plain = f", except {', '.join(encryption.plain_columns)}" if encryption.plain_columns else ""
        yield "encryption", f"{encryption.mode}{plain}, with {_place(encryption.key)}"
    if policy.key is not None:
        yield "key", f"{_place(policy.key)}{'' if key else f'; not read: {why_no_key}'}"
    fingerprint = _fingerprint(policy, key)
    missing = [*([] if fingerprint else ["the key"]), *(["what finds entities"] if why_no_entities else [])]
    known = fingerprint or policy.fingerprint
    yield "fingerprint", f"depends on {' and '.join(missing)}; without it, {known}" if missing else known


def _place(reference: KeyReference) -> str:
    where = f"the variable {reference.env}" if reference.env else f"the file {reference.file}"
    return f"{reference.name}, from {where}"


def _fingerprint(policy: Policy, key: Key | None) -> str | None:
    if policy.key is None:
        return policy.fingerprint
    return None if key is None else msgspec.structs.replace(policy, key=with_check(policy.key, key)).fingerprint


def _entities(policy: Policy, why_not: str) -> dict[str, Any] | None:
    entities = policy.entities
    if entities is None:
        return None
    return {**msgspec.to_builtins(entities), "version": entities.version or None, "is_here": not why_not}


def _describe_trial(trial: "Trial") -> Iterator[str]:
    aside = f", {trial.quarantined:,} of which fit no column" if trial.quarantined else ""
    yield f"{count_of(trial.rows, 'conversation')}{aside}; values that each rule was for, changed, and dropped as odd:"
    counts = [(path, f"{each.reached:,}", f"{each.changed:,}", f"{each.odd:,}") for path, each in trial.rules.items()]
    yield from _columns([("rule", "reached", "changed", "odd"), *counts])


def _warnings(policy: Policy, why_no_entities: str, trial: "Trial | None") -> Iterator[str]:
    if without := _without_rule(policy):
        yield (
            f"no rule for {', '.join(without)}: written as served, with the personal data in "
            f'{"it" if len(without) == 1 else "them"}. A rule "keep" says that this is meant'
        )
    if why_no_entities:
        yield f"a run with this policy would be refused here: {why_no_entities}"
        if trial is not None:
            yield "entities were not looked for in these conversations, so more may change than was counted"
    for path, each in ({} if trial is None else trial.rules).items():
        if not each.reached and path not in FIELD_NAMES:
            yield f"{path}: nothing lies there in these conversations; is it spelt right?"


def _without_rule(policy: Policy) -> list[str]:
    ruled = {path.partition(".")[0].partition("[")[0] for path in policy.rules}
    return [column for column in PERSONAL if column not in ruled]


def _columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns rows as lines, with two spaces before each and between the columns."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    ]
