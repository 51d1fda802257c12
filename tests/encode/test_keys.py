import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import FIELD_NAMES, FIELDS
from exporter.encode.columns import Columns, values_of
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


def hides_keys(body: bytes, rows: list[ServedRow]) -> bool:
    values = values_of(rows)
    columns = Columns.of(values, FIELDS) if rows else Columns({}, {})
    times = {name: values[name] for name in ("created_at", "updated_at") if rows}
    return has_hidden_keys(body, rows, values, columns.with_texts(times))


def decode(body: bytes) -> Any:
    rows = row_class(FIELD_NAMES, ["new"], ["new"])
    return msgspec.json.decode(body, type=list[rows])  # type: ignore[valid-type]


@settings(max_examples=size_of(100, 250), deadline=None)
@given(st.lists(objects(), max_size=4))
def test_a_page_hides_keys_exactly_when_one_is_there_twice(page: list[tuple[str, bool]]) -> None:
    body = f"[{','.join(text for text, _ in page)}]".encode()
    assert hides_keys(body, decode(body)) == any(twice for _, twice in page)


def test_values_that_lie_elsewhere_count_as_hidden() -> None:
    text = json.dumps([{"id": "x", "created_at": "2026-02-10", "conversation": {"a": [1]}}])
    rows: list[ServedRow] = decode(text.encode())
    for elsewhere in (text + " ", "[" + text[1:]):
        body = elsewhere.encode()
        assert hides_keys(body, rows)
