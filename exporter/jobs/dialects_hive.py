"""Writes statements for Athena, Databricks, Hive and Redshift, whose SQL comes from Hive."""

from typing import Final

import pyarrow as pa

from exporter.jobs.warehouse import (
    Place,
    Types,
    WarehouseTable,
    doubled,
    escaped,
    in_backticks,
    in_quotes,
    listed,
    remarked,
    sql_type,
)
from exporter.zones import UTC_NAME

_HIVE: Final[Types] = {
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.int32(): "int",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamp",
}
#: Redshift's own names, where they differ. It has no longer text.
_REDSHIFT: Final[Types] = {**_HIVE, pa.string(): "varchar(65535)", pa.float64(): "double precision"}
#: How Athena computes partitions from their formats. The hour needs a zone whose clocks are never changed.
_PROJECTIONS: Final = {
    "hour": ("yyyy-MM-dd'T'HH", "HOURS"),
    "day": ("yyyy-MM-dd", "DAYS"),
    "month": ("yyyy-MM", "MONTHS"),
}


def athena(table: WarehouseTable) -> str:
    """Returns the statements by which Athena, and Glue with it, knows a table."""
    if table.kind == "catalog":
        return table.in_catalog("Athena, if it is Glue,")
    place = table.place_for("athena", "s3")
    if table.kind == "iceberg":
        table.refuse("athena", "Athena knows Iceberg tables from Glue alone: keep them there, by --iceberg-catalog")
    where = f"LOCATION {escaped(_directory(place, table, 's3'))}"
    name = in_backticks(table.name)
    if table.kind == "delta":
        # Athena takes the columns from the log, and refuses others.
        return f"CREATE EXTERNAL TABLE {name}\n{where}\nTBLPROPERTIES ('table_type' = 'DELTA');"
    created = f"{_external(table)}\nSTORED AS PARQUET\n{where}"
    if table.partition is None:
        return f"{created};"
    if table.partition_by not in _PROJECTIONS or (table.partition_by == "hour" and table.zone != UTC_NAME):
        return f"{created};\n{_repair(table)}"
    return f"{created}\nTBLPROPERTIES {listed([f'{escaped(k)} = {escaped(v)}' for k, v in _projection(table, place)])};"


def databricks(table: WarehouseTable) -> str:
    """Returns the statements by which Databricks, or Spark without Hive, knows a table."""
    if table.kind == "catalog":
        return table.in_catalog("Databricks, by a foreign catalog,")
    place = table.place_for("databricks", "s3", "gs", "az")
    if table.kind == "iceberg":
        table.refuse("databricks", "Databricks knows Iceberg tables from catalogs alone: keep them in one, or as Delta")
    return _spark(table, _directory(place, table, "s3"))


def hive(table: WarehouseTable) -> str:
    """Returns the statements by which Hive, or Spark with Hive's metastore, knows a table."""
    if table.kind == "catalog":
        return table.in_catalog("Hive or Spark, connected to it,")
    place = table.place_for("hive", "s3", "gs", "az", "file")
    if table.kind == "delta":
        return _spark(table, _directory(place, table, "s3a"))
    if table.kind == "iceberg":
        return (
            f"CREATE EXTERNAL TABLE {in_backticks(table.name)}\n"
            "STORED BY 'org.apache.iceberg.mr.hive.HiveIcebergStorageHandler'\n"
            f"LOCATION {escaped(_uri(place.inside(table.iceberg), 's3a'))}\n"
            "TBLPROPERTIES ('iceberg.catalog' = 'location_based_table');"
        )
    where = f"LOCATION {escaped(_directory(place, table, 's3a'))}"
    return f"{_external(table)}\nSTORED AS PARQUET\n{where};{_repaired(table)}"


