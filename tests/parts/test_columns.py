"""Older parts are without the columns that were added since, and no others; unknown columns are not dropped."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import ADDED
from exporter.errors import DestinationError
from exporter.parts.columns import complete, is_of

NAMES = ("a", "b", "c", "d")


def field(name: str, added: bool) -> pa.Field:
    return pa.field(name, pa.int64(), metadata={ADDED: "2.0"} if added else None)


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_a_part_may_lack_what_was_added_alone(added: set[str], lacking: set[str]) -> None:
    schema = pa.schema([field(name, name in added) for name in NAMES])
    names = [name for name in NAMES if name not in lacking]
    batch = pa.record_batch({name: [1, 2] for name in names}) if names else pa.RecordBatch.from_pylist([])
    assert is_of(batch.schema, schema) == (lacking <= added)
    if lacking <= added and names:
        whole = complete(batch, schema)
        assert whole.schema.equals(schema)
        assert [{name: row[name] for name in names} for row in whole.to_pylist()] == batch.to_pylist()
        assert all(whole.column(name).null_count == 2 for name in lacking)


def test_columns_that_are_not_known_are_not_dropped() -> None:
    schema = pa.schema([field("a", False)])
    for batch, named in (
        (pa.record_batch({"a": [1], "later": [2]}), r"\(later\)"),
        (pa.record_batch({"a": ["text"]}), r"\(by type\)"),
    ):
        with pytest.raises(DestinationError, match=named + r": a newer one wrote them\. Upgrade"):
            complete(batch, schema)
        assert not is_of(batch.schema, schema)
