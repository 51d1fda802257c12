"""`exporter schema` shows the columns of a table, for people, programs and DuckDB."""

import json
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from exporter.encode.descriptions import DESCRIPTIONS, PARTITION
from exporter.encode.tables import Tables
from exporter.errors import UsageError
from exporter.jobs.dataset import table_schema
from exporter.layout import ALL_TABLES, TABLES
from exporter.privacy import Policy
from exporter.run.reconcile import without_dropped
from exporter.settings import PartitionBy, Request, SchemaFormat
from exporter.words import did_you_mean
from exporter.zones import UTC_NAME

_SQL: Final = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}


def new_schema(table: str, fields: tuple[str, ...] | None, policy: Policy | None = None) -> pa.Schema:
    """Returns the columns that the files of a table have if it is exported now, under a `policy`. `fields` is None for
    all."""
    if table not in ALL_TABLES:
        near = did_you_mean(table, ALL_TABLES) or f" The tables are {', '.join(ALL_TABLES)}"
        raise UsageError(f"--table {table}: no such table.{near}")
    request = Request(fields=without_dropped(fields, policy), tables=TABLES)
    return Tables.of(request).schemas[table]


def render_schema(
    table: str, schema: pa.Schema, partition_by: PartitionBy, as_: SchemaFormat, zone: str = UTC_NAME
) -> str:
    """Returns the columns as text. `schema` is that of the table's files; the key of the partitions comes last."""
    whole = table_schema(schema, partition_by)
    partition = PARTITION.format(zone=zone, unit=partition_by)
    match as_:
        case "arrow":
            return str(whole.to_string(show_field_metadata=False, show_schema_metadata=False))
        case "json":
            columns = [
                {
                    "name": field.name,
                    "type": str(field.type),
                    "nullable": field.nullable,
                    "partition": field.name not in schema.names,
                    "description": _description(table, schema, field.name, partition),
                }
                for field in whole
            ]
            return json.dumps(columns, indent=2)
        case "sql":
            return "\n".join(_sql(table, whole, schema, partition))


def _sql(table: str, whole: pa.Schema, schema: pa.Schema, partition: str) -> Iterator[str]:
    yield f"CREATE TABLE {_quoted(table)} ("
    for number, field in enumerate(whole, start=1):
        comma = "," if number < len(whole) else ""
        description = _description(table, schema, field.name, partition)
        yield f"  {_quoted(field.name)} {_sql_type(field.type)}{comma} -- {description}"
    yield ");"


def _sql_type(type_: pa.DataType) -> str:
    if pa.types.is_struct(type_):
        members = ", ".join(f"{_quoted(member.name)} {_sql_type(member.type)}" for member in type_)
        return f"STRUCT({members})"
    return _SQL[type_]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _description(table: str, schema: pa.Schema, column: str, partition: str) -> str:
    if column not in schema.names:
        return partition
    # A newer exporter may have written columns that this one cannot describe.
    return DESCRIPTIONS.get(table, {}).get(column, "")
