"""`exporter schema` shows the columns of a table, for people, programs, DuckDB and warehouses."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from exporter.contract import parse_timestamp
from exporter.encode.tables import Tables
from exporter.errors import UsageError
from exporter.jobs.dataset import load_table, schema_of, table_schema
from exporter.jobs.dialects import register
from exporter.jobs.warehouse import Place, Types, WarehouseTable, in_quotes, remarked, sql_type
from exporter.layout import ALL_TABLES, TABLES
from exporter.partitions import partition_of
from exporter.privacy import Policy
from exporter.run.reconcile import without_dropped
from exporter.settings import Request, SchemaFormat
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store
from exporter.words import did_you_mean

_SQL: Final[Types] = {
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


async def load_warehouse_table(location: Location, table: str, copy: Place | None = None) -> WarehouseTable:
    """Returns a table of the export at a location, by its manifest; it is read from a `copy`, if there is one.

    Raises the errors of `open_dataset`, and `UsageError` for a copy of an Iceberg table.
    """
    async with open_store(location) as store:
        manifest, shown = await load_table(store, table)
        found = WarehouseTable(
            name=table,
            schema=schema_of(shown),
            partition_by=manifest.request.partition_by,
            zone=manifest.request.timezone,
            place=copy or _place_of(location),
            format=manifest.table_format,
            is_encrypted=manifest.encryption is not None,
        )
        if found.kind == "iceberg" and copy is not None:
            raise UsageError("--location: an Iceberg table holds whole paths, and is read where it is: leave it out")
        metadata = await _newest_metadata(store, found) if found.kind == "iceberg" else None
    partitions = sorted({value for file in shown.files for value in file.partition.values()})
    since = None if manifest.range is None else manifest.range.start
    start = () if since is None else partition_of(parse_timestamp(since), found.partition_by, found.zone)[0].values()
    return replace(
        found, partitions=tuple(partitions), first=min((*start, *partitions), default=None), metadata=metadata
    )


def _place_of(location: Location) -> Place:
    """Returns the place of a destination, as the environment that the exporter reads it by says. Asks no network."""
    place = Place.of(location)
    if isinstance(location, Path) or location.scheme == "gs":
        return place
    if location.scheme == "s3":
        from exporter.store.objects.amazon import find_address

        return replace(place, address=find_address(location))
    from exporter.store.objects.clouds import azure_config

    return replace(place, account=str(azure_config(os.environ).get("account_name", "")))


async def _newest_metadata(store: Store, table: WarehouseTable) -> str | None:
    hint = await store.read(f"{table.iceberg}/metadata/version-hint.text")
    return None if hint is None else f"{table.iceberg}/metadata/v{hint.decode().strip()}.metadata.json"


def render_schema(table: WarehouseTable, as_: SchemaFormat) -> str:
    """Returns the columns of a table as text; the key of the partitions comes last.

    Raises `UsageError` for a warehouse that cannot read the table, or if it is not known where that lies.
    """
    name, schema = table.name, table.schema
    whole = table_schema(schema, table.partition_by)
    match as_:
        case "arrow":
            return str(whole.to_string(show_field_metadata=False, show_schema_metadata=False))
        case "json":
            described = [
                {
                    "name": field.name,
                    "type": str(field.type),
                    "nullable": field.nullable,
                    "partition": field.name not in schema.names,
                    "description": table.describe(field.name),
                }
                for field in whole
            ]
            return json.dumps(described, indent=2)
        case "sql":
            columns = [(field.name, f"{in_quotes(field.name)} {_sql_type(field.type)}") for field in whole]
            return "\n".join([f"CREATE TABLE {in_quotes(name)} (", *remarked(table, columns), ");"])
        case _:
            return register(table, as_)


def _sql_type(type_: pa.DataType) -> str:
    return sql_type(
        type_, _SQL, lambda of: f"STRUCT({', '.join(f'{in_quotes(name)} {member}' for name, member in of)})"
    )
