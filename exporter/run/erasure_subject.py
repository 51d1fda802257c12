"""Decides by which values somebody is found, as they are stored, and with which key it is remembered. Pure."""

from collections.abc import Sequence

import msgspec

from exporter.encode.protect.protector import Protector
from exporter.encode.schema import arrow_schema
from exporter.errors import UsageError
from exporter.keys import PRIVACY_VARIABLE, Key, Keys, with_check
from exporter.log.privacy import Privacy
from exporter.parts.subjects import Stored, Subject, as_served, steps_of
from exporter.privacy import KeyReference, Policy, Rule
from exporter.settings import Request

#: The name of a key that no policy names.
_KEY_NAME = "k1"
_TIMES = ("created_at", "updated_at")


def erasure_key(privacy: Privacy, keys: Keys) -> tuple[Key, KeyReference]:
    """Returns the key of an export's tombstones, and what the log says of it. Raises `ProtectionError` if it is not
    here."""
    reference = privacy.erasure_key
    if reference is None and privacy.policy is not None:
        reference = privacy.policy.key
    if reference is None:
        reference = KeyReference(name=_KEY_NAME, env=PRIVACY_VARIABLE)
    key = keys.privacy(reference)
    return key, with_check(reference, key)


def stored_form(privacy: Privacy, keys: Keys) -> Stored:
    """Returns what makes of a served value what the export stores of it: its keyed hash where the policy hashes it.

    Raises `ProtectionError` if that needs a key which is not here.
    """
    policy = privacy.policy
    if policy is None or not any(rule.action == "hash" for rule in policy.rules.values()):
        return as_served
    hashes = {path: rule for path, rule in policy.rules.items() if rule.action == "hash"}
    only = msgspec.structs.replace(policy, rules=hashes, turns={}, quarantine="keep")
    protector = Protector(only, None if policy.key is None else keys.privacy(policy.key))

    def stored(by: str, value: str) -> str:
        hashed = protector.hashed(by, value)
        return value if hashed is None else hashed

    return stored


def subject_of_values(
    request: Request, privacy: Privacy, keys: Keys, by: str, values: Sequence[str], *, digits: bool
) -> Subject:
    """Returns whose rows are to be found, by values as they are stored.

    Raises `UsageError` for a column that there is not, or whose stored values would find others as well.
    """
    subject = Subject.of(by, values, digits=digits)
    names = arrow_schema(request.fields).names
    if subject.column not in names:
        raise UsageError(f"--by {by}: the export has no column {subject.column}; it has {', '.join(names)}")
    if subject.column in _TIMES:
        raise UsageError(f"--by {by}: a time belongs to nobody; give a column that does")
    rule = None if privacy.policy is None else ruling(privacy.policy, by)
    if rule is None:
        return subject
    if rule.action != "hash":
        raise UsageError(f"--by {by}: {_why_not(rule)}. Find the ids of the conversations, and give them with --id")
    if digits:
        raise UsageError(f"--by {by}: the policy hashes it, and a hash has no digits to compare: leave --digits out")
    stored = stored_form(privacy, keys)
    return Subject(by, frozenset(stored(by, value) for value in values))


def ruling(policy: Policy, by: str) -> Rule | None:
    """Returns the rule of a policy that changes what is stored at a path, or around or below it; None if none does."""
    steps = steps_of(by)
    for path, rule in policy.rules.items():
        if rule.action == "keep":
            continue
        ruled = steps_of(path)
        shorter = min(len(steps), len(ruled))
        is_deep = ruled[0] == steps[0] and "**" in ruled
        if is_deep or all(
            _may_be_same(one, other) for one, other in zip(steps[:shorter], ruled[:shorter], strict=True)
        ):
            return rule if len(steps) == len(ruled) or rule.action != "hash" else Rule(action="redact")
    return None


def _may_be_same(one: str, other: str) -> bool:
    return one == other or "*" in (one, other) or ("[*]" in (one, other) and one[0] == other[0] == "[")


def _why_not(rule: Rule) -> str:
    match rule.action:
        case "mask":
            return f"the policy keeps {rule.keep} digits of it: they would erase others as well"
        case "drop":
            return "the policy drops it, so that nothing of it is stored"
    return f"the policy changes what is stored of it ({rule.action}), so that values cannot be found"
