import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.contract import ITEM_METRICS
from exporter.encode.schema import arrow_schema, turns_schema
from exporter.encode.turns import TurnsEncoder
from tests.toolkit import turns_model
from tests.toolkit.turns_model import alike, parsed, turns_of

FIELDS = arrow_schema(("id", "created_at", "conversation"))


def conversations(texts: Sequence[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array([f"c{number}" for number in range(len(texts))], pa.string()),
            pa.array(range(len(texts), 0, -1), pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            pa.array(texts, pa.string()),
            pa.nulls(len(texts), pa.string()),
        ],
        schema=FIELDS,
    )


def found(batches: Sequence[pa.RecordBatch]) -> list[dict[str, Any]]:
    rows = []
    for batch in batches:
        assert batch.schema == turns_schema()
        batch.validate(full=True)
        position = batch.schema.get_field_index("item_created_at")
        batch = batch.set_column(position, "item_created_at", batch.column(position).cast(pa.int64()))
        rows += batch.to_pylist()
    return rows


def check(texts: Sequence[str | None], encoder: TurnsEncoder | None = None) -> list[dict[str, Any]]:
    """Returns the rows, which are those of the model."""
    batch = conversations(texts)
    rows = found(list((encoder or TurnsEncoder()).encode(batch)))
    assert alike(map(parsed, rows)) == alike(turns_of(batch.to_pylist()))
    return rows


def one(item: str) -> dict[str, Any]:
    (row,) = check([f'{{"items": [{item}]}}'])
    return {name: value for name, value in row.items() if value is not None and not name.startswith("conversation_")}


texts_ = st.text(st.characters(exclude_categories=()), max_size=5)
numbers = st.one_of(
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.sampled_from((10**400, -(10**310), 2**53 + 1, -0.0, 5e-324)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-7e10, 3e11),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts_),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts_, inner, max_size=3)),
    max_leaves=6,
)


