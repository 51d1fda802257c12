from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
import pyarrow as pa
import pytest

from exporter.encode.decode import Decoder
from exporter.encode.exact import NO_ID
from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.protect.protector import Protector
from exporter.encode.rows import Misfit
from exporter.encode.schema import arrow_schema, turns_schema
from exporter.encode.tables import Tables
from exporter.errors import ProtectionError, UsageError
from exporter.keys import Key
from exporter.log.quarantine import line_of, own_created_at, quarantined_versions
from exporter.privacy import KeyReference, Policy, Rule
from exporter.settings import Request

KEY: Final = Key("k1", b"k" * 32)
ALL: Final = tuple(BUILT_IN)
RULES: Final = {
    "user_id": Rule(action="hash", domain="person", normalise=("phone:US",)),
    "agent_number": Rule(action="mask"),
    "agent.name": Rule(action="drop"),
    "summary": Rule(action="redact", patterns=ALL),
    "initial_context": Rule(action="redact", patterns=ALL, everywhere=True),
    "custom_metadata.email": Rule(action="hash", domain="email"),
    "custom_metadata.**.phone": Rule(action="mask", keep=2),
    "custom_metadata.crm": Rule(action="drop"),
    "conversation.items[*].content": Rule(action="redact", patterns=ALL),
    "conversation.items[*].arguments": Rule(action="redact", patterns=ALL, inside="json"),
    "recording_details.recording_url": Rule(action="no-query"),
    "duration": Rule(action="round", to=10),
}
ROW: Final[dict[str, Any]] = {
    "id": "1",
    "user_id": "(415) 555-0100",
    "agent_number": "+14155550100",
    "agent": {"id": "a", "name": "Bob"},
    "summary": "call 4155550100",
    "initial_context": '{"a@b.org": ["x", 4155550100, {"k":"mail a@b.org"}]}',
    "custom_metadata": '{"crm":{}, "email":"a@b.org","phone":4155550100,"more":[{"phone":"415-555-0100","crm":1.50}]}',
    "conversation": '{"items":[{"content":["hi","call 415 555 0100"],"arguments":"{\\"p\\": \\"4155550100\\"}"}]}',
    "recording_details": '{"recording_url":"https://h/x?sig=1"}',
    "duration": 17,
    "extra": '{"new":"4155550100"}',
}


def _policy(rules: dict[str, Rule] = RULES, **more: Any) -> Policy:
    return Policy(rules=rules, patterns=dict(BUILT_IN), key=KeyReference(name="k1"), **more)


def _batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    schema = arrow_schema(None)
    return pa.RecordBatch.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema=schema)


def test_every_action() -> None:
    protector = Protector(_policy(), KEY)
    row, empty = protector.protect(_batch(ROW, {"id": "2", "user_id": ""})).to_pylist()
    person = f"k1.{KEY.tag('hash:person', '+14155550100')}"
    email = f"k1.{KEY.tag('hash:email', 'a@b.org')}"
    assert {name: value for name, value in row.items() if value is not None} == {
        "id": "1",
        "user_id": person,
        "agent_number": "+*******0100",
        "agent": {"id": "a", "name": None},
        "summary": "call [PHONE]",
        "initial_context": '{"[EMAIL]": ["x", "[PHONE]", {"k":"mail [EMAIL]"}]}',
        "custom_metadata": f'{{"email":"{email}","phone":"********00","more":[{{"phone":"***-***-**00","crm":1.50}}]}}',
        "conversation": '{"items":[{"content":["hi","call [PHONE]"],"arguments":"{\\"p\\": \\"[PHONE]\\"}"}]}',
        "recording_details": '{"recording_url":"https://h/x"}',
        "duration": 20,
    }
    assert empty == dict.fromkeys(empty) | {"id": "2", "user_id": ""}
    assert protector.counts == dict.fromkeys(RULES, 1) | {"initial_context": 3, "custom_metadata.**.phone": 2}
    assert protector.reached.keys() == RULES.keys()
    assert not protector.odd
    assert protector.hashed("user_id", "415 555 0100") == person
    assert protector.hashed("custom_metadata.email", "a@b.org") == email
    assert protector.hashed("agent_number", "4155550100") is None
    assert protector.hashed("channel", "voice") is None


