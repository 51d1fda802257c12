"""Decides by which values somebody is found, as they are stored, and with which key it is remembered. Pure."""

from collections.abc import Sequence

import msgspec

from exporter.encode.protect.paths import parse_path, routes_of, rule_at
from exporter.encode.protect.protector import Protector
from exporter.encode.protect.withheld import tag_of
from exporter.encode.schema import EXTRA, arrow_schema
from exporter.errors import ProtectionError, UsageError
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
    try:
        key = keys.privacy(reference)
    except ProtectionError as error:
        if privacy.erasures:
            raise ProtectionError(
                f"{error}.\nThe key of the first erasure is that of all later ones, because the log knows who was "
                "erased by its hashes alone"
            ) from error
        raise
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
        # Only one value has one hash: what `*` finds was refused where a rule hashes it.
        hashed = None if _is_wide(by) else protector.hashed(_path_of(by), value)
        return value if hashed is None else hashed

    return stored


def subject_of_values(
    request: Request, privacy: Privacy, keys: Keys, by: str, values: Sequence[str], *, digits: bool
) -> Subject:
    """Returns whose rows are to be found, by values as they are stored.

    Raises `UsageError` for a column that there is not, or whose stored values would find others as well.
    """
    subject, policy = Subject.of(by, values, digits=digits), privacy.policy
    rule = None if policy is None else ruling(policy, by)
    if rule is not None and rule.action != "hash":
        raise UsageError(f"--by {by}: {_why_not(rule)}. Find the ids of the conversations, and give them with --id")
    names = arrow_schema(request.fields).names
    if subject.column not in names:
        raise UsageError(f"--by {by}: the export has no column {subject.column}; it has {', '.join(names)}")
    if subject.column in _TIMES:
        raise UsageError(f"--by {by}: a time belongs to nobody; give a column that does")
    if policy is not None and policy.extra == "drop" and subject.column == EXTRA:
        raise UsageError(f"--by {by}: the policy drops what no column holds, so that nothing of it is stored")
    if policy is None or rule is None:
        return subject
    if rule_of(policy, by) is None:
        raise UsageError(f"--by {by}: the policy hashes values there; give the path of one of them, without * or **")
    if digits:
        raise UsageError(f"--by {by}: the policy hashes it, and a hash has no digits to compare: leave --digits out")
    stored = stored_form(privacy, keys)
    return Subject(by, frozenset(stored(by, value) for value in values))


def withheld_tags(privacy: Privacy, keys: Keys, subject: Subject, values: Sequence[str]) -> frozenset[str]:
    """Returns the tags by which withheld rows are told that have one of these values, as served or as stored.

    Raises `ProtectionError` if there may be such rows, and the key of the policy is not here.
    """
    policy = privacy.policy
    if policy is None or policy.key is None or policy.quarantine == "keep":
        return frozenset()
    key = keys.privacy(policy.key)
    # What a later policy hashes was tagged as it was stored before.
    wanted = subject.values if subject.digits else {*subject.values, *values}
    return frozenset(tag_of(key, subject.steps, value, digits=subject.digits) for value in wanted)


def ruling(policy: Policy, by: str) -> Rule | None:
    """Returns the rule of a policy that changes what is stored at a path, or around or below it; None if none does."""
    if (rule := rule_of(policy, by)) is not None:
        return None if rule.action == "keep" else rule
    steps = steps_of(by)
    for path, rule in policy.rules.items():
        ruled = steps_of(path)
        is_deep = ruled[0] == steps[0] and "**" in (*ruled, *steps)
        if rule.action != "keep" and (is_deep or all(map(_may_be_same, steps, ruled))):
            return rule
    return None


def rule_of(policy: Policy, by: str) -> Rule | None:
    """Returns the very rule for the values at a path; None without one, or if the path leads to several places."""
    if _is_wide(by):
        return None
    return rule_at(routes_of(policy.rules), *parse_path(_path_of(by)))


def _is_wide(by: str) -> bool:
    return not {"*", "**"}.isdisjoint(steps_of(by))


def _path_of(by: str) -> str:
    """Returns a path as policies have them: they know no single element of an array."""
    column, *inside = steps_of(by)
    quoted = ("[*]" if step.startswith("[") else f".{msgspec.json.encode(step).decode()}" for step in inside)
    return column + "".join(quoted)


def _may_be_same(one: str, other: str) -> bool:
    return one == other or "*" in (one, other) or ("[*]" in (one, other) and one[0] == other[0] == "[")


def _why_not(rule: Rule) -> str:
    match rule.action:
        case "mask":
            return f"the policy keeps {rule.keep} digits of it: they would erase others as well"
        case "drop":
            return "the policy drops it, so that nothing of it is stored"
    return f"the policy changes what is stored of it ({rule.action}), so that values cannot be found"
