"""Tests the odd values of source.md, 11, and what becomes of each; the rows around it never change."""

import base64
import json
from collections.abc import Callable
from typing import TypeAlias

import pyarrow as pa
import pytest

from exporter.encode.batch import EncodedBatch, Encoder
from exporter.encode.decode import Decoder

Convert: TypeAlias = Callable[[bytes | str], EncodedBatch]
RowText: TypeAlias = Callable[..., str]
DEEP = "[" * 5000 + "]" * 5000


def around(row_text: RowText, odd: str) -> str:
    return f"[{row_text('before', duration='1')},{odd},{row_text('after', duration='3')}]"


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("duration", "55.0", 55),
        ("duration", "5.5e1", 55),
        ("duration", "-0.0", 0),
        ("duration", "9007199254740993.0", 9007199254740993),
        ("duration", "-9223372036854775808", -(2**63)),
        ("duration", "null", None),
        ("summary", '""', ""),
        ("summary", r'"a\u0000b"', "a\0b"),
        ("summary", r'"\ud83c\udfa7"', "🎧"),
        ("summary", '"tab\tinside"', "tab\tinside"),
        ("status", '"never_seen_before"', "never_seen_before"),
        ("conversation", "null", None),
        ("conversation", "NaN", "NaN"),
        ("conversation", "-Infinity", "-Infinity"),
        ("conversation", "1" * 40, "1" * 40),
        ("conversation", "1e400", "1e400"),
        ("conversation", r'{"a": "\ud800", "a": 1}', r'{"a": "\ud800", "a": 1}'),
        ("conversation", r'{"a":"\u0000"}', r'{"a":"\u0000"}'),
        ("initial_context", '"a string"', '"a string"'),
        ("custom_metadata", '{"a":1,"a":2}', '{"a":1,"a":2}'),
        ("custom_metadata", "[ 1 , 2 ]", "[ 1 , 2 ]"),
        pytest.param("conversation", DEEP, DEEP, id="deep"),
        ("extra", r'"\udc00"', r'{"extra":"\udc00"}'),
        pytest.param("extra", DEEP, f'{{"extra":{DEEP}}}', id="deep unknown"),
        ("agent", "null", None),
        ("agent", "{}", {"id": None, "name": None}),
        ("agent", '{"id":"","name":null}', {"id": "", "name": None}),
    ],
)
def test_a_value_that_fits(convert: Convert, row_text: RowText, field: str, text: str, value: object) -> None:
    encoded = convert(around(row_text, row_text("odd", **{field: text})))
    assert encoded.quarantined == []
    assert encoded.batch[field].to_pylist()[1] == value
    assert encoded.batch["id"].to_pylist() == ["before", "odd", "after"]
    assert encoded.batch["duration"].to_pylist()[::2] == [1, 3]


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("duration", "5.5", "duration is not a whole number"),
        ("duration", "55.00000000000000000001", "duration is not a whole number"),
        ("duration", "9223372036854775808", "duration is beyond 64 bits"),
        ("duration", "-9223372036854775809", "duration is beyond 64 bits"),
        ("duration", "1e999999999", "duration is beyond 64 bits"),
        ("duration", "NaN", "duration is not a number"),
        ("duration", "007", "duration is not a number"),
        ("duration", "true", "duration is not a number"),
        ("duration", '"5"', "duration is not a number"),
        ("duration", '{"a":1}', "duration is not a number"),
        ("status", "5", "status is not a string"),
        ("status", "[]", "status is not a string"),
        ("summary", r'"\ud800"', "summary holds a lone surrogate"),
        ("summary", r'"\x"', "summary holds an escape that JSON does not know"),
        ("agent", '"a1"', "agent is not an object"),
        ("agent", "[]", "agent is not an object"),
        ("agent", '{"name":7}', "agent is not a string"),
        ("agent", '{"id":"a","id":"b"}', "agent holds a key twice, with different values"),
        ("updated_at", '""', "updated_at is not a date-time"),
        ("updated_at", "5", "updated_at is not a string"),
        ("updated_at", '"2026-02-10T05:00:00.1234567Z"', "updated_at is finer than a microsecond"),
        ("created_at", '"2026-02-10T05:00:00.0000009Z"', "created_at is finer than a microsecond"),
        ("created_at", '"yesterday"', "created_at is not a date-time"),
        ("created_at", "null", "created_at is missing"),
        ("id", "null", "id is missing"),
        ("id", '""', "id is missing"),
        ("id", "7", "id is not a string"),
    ],
)
def test_a_value_that_fits_no_column(convert: Convert, row_text: RowText, field: str, text: str, reason: str) -> None:
    odd = row_text("odd", **{field: text})
    encoded = convert(around(row_text, odd))
    assert encoded.batch["id"].to_pylist() == ["before", "after"]
    assert encoded.batch["duration"].to_pylist() == [1, 3]
    [misfit] = encoded.quarantined
    assert (misfit.reason, misfit.text) == (reason, odd.encode())
    assert misfit.created_at == 1_770_699_600_000_000
    assert field == "id" or misfit.id == "odd"


