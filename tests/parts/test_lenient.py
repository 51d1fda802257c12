"""JSON that is not quite JSON passes nobody over."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.parts.lenient import Literals, decode
from exporter.parts.subjects import Subject, values_at

SOUGHT = "ann@example.com"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_json_is_read_as_usual(value: Any) -> None:
    assert decode(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"email":"ann@example.com","score":NaN}',
        '{"email":"ann@example.com","score":1e999}',
        '{"email":"ann@example.com","half":"\\ud800"}',
        '{"email":"ann@example.com","long":' + "7" * 5000 + "}",
        '{"email":"ann@example.com","email":"ben@example.com"}',
        '{"email":"ben@example.com","\\u0065mail":"ann@example.com"}',
        '{"email":["ann@example.com"]}',
        '{"email":[["ben@example.com","\\u0061nn@example.com"]]}',
        '{"email":"ann@example.com","deep":' + "[" * 5000 + "]" * 5000 + "}",
        '{"email":"ann@example.com", and then it ends',
        '{"email":"\\u0061nn@example.com", and then it ends',
        '"{\\"email\\":\\"ann@example.com\\"}"',
    ],
)
def test_a_value_is_found_in_text_of_every_kind(text: str) -> None:
    assert Subject.of("custom_metadata.email", [SOUGHT]).is_in({"custom_metadata": decode(text)})
    rows = pa.record_batch({"custom_metadata": pa.array([text, '{"email":"ben@example.com"}', None], pa.string())})
    assert Subject.of("custom_metadata.email", [SOUGHT]).mask(rows).to_pylist() == [True, False, False]
    assert not Subject.of("custom_metadata.email", ["eve@example.com"]).is_in({"custom_metadata": decode(text)})


def test_the_same_value_elsewhere_is_nobody(anyone: str = '{"note":"ann@example.com","score":NaN}') -> None:
    assert not Subject.of("custom_metadata.email", [SOUGHT]).is_in({"custom_metadata": decode(anyone)})


def test_a_number_of_any_length_is_compared_as_it_was_served() -> None:
    assert [*values_at(decode('{"a":' + "7" * 5000 + "}"), ["a"])] == ["7" * 5000]
    assert decode("[1, 2") == Literals(("1", "2"))
