"""Makes columns of a new Iceberg table known to pyiceberg, which goes by ids. The parts hold none."""

from typing import Final

import pyarrow as pa
from pyiceberg.table import Transaction

_NAME_MAPPING: Final = "schema.name-mapping.default"
_FIELD_ID: Final = b"PARQUET:field_id"


def map_names(transaction: Transaction) -> None:
    """Maps columns by their names, because the parts hold no ids."""
    mapping = transaction.table_metadata.schema().name_mapping
    transaction.set_properties({_NAME_MAPPING: mapping.model_dump_json()})


def with_ids(schema: pa.Schema) -> pa.Schema:
    """Numbers the columns, because pyiceberg needs ids; a new table then gives them others."""
    numbers = iter(range(1, 10_000))

    def number(field: pa.Field) -> pa.Field:
        type_ = field.type
        if pa.types.is_struct(type_):
            type_ = pa.struct([number(type_.field(index)) for index in range(type_.num_fields)])
        return pa.field(field.name, type_, field.nullable, {_FIELD_ID: str(next(numbers)).encode()})

    return pa.schema([number(field) for field in schema])