def mostly(fitting: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(fitting, fitting, fitting, st.none(), values)


metric_names = st.one_of(st.sampled_from(ITEM_METRICS), st.sampled_from(("new_metric", "another")), texts_)
metrics = st.dictionaries(metric_names, mostly(numbers), max_size=4)
known_members = {
    "type": mostly(st.sampled_from(("message", "function_call", "function_call_output", "agent_handoff", "new"))),
    "id": mostly(texts_),
    "role": mostly(st.sampled_from(("user", "assistant"))),
    "content": mostly(st.one_of(texts_, st.lists(texts_, max_size=3), st.lists(mostly(texts_), max_size=3))),
    "interrupted": mostly(st.booleans()),
    "transcript_confidence": mostly(numbers),
    "created_at": mostly(st.one_of(numbers, st.floats(1.7e9, 1.8e9), st.integers(1_700_000_000, 1_800_000_000))),
    "metrics": mostly(metrics),
    "call_id": mostly(texts_),
    "name": mostly(texts_),
    "arguments": mostly(texts_),
    "output": mostly(texts_),
    "is_error": mostly(st.booleans()),
    "old_agent_id": values,
    "new_agent_id": values,
}
known_items = st.fixed_dictionaries({}, optional=known_members)
items = st.one_of(
    known_items,
    st.builds(lambda known, odd: known | odd, known_items, st.dictionaries(texts_, values, max_size=2)),
    values,
)
transcripts = st.one_of(
    st.fixed_dictionaries({"items": st.lists(items, max_size=4)}, optional={"more": values}),
    st.fixed_dictionaries({"items": st.lists(items, max_size=4)}),
    st.fixed_dictionaries({}, optional={"items": values}),
    values,
)


@st.composite
def served(draw: st.DrawFn) -> str | None:
    value = draw(transcripts)
    # Any server may write it like this. `NaN` is not JSON, and has a test of its own.
    indent = draw(st.sampled_from((None, None, 1)))
    separators = None if indent else draw(st.sampled_from((None, (",", ":"))))
    return None if value is None else json.dumps(value, indent=indent, separators=separators)


@settings(deadline=None)
@given(st.lists(served(), max_size=6), st.integers(0, 2), st.sampled_from((1, 60, 1 << 18)))
@example(['{"items": [{"metrics": {"e2e_latency": 1, "x": "y"}, "x": null}]}', None, '{"items": []}'], 0, 1)
@example(['{"items": [{"content": []}, {"content": [""]}, {"content": ["a", "b"]}]}'], 0, 1)
@example(['{"items": null}', "{}", '{"items": {}}', "[]", '"text"', "0", '{"items": null, "more": 1}'], 0, 1)
def test_every_transcript_gives_the_rows_of_the_model(texts: list[str | None], skipped: int, at_once: int) -> None:
    encoder = TurnsEncoder(bytes_at_once=at_once)
    check(texts, encoder)
    # By now the names are known, and a batch may be a slice of another.
    batch = conversations(texts).slice(skipped)
    assert alike(map(parsed, found(list(encoder.encode(batch))))) == alike(turns_of(batch.to_pylist()))


def test_the_columns_are_those_of_the_model() -> None:
    assert tuple(turns_schema().names) == turns_model.COLUMNS


def test_documented_items() -> None:
    message = '{"type": "message", "role": "user", "content": ["Hello", "there"], "created_at": 1770000000.123457}'
    assert one(message) == {
        "item_index": 0,
        "type": "message",
        "role": "user",
        "text": "Hello\nthere",
        "item_created_at": 1_770_000_000_123_457,
    }
    output = '{"type": "function_call_output", "call_id": "c", "name": "n", "output": "{}", "is_error": false}'
    assert one(output) == {
        "item_index": 0,
        "type": "function_call_output",
        "call_id": "c",
        "tool_name": "n",
        "output": "{}",
        "is_error": False,
    }


def test_what_has_no_column_is_kept_as_it_was_served() -> None:
    metrics_ = '{"x" : 1e2, "e2e_latency": "?"}'
    row = one('{"type": 5, "content": ["a", {"image" : 1.0}],  "z": [1,  2], "metrics": ' + metrics_ + "}")
    assert (row["text"], row["content"]) == ("a", '["a", {"image" : 1.0}]')
    assert (row["extra"], row["other_metrics"]) == ('{"type":5,"z":[1,  2]}', '{"e2e_latency":"?","x":1e2}')
    assert one("[1,  2]") == {"item_index": 0, "extra": "[1,  2]"}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ('{"id": "a", "x": NaN}', {"item_id": "a", "extra": '{"x":NaN}'}),
        ('{"transcript_confidence": Infinity}', {"extra": '{"transcript_confidence":Infinity}'}),
        (r'{"id": "a", "role": "\ud800"}', {"item_id": "a", "extra": r'{"role":"\ud800"}'}),
        (r'{"id": "a\u0000"}', {"item_id": "a\0"}),
        (r'{"content": ["\ud800", "b"]}', {"text": "b", "content": r'["\ud800", "b"]'}),
        (r'{"id": "a", "\ud800": 1}', {"item_id": "a", "extra": r'{"\ud800":1}'}),
        (r'{"id": "a", "role": "\x"}', {"item_id": "a", "extra": r'{"role":"\x"}'}),
        (r'{"id": "a", "\x": 1}', {"extra": r'{"id": "a", "\x": 1}'}),
        ('{"id": "a", "id": "b"}', {"item_id": "b"}),
        ('{"id": 5, "id": "b"}', {"item_id": "b"}),
        ('{"created_at": 253402300800}', {"extra": '{"created_at":253402300800}'}),
        ('{"created_at": 253402300799}', {"item_created_at": 253402300799 * 10**6}),
        ('{"x": ' + "[" * 5000 + "]" * 5000 + "}", {"extra": '{"x":' + "[" * 5000 + "]" * 5000 + "}"}),
    ],
)
def test_odd_items_are_kept(item: str, expected: dict[str, object]) -> None:
    batch = conversations([f'{{"items": [{item}, {{"id": "next"}}]}}'])
    odd, following = found(list(TurnsEncoder().encode(batch)))
    assert {name: value for name, value in odd.items() if value is not None} == {
        "conversation_id": "c0",
        "conversation_created_at": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=1),
        "item_index": 0,
        **expected,
    }
    assert (following["item_index"], following["item_id"]) == (1, "next")


def test_unknown_members_are_learned_unless_they_are_data() -> None:
    encoder = TurnsEncoder()
    check(['{"items": [{"new": 1, "metrics": {"newer": 2}}]}'], encoder)
    assert encoder._unknown == (frozenset({"new"}), frozenset({"newer"}))
    data = [{f"key {number}": number} for number in range(100)]
    check([json.dumps({"items": data}), '{"items": [{"new": 3}]}'], encoder)
    assert encoder._unknown == (frozenset({"new"}), frozenset({"newer"}))


def test_no_turns() -> None:
    assert list(TurnsEncoder().encode(conversations([]))) == []
    assert list(TurnsEncoder().encode(conversations([None, None]))) == []
    assert list(TurnsEncoder().encode(conversations(["{}", None, '{"items": []}']))) == []