def redshift(table: WarehouseTable) -> str:
    """Returns the statements by which Redshift Spectrum knows a table, with the partitions that there are now."""
    if table.kind == "catalog":
        return table.in_catalog("Redshift, if it is Glue,")
    place = table.place_for("redshift", "s3")
    if table.kind != "parquet":
        table.refuse("redshift", "Load it by `exporter changes` (exporter help warehouses)")
    name, directory = f"spectrum.{in_quotes(table.name)}", _directory(place, table, "s3")
    columns = [(field.name, f"{in_quotes(field.name)} {_type(field.type, _REDSHIFT)}") for field in table.schema]
    lines = [
        "-- A text has at most 65,535 bytes here: a longer one, such as a long transcript, is cut or refused.",
        f"CREATE EXTERNAL TABLE {name} (",
        *remarked(table, columns),
        ")",
    ]
    key = table.partition
    if key is not None:
        lines.append(f"PARTITIONED BY ({in_quotes(key.name)} {_REDSHIFT[key.type]})")
    lines += ["STORED AS PARQUET", f"LOCATION {doubled(directory)};"]
    if key is not None:
        lines += _added(name, key.name, table.partitions, directory)
    return "\n".join(lines)


def _added(name: str, key: str, values: tuple[str, ...], directory: str) -> list[str]:
    return [
        f"-- Redshift finds no {key} by itself: each new one must be added after the run that brings it.",
        *(
            f"ALTER TABLE {name} ADD IF NOT EXISTS PARTITION ({in_quotes(key)} = {doubled(value)}) "
            f"LOCATION {doubled(f'{directory}{key}={value}/')};"
            for value in values
        ),
    ]


def _external(table: WarehouseTable) -> str:
    """Returns the beginning of a statement, as Athena and Hive know it."""
    columns = [_column(table, field) for field in table.schema]
    created = f"CREATE EXTERNAL TABLE {in_backticks(table.name)} {listed(columns)}"
    if table.partition is None:
        return created
    return f"{created}\nPARTITIONED BY ({_column(table, table.partition)})"


def _spark(table: WarehouseTable, directory: str) -> str:
    name = in_backticks(table.name)
    if table.kind == "delta":
        return f"CREATE TABLE {name}\nUSING DELTA\nLOCATION {escaped(directory)};"
    key = table.partition
    columns = [_column(table, field) for field in (*table.schema, *([] if key is None else [key]))]
    by = "" if key is None else f"\nPARTITIONED BY ({in_backticks(key.name)})"
    created = f"CREATE TABLE {name} {listed(columns)}\nUSING PARQUET{by}\nLOCATION {escaped(directory)};"
    return created + _repaired(table)


def _repaired(table: WarehouseTable) -> str:
    return "" if table.partition is None else f"\n{_repair(table)}"


def _repair(table: WarehouseTable) -> str:
    return (
        "-- This finds the partitions: run it again after each run of the exporter.\n"
        f"MSCK REPAIR TABLE {in_backticks(table.name)};"
    )


def _projection(table: WarehouseTable, place: Place) -> list[tuple[str, str]]:
    """Returns properties by which Athena computes the partitions, so that none need be registered."""
    key = f"created_{'date' if table.partition_by == 'day' else table.partition_by}"
    format_, unit = _PROJECTIONS[table.partition_by]
    # Athena's NOW is that of UTC, and clocks elsewhere may already show another day.
    now = "NOW" if table.zone == UTC_NAME else "NOW+1DAYS"
    return [
        ("projection.enabled", "true"),
        (f"projection.{key}.type", "date"),
        (f"projection.{key}.format", format_),
        (f"projection.{key}.range", f"{table.first or 'NOW-3YEARS'},{now}"),
        (f"projection.{key}.interval", "1"),
        (f"projection.{key}.interval.unit", unit),
        ("storage.location.template", f"{_directory(place, table, 's3')}{key}=${{{key}}}/"),
    ]


def _column(table: WarehouseTable, field: pa.Field) -> str:
    comment = escaped(table.describe(field.name))
    return f"{in_backticks(field.name)} {_type(field.type, _HIVE)} COMMENT {comment}"


def _type(type_: pa.DataType, types: Types) -> str:
    return sql_type(type_, types, lambda of: f"struct<{', '.join(f'{name}: {member}' for name, member in of)}>")


def _directory(place: Place, table: WarehouseTable, s3: str) -> str:
    return f"{_uri(place.inside(table.name), s3)}/"


def _uri(place: Place, s3: str) -> str:
    """Returns the URI of a place for Hadoop's file systems; `s3` is the scheme that Amazon's has."""
    match place.kind:
        case "s3":
            return place.uri(s3)
        case "gs":
            return place.uri("gs")
        case "az":
            return f"abfss://{place.bucket}@{place.account}.dfs.core.windows.net/{place.path}"
        case "file":
            return f"file://{place.path}"
