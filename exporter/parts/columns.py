"""Names the columns of parts. A table only ever gains columns, so older parts may have fewer."""

from collections.abc import Collection, Iterator
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import ADDED, OPEN_STATUSES
from exporter.errors import DestinationError
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS

ID_COLUMN: Final = "id"
INDEX_COLUMN: Final = "item_index"
SORT_COLUMN: Final = "created_at"
STATUS_COLUMN: Final = "status"
UPDATED_COLUMN: Final = "updated_at"
RECORDING_COLUMN: Final = "recording_details"
#: In each table, this column says which conversation a row belongs to.
ID_COLUMNS: Final = {CONVERSATIONS: ID_COLUMN, TURNS: "conversation_id", RECORDINGS: "conversation_id"}
#: The rows of each table descend by this column.
SORT_COLUMNS: Final = {
    CONVERSATIONS: SORT_COLUMN,
    TURNS: "conversation_created_at",
    RECORDINGS: "conversation_created_at",
}
#: Details may be there before the recording is.
_HAS_URL: Final = r'"recording_url"\s*:\s*"[^"]'
OPEN_STATUS_ARRAY: Final = pa.array(OPEN_STATUSES, pa.string())


def are_open(conversations: pa.RecordBatch) -> pa.BooleanArray:
    """Says of each row whether the conversation was not over when it was read; none if there is no such column."""
    if STATUS_COLUMN not in conversations.schema.names:
        return pa.array([False] * conversations.num_rows, pa.bool_())
    return pc.is_in(conversations.column(STATUS_COLUMN), OPEN_STATUS_ARRAY)


def are_recorded(conversations: pa.RecordBatch) -> pa.BooleanArray:
    """Says of each row whether it came with the URL of a recording; none if there is no such column."""
    if RECORDING_COLUMN not in conversations.schema.names:
        return pa.array([False] * conversations.num_rows, pa.bool_())
    return pc.match_substring_regex(conversations.column(RECORDING_COLUMN), _HAS_URL).fill_null(False)


def is_of(found: pa.Schema, schema: pa.Schema) -> bool:
    """Returns whether a part has the columns of `schema`, except some that were added later (`ADDED`)."""
    there = set(found.names)
    return bool(found.equals(pa.schema([field for field in schema if field.name in there or not _was_added(field)])))


def complete(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Returns rows of any part with the columns of `schema`, which are null if they were added after it was written.

    Raises `DestinationError` for columns that `schema` does not have, because they would be lost.
    """
    if batch.schema.equals(schema):
        return batch
    if not is_of(batch.schema, schema):
        unknown = sorted(set(batch.schema.names) - set(schema.names))
        raise DestinationError(
            f"there are rows with columns that this exporter does not know ({', '.join(unknown) or 'by type'}): a "
            "newer one wrote them. Upgrade to go on"
        )
    columns = [
        batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _was_added(field: pa.Field) -> bool:
    return field.metadata is not None and ADDED in field.metadata


def time_column(columns: Collection[str]) -> str:
    """Returns the column that a table is sorted and partitioned by."""
    return next(name for name in (SORT_COLUMNS[TURNS], SORT_COLUMN) if name in columns)


def leaf_columns(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """Returns the columns that Parquet makes of a schema, by their dotted paths."""
    return [leaf for field in schema for leaf in _leaves(field.name, field.type)]


def _leaves(path: str, type_: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(type_):
        for field in type_:
            yield from _leaves(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(type_) or pa.types.is_large_list(type_):
        yield from _leaves(f"{path}.list.element", type_.value_type)
    else:
        yield path, type_
