"""A policy follows another only where stored rows become what it would have made of served ones."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.protect.protector import Protector
from exporter.encode.schema import arrow_schema
from exporter.errors import UsageError
from exporter.keys import KEY_BYTES, Key, with_check
from exporter.privacy import KeyReference, Policy, Rule
from exporter.run.policy_changes import difference, differences, obstacles, takes_turns

KEY = Key("k1", bytes(range(KEY_BYTES)))
PATTERNS = {name: BUILT_IN[name] for name in ("email", "phone")}
PATHS = (
    "user_id",
    "summary",
    "agent.name",
    "custom_metadata",
    "custom_metadata.email",
    "custom_metadata.names",
    "custom_metadata.names[*]",
    "custom_metadata.inner.email",
    "custom_metadata.**.email",
    "conversation.items[*].content",
    "conversation.**.content",
)
TEXTS = ("keep", "drop", "hash", "mask", "redact", "other hash")


def rule(path: str, action: str) -> Rule:
    if path == "custom_metadata" and action in ("hash", "mask", "other hash"):
        action = "redact"
    domain = "other" if action == "other hash" else "person"
    is_deep = action == "redact" and path == "custom_metadata"
    return Rule(
        action=action.removeprefix("other "),  # type: ignore[arg-type]  # one of them
        domain=domain if "hash" in action else "",
        patterns=("email", "phone") if action == "redact" else (),
        everywhere=is_deep,
    )


RULES = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(TEXTS), max_size=5).map(
    lambda chosen: {path: rule(path, action) for path, action in chosen.items()}
)
METADATA = {
    "email": "ann@example.com",
    "names": ["Ann", "bob@example.com"],
    "inner": {"email": "carl@example.com", "text": "call +1 415 555 0123"},
    "note": "dora@example.com",
}
TRANSCRIPT = {"items": [{"content": ["write to ann@example.com"]}, {"content": ["or call 415-555-0123"]}]}
ROWS = pa.RecordBatch.from_pylist(
    [
        {
            "id": "1",
            "user_id": "+14155550123",
            "summary": "mail ann@example.com",
            "agent": {"id": "a", "name": "Ann"},
            "custom_metadata": json.dumps(METADATA),
            "conversation": json.dumps(TRANSCRIPT),
            "extra": '{"new":"ann@example.com"}',
        },
        {"id": "2", "user_id": "", "custom_metadata": "null"},
    ],
    schema=arrow_schema(None),
)


def policy(rules: dict[str, Rule], **more: object) -> Policy:
    key = with_check(KeyReference(name="k1"), KEY)
    return Policy(**{"rules": rules, "patterns": PATTERNS, "key": key, **more})  # type: ignore[arg-type]


@settings(deadline=None)
@given(RULES, RULES, st.sets(st.sampled_from(PATHS)), st.sampled_from(("drop", "keep")))
def test_stored_rows_become_what_served_ones_would(
    old: dict[str, Rule], new: dict[str, Rule], left: set[str], extra: str
) -> None:
    kept = {path: rule for path, rule in old.items() if path not in left}
    stored, wanted = policy(old, extra=extra), policy({**kept, **new})
    try:
        fresh, before = Protector(wanted, KEY).protect(ROWS), Protector(stored, KEY).protect(ROWS)
    except UsageError:
        return  # a policy that no file can say
    if obstacles(stored, wanted):
        return
    after = Protector(difference(stored, wanted), KEY).protect(before)
    assert after.to_pylist() == fresh.to_pylist()


@given(RULES)
def test_the_same_policy_follows_and_does_nothing(rules: dict[str, Rule]) -> None:
    one = policy(rules)
    assert differences(one, one) == obstacles(one, one) == obstacles(None, one) == []
    assert difference(None, one) == one
    assert all(left.action == "keep" for left in difference(one, one).rules.values())


@given(RULES, RULES)
def test_whatever_differs_has_words(old: dict[str, Rule], new: dict[str, Rule]) -> None:
    one, other = policy(old), policy(new)
    assert bool(differences(one, other)) == (one.fingerprint != other.fingerprint)


@pytest.mark.parametrize(
    ("path", "action", "expected"),
    [
        ("conversation", "drop", True),
        ("conversation.items", "drop", True),
        ("conversation.items[*]", "drop", True),
        ("conversation.**.items", "drop", True),
        ("conversation.items[*].content", "drop", False),
        ("conversation.items", "keep", False),
        ("conversation", "redact", False),
        ("summary", "drop", False),
    ],
)
def test_what_turns_are_made_of(path: str, action: str, expected: bool) -> None:
    found = takes_turns(policy({path: Rule(action=action)}))  # type: ignore[arg-type]  # one of them
    assert (found == path) == expected
