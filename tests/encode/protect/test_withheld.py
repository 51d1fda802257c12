"""A withheld row is found by any value that it had, at its place, and by no other; it shows none."""

import msgspec
import pytest

from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.protect.protector import Protector
from exporter.encode.protect.withheld import has_tags, is_withheld, tag_of, tags_in, tags_of
from exporter.encode.rows import Misfit
from exporter.keys import Key
from exporter.parts.subjects import steps_of
from exporter.privacy import KeyReference, Policy, Rule

KEY = Key("k1", bytes(range(32)))
SERVED = msgspec.json.encode(
    {
        "id": "c1",
        "created_at": "2026-02-02T02:40:00Z",
        "user_id": "Ann@Example.com",
        "agent": {"id": "a7", "phone": "555-0100-99"},
        "custom_metadata": {"email": "ann@example.com", "n": 7, "yes": True, "a.b": "dotted"},
        "initial_context": {"customers": [{"id": "u1"}, {"id": "u2"}]},
        "conversation": {"items": [{"content": "said"}]},
        "recording_details": '{"sip": ["u9"], "not": "[json"}',
        "unheard": {"of": "+1 (207) 555-0100"},
    }
)


def served(_place: tuple[str, ...], value: str) -> str | None:
    return value


def has(by: str, value: str, *, digits: bool = False, key: Key = KEY) -> bool:
    tags = tags_of(SERVED, KEY, served)
    assert tags is not None
    return tag_of(key, steps_of(by), value, digits=digits) in tags


@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("user_id", "Ann@Example.com"),
        ("agent.id", "a7"),
        ("extra.agent.phone", "555-0100-99"),
        ("custom_metadata.email", "ann@example.com"),
        ("custom_metadata.n", "7"),
        ("custom_metadata.*", "7"),
        ("initial_context.customers[*].id", "u2"),
        ("initial_context.customers[0].id", "u2"),
        ("initial_context.**.id", "u1"),
        ("recording_details.sip[*]", "u9"),
        ("recording_details.not", "[json"),
        ("extra.unheard.of", "+1 (207) 555-0100"),
    ],
)
def test_a_value_is_found_at_its_place(by: str, value: str) -> None:
    assert has(by, value)
    assert not has(by, f"{value}0")
    assert not has("channel", value)
    assert not has(by, value, key=Key("k1", bytes(range(1, 33))))


@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("user_id", "ann@example.com"),
        ("custom_metadata.phone", "ann@example.com"),
        ("custom_metadata.yes", "True"),
        ("conversation.items[*].content", "said"),
        ("conversation.**", "said"),
    ],
)
def test_no_other_is_found(by: str, value: str) -> None:
    assert not has(by, value)


def test_digits_are_found_however_they_are_written() -> None:
    assert has("extra.unheard.of", "12075550100", digits=True)
    assert not has("extra.unheard.of", "12075550100")
    assert not has("custom_metadata.n", "7", digits=True), "so few digits are those of many"


def test_what_is_stored_is_tagged() -> None:
    reference = KeyReference(name="k1", check=KEY.check)
    rule = Rule(action="hash", domain="person", normalise=("lower",))
    protector = Protector(Policy(rules={"user_id": rule, "initial_context.customers[*].id": rule}, key=reference), KEY)
    row = msgspec.json.decode(protector.withhold(Misfit("c1", 0, "odd", SERVED)).text)
    tags = tags_in(row)
    assert is_withheld(row) and tags is not None
    hashed = protector.hashed("user_id", "ANN@example.com")
    assert hashed is not None and tag_of(KEY, ["user_id"], hashed) in tags
    inside = protector.hashed("initial_context.customers[*].id", "u2")
    assert inside is not None and tag_of(KEY, ["initial_context", "customers", "[*]", "id"], inside) in tags
    assert tag_of(KEY, ["custom_metadata", "email"], "ann@example.com") in tags
    assert tag_of(KEY, ["custom_metadata", "a.b"], "dotted") in tags


def test_what_a_rule_takes_away_leaves_no_tag() -> None:
    rules = {
        "user_id": Rule(action="mask", keep=4),
        "custom_metadata": Rule(action="drop"),
        "recording_details": Rule(action="drop"),
        "custom_metadata.n": Rule(action="keep"),
        "initial_context.**": Rule(action="redact", patterns=("email",)),
        "agent.id": Rule(action="hash", domain="agent"),
    }
    reference = KeyReference(name="k1", check=KEY.check)
    protector = Protector(Policy(rules=rules, patterns=dict(BUILT_IN), key=reference), KEY)
    tags = tags_in(msgspec.json.decode(protector.withhold(Misfit("c1", 0, "odd", SERVED)).text))
    hashed = protector.hashed("agent.id", "a7")
    assert hashed is not None
    kept = [(("custom_metadata", "n"), "7"), (("custom_metadata", "**"), "7"), (("agent", "id"), hashed)]
    assert tags is not None and {*tags} == {
        *(tag_of(KEY, steps, value) for steps, value in kept),
        tag_of(KEY, ("agent", "**"), hashed),
    }


@pytest.mark.parametrize("text", [b"[[", b"base64:AAAA", msgspec.json.encode({"custom_metadata": list(range(300))})])
def test_what_cannot_be_told_has_no_tags(text: bytes) -> None:
    assert tags_of(text, KEY, served) is None
    assert tags_in({"withheld": "hmac:k1.0"}) is None


def test_the_transcript_and_the_times_have_none() -> None:
    assert not any(map(has_tags, ("id", "conversation", "created_at", "updated_at")))
    assert has_tags("user_id")
    assert tags_of(b"4155550100", KEY, served) == []
    assert not is_withheld({"withheld": "yes", "user_id": "a row with a field of this name"})