def test_a_path_that_leads_nowhere_is_not_among_those_reached() -> None:
    protector = Protector(_policy({"custom_metadata.emial": RULES["custom_metadata.email"]}), KEY)
    protector.protect(_batch(ROW))
    assert not protector.reached


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_same_rows_in_any_batches_are_the_same_bytes(size: int) -> None:
    rows = [ROW | {"id": str(number), "summary": f"call 415 555 {number:04}"} for number in range(20)]
    whole = Protector(_policy(), KEY).protect(_batch(*rows))
    protector = Protector(_policy(), KEY)
    pieces = [protector.protect(_batch(*rows).slice(start, size)) for start in range(0, len(rows), size)]
    assert pa.Table.from_batches(pieces).to_pylist() == whole.to_pylist()


def test_any_of_the_columns_may_be_missing() -> None:
    for name in arrow_schema(None).names:
        batch = _batch(ROW).select([name])
        protected = Protector(_policy(), KEY).protect(batch)
        assert protected.schema == batch.schema
        assert protected.to_pylist() == Protector(_policy(), KEY).protect(_batch(ROW)).select([name]).to_pylist()


def test_unknown_fields_stay_if_the_policy_says_so() -> None:
    assert Protector(_policy({}, extra="keep"), KEY).protect(_batch(ROW))["extra"].to_pylist() == [ROW["extra"]]


def test_a_column_that_is_dropped_and_comes_all_the_same_is_null() -> None:
    protector = Protector(
        _policy({name: Rule(action="drop") for name in ("summary", "agent", "conversation", "duration")}), KEY
    )
    row = protector.protect(_batch(ROW)).to_pylist()[0]
    assert [row[name] for name in ("summary", "agent", "conversation", "duration")] == [None] * 4


def test_several_threads_count_every_value() -> None:
    protector = Protector(_policy(), KEY)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: protector.protect(_batch(ROW, ROW)), range(50)))
    assert protector.counts["user_id"] == 100
    assert protector.counts["initial_context"] == 300


def test_a_policy_with_hashes_needs_its_key() -> None:
    with pytest.raises(ProtectionError, match="needs a key"):
        Protector(_policy(quarantine="keep"), None)
    Protector(Policy(rules={"summary": Rule(action="drop")}, quarantine="keep"), None)


def test_a_policy_with_entities_needs_what_finds_them() -> None:
    finds = Rule(action="redact", patterns=("email", "entities"))
    for policy in (
        _policy({"summary": finds}),
        _policy({"custom_metadata.**.note": finds}),
        _policy({}, turns={"content": finds}),
    ):
        with pytest.raises(ProtectionError, match="names entities, and nothing is there that finds them"):
            Protector(policy, KEY)
        Protector(policy, KEY, list)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("duration", Rule(action="hash", domain="x")),
        ("duration", Rule(action="mask")),
        ("summary", Rule(action="round")),
        ("summary.x", Rule(action="drop")),
        ("agent", Rule(action="mask")),
        ("agent.nmae", Rule(action="mask")),
        ("agent.**", Rule(action="mask")),
        ("custom_metadata..a", Rule(action="mask")),
        (".custom_metadata.a", Rule(action="mask")),
        ("user_id", Rule(action="hash", domain="x", normalise=("upper",))),
    ],
)
def test_a_rule_that_its_column_cannot_take_is_refused(path: str, rule: Rule) -> None:
    with pytest.raises(UsageError):
        Protector(_policy({path: rule}), KEY)


