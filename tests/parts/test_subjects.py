"""Whose a row is: a value in a column, or at a place in JSON, however it is written there."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import UsageError
from exporter.parts.subjects import Subject, steps_of, text_mask, text_pattern, values_at

TEXT = st.text(min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from("ab"), inside, max_size=2),
    max_leaves=6,
)


def matches(subject: Subject, **columns: Any) -> list[bool]:
    found: list[bool] = subject.mask(pa.record_batch(columns)).to_pylist()
    return found


@pytest.mark.parametrize("path", ["", ".a", "a.", "a..b", "a[", "a[x]", "[*]"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(UsageError, match="not a column"):
        steps_of(path)


def test_steps_of_paths() -> None:
    assert steps_of('custom_metadata."a.b".c') == ("custom_metadata", "a.b", "c")
    assert steps_of("conversation.items[*].content") == ("conversation", "items", "[*]", "content")
    value = {"a": [{"b": 1}, {"b": 2, "c": {"b": 3}}]}
    assert list(values_at(value, ("a", "[*]", "b"))) == [1, 2]
    assert list(values_at(value, ("a", "[1]", "b"))) == [2]
    assert list(values_at(value, ("**", "b"))) == [1, 2, 3]
    assert list(values_at(value, ("a", "[1]", "*"))) == [2, {"b": 3}]


def test_columns_structs_and_json() -> None:
    agents = [{"id": "x", "name": "Ann"}, None]
    assert matches(Subject.of("agent.name", ["Ann"]), agent=agents) == [True, False]
    assert matches(Subject.of("user_id", ["Ann"]), user_id=["Ann", "ann"]) == [True, False]
    assert matches(Subject.of("user_id", ["Ann"]), other=["Ann"]) == [False]
    texts = ['{"e":"a\\u0040b"}', '{"e":"a@b"}', "{", None, '{"e":["a@b"]}', '{"x":"a@b"}']
    assert matches(Subject.of("meta.e", ["a@b"]), meta=texts) == [True, True, False, False, True, False]
    assert matches(Subject.of("meta.e", ["17"]), meta=['{"e":17}', '{"e":170}']) == [True, False]


def test_digits() -> None:
    written = ["+1 (207) 555-0100", "12075550100", "1207555010", "２０７ 555 0100", None]
    assert matches(Subject.of("n", ["1-207-555-0100"], digits=True), n=written) == [True, True, False, False, False]
    assert matches(Subject.of("n", ["207-555-0100"], digits=True), n=written) == [False, False, False, True, False]
    with pytest.raises(UsageError, match="value 2"):
        Subject.of("n", ["1234567", "12345"], digits=True)
    assert "secret" not in repr(Subject.of("n", ["secret"]))


@given(st.lists(JSON, min_size=1, max_size=6), TEXT)
def test_json_is_found_however_it_is_written(documents: list[Any], value: str) -> None:
    documents = [*documents, {"a": value}, {"a": {"b": value}}]
    subject = Subject.of("meta.a", [value])
    for as_ascii in (True, False):
        texts = [json.dumps(one, ensure_ascii=as_ascii) for one in documents]
        if any("\\ud" in text.lower() for text in texts) and not value.isprintable():
            continue
        expected = [isinstance(one, dict) and subject.has(one.get("a")) for one in documents]
        assert matches(subject, meta=texts) == expected


@given(st.lists(TEXT, min_size=1, max_size=3), TEXT, TEXT)
def test_a_mention_is_found_in_any_text(values: list[str], before: str, after: str) -> None:
    texts = [f"{before}{values[0]}{after}", json.dumps(f"{before}{values[0]}{after}")]
    rows = pa.record_batch({"text": texts, "n": [1, 2]})
    assert text_mask(rows, text_pattern(values, digits=False)).to_pylist() == [True, True]


def test_mentions_of_numbers_and_in_other_letters() -> None:
    rows = pa.record_batch(
        {"text": ["call 207.555.0100 now", "ANN@X.org", "x"], "agent": [{"id": "ann@x.org"}, None, None]}
    )
    assert text_mask(rows, text_pattern(["2075550100"], digits=True)).to_pylist() == [True, False, False]
    assert text_mask(rows, text_pattern(["Ann@x.org"], digits=False)).to_pylist() == [True, True, False]