@pytest.mark.parametrize(
    ("members", "quarantined"),
    [
        ('"status":"a","status":"a"', False),
        ('"status":"a","status":"b"', True),
        ('"status" : "a", "status" : "b"', True),
        (r'"status":"a","statu\u0073":"b"', True),
        (r'"status":"b","summary":"\": \":","status":"a"', True),
        ('"conversation":{"a":1},"conversation":{"a":2}', True),
        ('"conversation":{"a":1},"conversation":{"a":1}', False),
        ('"new":1,"new":2', True),
        ('"new":1,"new":1', False),
        ('"agent":{"id":"a","new":1,"new":2}', True),
        ('"agent":{"id":"a","id":"a"}', False),
        ('"summary":"\\"status\\":\\"b\\"","status":"a"', False),
        ('"summary":":","status":"a"', False),
    ],
)
def test_duplicate_keys(members: str, quarantined: bool) -> None:
    odd = '{"id":"odd","created_at":"2026-02-10T05:00:00Z",' + members + "}"
    plain = '{"id":"plain","created_at":"2026-02-10T05:00:00Z","new":1,"agent":{"new":1}}'
    decoder = Decoder(None)
    for _ in range(2):
        encoded = Encoder(None).encode(decoder.decode(f"[{plain},{odd}]".encode()).page.rows)
        assert [misfit.text.decode() for misfit in encoded.quarantined] == ([odd] if quarantined else [])
        assert encoded.batch["id"].to_pylist() == (["plain"] if quarantined else ["plain", "odd"])


def test_an_integer_may_be_a_float_on_every_row(convert: Convert, row_text: RowText) -> None:
    rows = [row_text(f"c{number}", duration=f"{number}.0", user_turn_count="null") for number in range(50)]
    encoded = convert(f"[{','.join(rows)}]")
    assert encoded.batch["duration"].to_pylist() == list(range(50))
    assert encoded.batch["user_turn_count"].null_count == 50
    assert "user_turn_count" not in encoded.absent


