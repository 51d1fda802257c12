"""Below the floor of a field, no row has a value of it."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.encode.floor import cut_misfit, without_members, without_values
from exporter.encode.rows import Misfit
from exporter.encode.schema import arrow_schema

SCHEMA = arrow_schema(None)
VALUES = {
    "summary": "said",
    "conversation": '{"items":[]}',
    "duration": 3,
    "agent": {"id": "a", "name": "b"},
    "extra": "{}",
}


def batch_of(times: list[int]) -> pa.RecordBatch:
    rows = [{"id": f"c{at}", "created_at": at, "updated_at": at, "status": "completed", **VALUES} for at in times]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 20), max_size=9),
    st.dictionaries(st.sampled_from([*VALUES, "user_id"]), st.integers(-1, 21)),
)
def test_values_below_their_floor_are_null(times: list[int], floors: dict[str, int]) -> None:
    batch = batch_of(times)
    cut = without_values(batch, floors)
    assert cut.schema.equals(batch.schema)
    cut.validate(full=True)
    for at, row in zip(times, cut.to_pylist(), strict=True):
        assert row["id"] == f"c{at}"
        for name, value in VALUES.items():
            assert row[name] == (None if at < floors.get(name, at) else value)
    assert without_values(cut, floors).equals(cut)


@pytest.mark.parametrize(
    ("text", "names", "left"),
    [
        (b'{"id":"1","summary":"said","duration":1.50}', ["summary"], b'{"id":"1","duration":1.50}'),
        (b'{"id": "1"}', ["summary"], b'{"id": "1"}'),
        (b'{"summary":1,"summary":2}', ["summary"], b"{}"),
        (b'{"\\u0073ummary":1}', ["summary"], b"{}"),
        (b"[1]", ["summary"], b""),
        (b"base64:AAAA", ["summary"], b""),
        (b'{"summary":NaN', ["summary"], b""),
    ],
)
def test_members_leave_a_row_as_it_was_served(text: bytes, names: list[str], left: bytes) -> None:
    assert without_members(text, names) == left


def test_a_misfit_loses_what_has_expired() -> None:
    text = json.dumps({"id": "x", "summary": "said"}).encode()
    old, new = Misfit("x", 4, "why", text), Misfit("x", 5, "why", text)
    floors = {"summary": 5, "duration": 9}
    assert json.loads(cut_misfit(old, floors).text) == {"id": "x"}
    assert cut_misfit(new, {"summary": 5}) is new
    assert cut_misfit(new, {}) is new
