import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import FIELD_NAMES
from exporter.encode.keys import has_hidden_keys
from exporter.encode.rows import ServedRow, row_class
from tests.toolkit.sizes import size_of

TEXTS = {
    "status": ['"a"', '"\\": \\":"', '":"', "null", '"\\\\"'],
    "summary": ['"{\\"id\\":1}"', '"\\" :"', '""'],
    "duration": ["1", "null"],
    "agent": ['{"id":"a"}', "null", "{}", '{"name":"b","new":{"id":1}}', '{"id":"a","id":"a"}', '{"new":1,"new":2}'],
    "conversation": ['{"a":1,"a":2,"b":":"}', '[{"status":"x"}]', '"x\\":"', "null"],
    "new": ["1", '{"new":1}', '"new\\":"'],
}
SPACES = ["", "", "", " ", "\n"]


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, bool]:
    """Draws the text of a row, and whether a key is in it twice."""
    names = draw(st.lists(st.sampled_from(sorted(TEXTS)), max_size=6))
    members = [("id", '"x"'), ("created_at", '"2026-02-10"')]
    members += [(name, draw(st.sampled_from(TEXTS[name]))) for name in names]
    twice = len(set(names)) < len(names)
    agents = [text for name, text in members if name == "agent"]
    twice = twice or any(text in ('{"id":"a","id":"a"}', '{"new":1,"new":2}') for text in agents)
    parts = [f'"{name}"{draw(st.sampled_from(SPACES))}:{text}' for name, text in members]
    return "{" + ",".join(draw(st.permutations(parts))) + "}", twice


def decode(body: bytes) -> Any:
    rows = row_class(FIELD_NAMES, ["new"], ["new"])
    return msgspec.json.decode(body, type=list[rows])  # type: ignore[valid-type]


@settings(max_examples=size_of(100, 250), deadline=None)
@given(st.lists(objects(), max_size=4))
def test_a_page_hides_keys_exactly_when_one_is_there_twice(page: list[tuple[str, bool]]) -> None:
    body = f"[{','.join(text for text, _ in page)}]".encode()
    assert has_hidden_keys(body, decode(body)) == any(twice for _, twice in page)


def test_values_that_lie_elsewhere_count_as_hidden() -> None:
    text = json.dumps([{"id": "x", "created_at": "2026-02-10", "conversation": {"a": [1]}}])
    rows: list[ServedRow] = decode(text.encode())
    for elsewhere in (text + " ", "[" + text[1:]):
        body = elsewhere.encode()
        assert has_hidden_keys(body, rows)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_no_text_is_written_shorter_than_by_what_the_pages_are_held_against(text: str, ensure_ascii: bool) -> None:
    assert len(msgspec.json.encode(text)) <= len(json.dumps(text, ensure_ascii=ensure_ascii).encode())


def test_no_character_is_written_shorter_than_by_what_the_pages_are_held_against() -> None:
    # An escape of two bytes is the shortest way to write what cannot stand for itself.
    short = {ord(character): 2 for character in '"\\\b\f\n\r\t'}
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000:
            alone = len(chr(code).encode()) if code >= 0x20 else 6
            assert len(msgspec.json.encode(chr(code))) == 2 + short.get(code, alone)