@pytest.mark.parametrize("field", ["summary", "conversation", "new", "id"])
@pytest.mark.parametrize("octets", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe2\x82"])
def test_bytes_that_are_not_utf8_are_kept_as_base64(
    convert: Convert, row_text: RowText, field: str, octets: bytes
) -> None:
    odd = row_text("odd", **{field: '"bad OCTETS"'}).encode().replace(b"OCTETS", octets)
    body = around(row_text, "ODD").encode().replace(b"ODD", odd)
    encoded = convert(body)
    assert encoded.batch["id"].to_pylist() == ["before", "after"]
    [misfit] = encoded.quarantined
    assert base64.b64decode(misfit.text.removeprefix(b"base64:"), validate=True) == odd
    assert misfit.text.startswith(b"base64:")
    misfit.id.encode()


def test_a_misfit_that_is_utf8_keeps_its_text_byte_for_byte(convert: Convert) -> None:
    text = '{ "id" : "é" ,"created_at":"2026-02-10T05:00:00Z",\n"status":5 , "x":NaN}'
    [misfit] = convert(f" [ {text}\n]").quarantined
    assert misfit.text == text.encode()


def test_rows_without_an_id_have_keys_of_their_own(convert: Convert) -> None:
    texts = ['{"created_at":"2026-02-10T05:00:00Z"}', '{"created_at":"2026-02-10T05:00:00Z","status":"x"}']
    one, other = convert(f"[{','.join(texts)}]").quarantined
    again = convert(f"[{texts[0]}]").quarantined[0]
    assert one.id == again.id != other.id
    assert one.id.startswith("no id, sha256:")


ELEMENTS = ["null", "true", "0", "-1.5e3", "9" * 40, "NaN", "-Infinity", "nan", "-inf", "+1", ".5", '"text"', '""']
ELEMENTS += ["[]", "[[1], {}]", '["\\ud800"]', "{}"]


@pytest.mark.parametrize("element", ELEMENTS)
def test_an_element_that_is_no_conversation_costs_no_other(convert: Convert, row_text: RowText, element: str) -> None:
    encoded = convert(around(row_text, element))
    assert encoded.batch["id"].to_pylist() == ["before", "after"]
    assert encoded.batch["duration"].to_pylist() == [1, 3]
    [misfit] = encoded.quarantined
    assert misfit.text == element.encode()
    assert misfit.reason == ("id is missing" if element == "{}" else "is not an object")
    assert misfit.created_at == 1_770_699_600_000_000
    assert misfit.id.startswith("no id, sha256:")


def test_elements_that_look_alike_are_as_many_as_they_are(row_text: RowText) -> None:
    """A page that seems shorter than it is would pass for the last."""
    earlier = row_text("b", created_at='"2026-02-10T04:00:00Z"')
    page = Decoder(None).decode(f"[null, {row_text('a')}, null, null, {earlier}, null, {{}}, {{}}]".encode()).page
    assert len({row.id for row in page.rows.rows}) == len(page) == 8
    # They are the same on the next page, which begins with the last row's time again.
    again = Decoder(None).decode(f"[{earlier}, null, {{}}, {{}}]".encode()).page
    assert list(again.rows.rows)[1:] == list(page.rows.rows)[5:]


def test_an_element_that_is_not_utf8_is_kept_as_base64(convert: Convert, row_text: RowText) -> None:
    [misfit] = convert(around(row_text, '"ODD"').encode().replace(b"ODD", b"\xff")).quarantined
    assert base64.b64decode(misfit.text.removeprefix(b"base64:"), validate=True) == b'"\xff"'


def test_a_row_without_created_at_stands_with_the_row_before_it_or_else_the_first_that_has_one() -> None:
    rows = [
        {"id": "a"},
        {"id": "b", "created_at": "2026-02-10T05:00:02Z"},
        {"id": "c", "created_at": 5},
        {"id": "d", "created_at": "2026-02-10T05:00:01Z"},
        {"id": "e", "created_at": None},
    ]
    page = Decoder(None).decode(json.dumps(rows).encode()).page
    second = 1_000_000
    start = 1_770_699_600 * second
    assert [row.id for row in page.rows.rows] == ["a", "b", "c", "d", "e"]
    assert [instant - start for instant in page.rows.created_at] == [
        2 * second,
        2 * second,
        2 * second,
        second,
        second,
    ]
    encoded = Encoder(None).encode(page.rows)
    assert [misfit.id for misfit in encoded.quarantined] == ["a", "c", "e"]
    assert encoded.batch["created_at"].cast(pa.int64()).to_pylist() == [start + 2 * second, start + second]


def test_a_finer_timestamp_is_cut_for_the_position_of_its_misfit(row_text: RowText) -> None:
    odd = row_text("odd", created_at='"1969-12-31T23:59:59.1234569+00:00"', updated_at='"2026-02-10T05:00:00.9999999Z"')
    rows = Decoder(None).decode(f"[{odd}]".encode()).page.rows
    assert rows.created_at == [-876_544]
    assert rows.updated_at == [1_770_699_600_999_999]


def test_members_of_an_agent_whose_names_are_odd_are_kept(convert: Convert, row_text: RowText) -> None:
    odd = row_text("odd", agent=r'{"id":"g","\ud800":1,"b":NaN}', zz="1")
    encoded = convert(f"[{odd}]")
    assert encoded.batch["extra"].to_pylist() == [r'{"agent":{"\ud800":1,"b":NaN},"zz":1}']
