"""Names the columns of parts: a table's columns are only ever added to, so that older parts may lack some."""

from collections.abc import Collection
from typing import Final

import pyarrow as pa

from exporter.contract import ADDED, OPEN_STATUSES
from exporter.errors import DestinationError
from exporter.layout import CONVERSATIONS, TURNS


def is_of(found: pa.Schema, schema: pa.Schema) -> bool:
    """Tells whether a part has the columns of `schema`, or those that there were before some were added (`ADDED`)."""
    there = set(found.names)
    return bool(found.equals(pa.schema([field for field in schema if field.name in there or not _was_added(field)])))


def complete(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Returns rows of any part with the columns of `schema`: null in those that were added after it was written.

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


ID_COLUMN: Final = "id"


#: In each table, this column says which conversation a row belongs to.
ID_COLUMNS: Final = {CONVERSATIONS: ID_COLUMN, TURNS: "conversation_id"}
INDEX_COLUMN: Final = "item_index"
SORT_COLUMN: Final = "created_at"


#: The rows of each table descend by this column.
SORT_COLUMNS: Final = {CONVERSATIONS: SORT_COLUMN, TURNS: "conversation_created_at"}
STATUS_COLUMN: Final = "status"
OPEN_STATUS_ARRAY: Final = pa.array(OPEN_STATUSES, pa.string())
UPDATED_COLUMN: Final = "updated_at"


def time_column(columns: Collection[str]) -> str:
    """Returns the column that a table is sorted and partitioned by."""
    return next(name for name in ("conversation_created_at", "created_at") if name in columns)