def test_rules_for_turns_are_for_their_own_columns() -> None:
    schema = turns_schema()
    row = dict.fromkeys(schema.names) | {
        "conversation_id": "1",
        "text": "call [PHONE]",
        "arguments": '{"a":"x@y.org"}',
        "tool_name": "t",
    }
    batch = pa.RecordBatch.from_pylist([row], schema=schema)
    turns = {
        "tool_name": Rule(action="drop"),
        "arguments": Rule(action="redact", patterns=ALL, inside="json"),
        "transcript_confidence": Rule(action="drop"),
    }
    protector = Protector(Policy(turns=turns, patterns=dict(BUILT_IN), quarantine="keep"), None)
    made = protector.protect_turns(batch).to_pylist()[0]
    assert made == row | {"tool_name": None, "arguments": '{"a":"[EMAIL]"}'}
    tables = Tables.of(Request(tables=("conversations", "turns")), protector)
    assert tables.turns is not None
    conversations = _batch({"id": "1", "conversation": '{"items":[{"name":"t","arguments":"x@y.org"}]}'})
    [encoded] = tables.turns.encode(conversations)
    assert encoded.select(["tool_name", "arguments"]).to_pylist() == [{"tool_name": None, "arguments": "[EMAIL]"}]


def _misfit(text: str, identity: str = "c1") -> Misfit:
    return Misfit(identity, 1_770_000_000_000_000, "summary is not a string", text.encode())


def test_a_withheld_row_keeps_its_reason_its_times_and_its_id() -> None:
    served = (
        '{"id":"c1","summary":4155550100,"created_at":"2026-02-02T02:40:00Z","updated_at":"2026-02-02T03:00:00.5Z"}'
    )
    withheld = Protector(_policy(), KEY).withhold(_misfit(served))
    row = msgspec.json.decode(withheld.text)
    assert row == {
        "created_at": "2026-02-02T02:40:00Z",
        "updated_at": "2026-02-02T03:00:00.500Z",
        "withheld": f"hmac:k1.{KEY.tag('quarantined row', served)}",
        "tags": [],
    }
    assert (withheld.id, withheld.reason, withheld.created_at) == (
        "c1",
        "summary is not a string",
        _misfit("").created_at,
    )
    line = line_of(withheld)
    assert own_created_at(line) == own_created_at(line_of(_misfit(served))) is not None
    assert [*quarantined_versions([line])] == [*quarantined_versions([line_of(_misfit(served))])]


@pytest.mark.parametrize(
    "served", ['"4155550100"', "null", "[[", "base64:AAAA", '{"created_at":"415 555 0100","updated_at":1}']
)
def test_a_withheld_row_of_any_form_shows_nothing_of_it(served: str) -> None:
    withheld = Protector(_policy(), KEY).withhold(_misfit(served))
    row = msgspec.json.decode(withheld.text)
    assert row.pop("tags", []) == []
    assert row.keys() == {"withheld"}


def test_an_id_that_stands_for_a_text_is_withheld_with_it() -> None:
    protector = Protector(_policy(), KEY)
    first = protector.withhold(_misfit('"4155550100"', NO_ID + "0" * 64))
    assert first.id.startswith(NO_ID) and "0" * 64 not in first.id
    assert first == protector.withhold(_misfit('"4155550100"', NO_ID + "0" * 64))
    kept = Protector(_policy({}, quarantine="keep"), None).withhold(_misfit('"4155550100"'))
    assert kept.text == b'"4155550100"'


def test_what_is_encoded_is_protected(row_text: Callable[..., str]) -> None:
    rows = [
        row_text("1", user_id='"415 555 0100"', zip='"4155550100"'),
        row_text("2", user_id="4155550100"),
    ]
    encoder = Tables.of(Request(), Protector(_policy(), KEY)).encoder
    encoded = encoder.encode(Decoder(None).decode(f"[{','.join(rows)}]".encode()).page.rows)
    assert "555" not in f"{encoded.batch.to_pylist()} {encoded.quarantined}"
    assert encoded.batch["extra"].null_count == 1
    assert [misfit.reason for misfit in encoded.quarantined] == ["user_id is not a string"]
