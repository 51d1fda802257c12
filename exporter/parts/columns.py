"""Parts and the columns they have: a table's columns are only ever added to, so that older parts may lack some."""

import pyarrow as pa

from exporter.contract import ADDED
from exporter.errors import DestinationError


def is_of(found: pa.Schema, schema: pa.Schema) -> bool:
    """Whether a part has the columns of `schema`, or those that there were before some were added (`ADDED`)."""
    there = set(found.names)
    return bool(found.equals(pa.schema([field for field in schema if field.name in there or not _was_added(field)])))


def complete(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows of any part with the columns of `schema`: null in those that it was written before.

    Raises `DestinationError` for columns that `schema` does not have: they would be lost.
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
