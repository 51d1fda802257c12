"""Writes statements for BigQuery, Snowflake and ClickHouse."""

from typing import Final

import pyarrow as pa

from exporter.errors import UsageError
from exporter.jobs.warehouse import (
    Place,
    Types,
    WarehouseTable,
    escaped,
    in_backticks,
    in_quotes,
    listed,
    remarked,
    sql_type,
)

_BIGQUERY: Final[Types] = {
    pa.string(): "STRING",
    pa.int64(): "INT64",
    pa.int32(): "INT64",
    pa.float64(): "FLOAT64",
    pa.bool_(): "BOOL",
    pa.date32(): "DATE",
    pa.timestamp("us", "UTC"): "TIMESTAMP",
}
_SNOWFLAKE: Final[Types] = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.timestamp("us", "UTC"): "TIMESTAMP_TZ",
}
_CLICKHOUSE: Final[Types] = {
    pa.string(): "Nullable(String)",
    pa.int64(): "Nullable(Int64)",
    pa.int32(): "Nullable(Int32)",
    pa.float64(): "Nullable(Float64)",
    pa.bool_(): "Nullable(Bool)",
    pa.timestamp("us", "UTC"): "Nullable(DateTime64(6, 'UTC'))",
}
#: Those of the keys of directories, which are never null.
_CLICKHOUSE_KEYS: Final[Types] = {pa.date32(): "Date32", pa.string(): "String"}
#: What ClickHouse does not take as it stands in a path.
_WILDCARDS: Final = frozenset("*?{}")
_PATTERN: Final = ".*/part-[^/]*[.]parquet"


def bigquery(table: WarehouseTable) -> str:
    """Returns the statement by which BigQuery knows a table of the dataset that is its default."""
    if table.kind == "catalog":
        return table.in_catalog("BigQuery, connected to it,")
    place = table.place_for("bigquery", "gs")
    created = f"CREATE EXTERNAL TABLE {in_backticks(table.name)}"
    if table.kind != "parquet":
        path = table.name if table.kind == "delta" else _metadata(table, "bigquery")
        options = [
            f"format = '{'DELTA_LAKE' if table.kind == 'delta' else 'ICEBERG'}'",
            f"uris = [{escaped(place.inside(path).uri('gs'))}]",
        ]
        return f"{created}\nWITH CONNECTION DEFAULT\nOPTIONS {listed(options)};"
    columns = [
        f"{in_backticks(field.name)} {_bigquery_type(field.type)} OPTIONS (description = "
        f"{escaped(table.describe(field.name))})"
        for field in table.schema
    ]
    key, directory = table.partition, place.inside(table.name).uri("gs")
    # There may be one `*` in a URI, which also stands for `/`: so it must not begin where other files may lie.
    options = [
        "format = 'PARQUET'",
        f"uris = [{escaped(f'{directory}/part-*' if key is None else f'{directory}/{key.name}=*')}]",
    ]
    keys = ""
    if key is not None:
        keys = f"\nWITH PARTITION COLUMNS ({in_backticks(key.name)} {_BIGQUERY[key.type]})"
        options.append(f"hive_partition_uri_prefix = {escaped(directory)}")
    return f"{created} {listed(columns)}{keys}\nOPTIONS {listed(options)};"


def snowflake(table: WarehouseTable) -> str:
    """Returns the statements by which Snowflake knows a table.

    Names are in capitals and in quotes, so that queries may use them without quotes, in any case.
    """
    name = in_quotes(table.name.upper())
    if table.format is not None and table.kind == "catalog":
        return (
            f"CREATE ICEBERG TABLE {name}\n  EXTERNAL_VOLUME = 'EXPORTER_VOLUME'\n  CATALOG = 'EXPORTER_CATALOG'\n"
            f"  CATALOG_NAMESPACE = {escaped(table.format.namespace)}\n"
            f"  CATALOG_TABLE_NAME = {escaped(table.name)}\n  AUTO_REFRESH = TRUE;"
        )
    place = table.place_for("snowflake", "s3", "gs", "az")
    if table.kind != "parquet":
        volume = f"-- The external volume EXPORTER_VOLUME must have STORAGE_BASE_URL = {escaped(_stage_url(place))}.\n"
        catalog = "EXPORTER_DELTA" if table.kind == "delta" else "EXPORTER_ICEBERG"
        created = f"CREATE ICEBERG TABLE {name}\n  EXTERNAL_VOLUME = 'EXPORTER_VOLUME'\n  CATALOG = '{catalog}'\n"
        if table.kind == "delta":
            return f"{volume}{created}  BASE_LOCATION = {escaped(f'{table.name}/')}\n  AUTO_REFRESH = TRUE;"
        return f"{volume}{created}  METADATA_FILE_PATH = {escaped(_metadata(table, 'snowflake'))};"
    columns = [(field.name, f"{in_quotes(field.name.upper())} {_snowflake_cast(field)}") for field in table.schema]
    key = table.partition
    by = ""
    if key is not None:
        part = f"SPLIT_PART(SPLIT_PART(METADATA$FILENAME, '/{key.name}=', 2), '/', 1)"
        value = f"TO_DATE({part})" if key.type == pa.date32() else part
        columns.append((key.name, f"{in_quotes(key.name.upper())} {_SNOWFLAKE[key.type]} AS ({value})"))
        by = f"PARTITION BY ({in_quotes(key.name.upper())})\n"
    listing = "\n".join(remarked(table, columns))
    return (
        f"-- The stage EXPORTER_STAGE must have URL = {escaped(_stage_url(place))}.\n"
        f"CREATE EXTERNAL TABLE {name} (\n{listing}\n)\n{by}"
        f"LOCATION = @EXPORTER_STAGE/{table.name}/\nPATTERN = '{_PATTERN}'\nAUTO_REFRESH = FALSE\n"
        "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE);\n"
        f"-- Snowflake finds new files by: ALTER EXTERNAL TABLE {name} REFRESH"
    )


def clickhouse(table: WarehouseTable) -> str:
    """Returns the statement by which ClickHouse knows a table. It finds its credentials in the server's settings."""
    if table.kind == "catalog":
        return table.in_catalog("ClickHouse, by a database with the engine DataLakeCatalog,")
    place = table.place_for("clickhouse", "s3", "gs", "az", "file")
    if not _WILDCARDS.isdisjoint(place.path):
        raise UsageError("--format clickhouse: the path of the export has a character that ClickHouse takes for others")
    created = f"CREATE TABLE {in_quotes(table.name)}"
    if table.kind != "parquet":
        engine, path = ("DeltaLake", table.name) if table.kind == "delta" else ("Iceberg", table.iceberg)
        suffixes = {"s3": "" if table.kind == "delta" else "S3", "az": "Azure", "file": "Local"}
        suffix = suffixes["s3" if place.kind == "gs" else place.kind]
        return f"{created}\nENGINE = {engine}{suffix}({_clickhouse_place(place.inside(f'{path}/'))});"
    key = table.partition
    columns = [
        f"{in_quotes(field.name)} {_clickhouse_type(field.type)} COMMENT {escaped(table.describe(field.name))}"
        for field in table.schema
    ]
    path = f"{table.name}/part-*.parquet"
    if key is not None:
        comment = escaped(table.describe(key.name))
        columns.append(f"{in_quotes(key.name)} {_CLICKHOUSE_KEYS[key.type]} COMMENT {comment}")
        path = f"{table.name}/{key.name}=*/part-*.parquet"
    files = place.inside(path)
    if place.kind == "file":
        return f"{created} {listed(columns)}\nENGINE = File('Parquet', {escaped(files.path)});"
    engine = "AzureBlobStorage" if place.kind == "az" else "S3"
    return f"{created} {listed(columns)}\nENGINE = {engine}({_clickhouse_place(files)}, 'Parquet');"


def _metadata(table: WarehouseTable, dialect: str) -> str:
    if table.metadata is None:
        raise UsageError(f"--format {dialect}: the Iceberg table has no metadata yet. Run the exporter first")
    return table.metadata


def _bigquery_type(type_: pa.DataType) -> str:
    return sql_type(
        type_, _BIGQUERY, lambda of: f"STRUCT<{', '.join(f'{in_backticks(name)} {member}' for name, member in of)}>"
    )


def _snowflake_cast(field: pa.Field) -> str:
    type_ = sql_type(field.type, _SNOWFLAKE, lambda _: "VARIANT")
    return f"{type_} AS ($1:{in_quotes(field.name)}::{type_})"


def _stage_url(place: Place) -> str:
    match place.kind:
        case "az":
            return f"azure://{place.account}.blob.core.windows.net/{place.bucket}/{place.path}".rstrip("/") + "/"
        case "gs":
            return f"{place.uri('gcs')}/"
        case _:
            return f"{place.uri('s3')}/"


def _clickhouse_type(type_: pa.DataType) -> str:
    return sql_type(
        type_, _CLICKHOUSE, lambda of: f"Tuple({', '.join(f'{in_quotes(name)} {member}' for name, member in of)})"
    )


def _clickhouse_place(place: Place) -> str:
    """Returns the arguments by which an engine finds a place."""
    match place.kind:
        case "az":
            account = f"https://{place.account}.blob.core.windows.net"
            return ", ".join(map(escaped, (account, place.bucket, place.path)))
        case "gs":
            return escaped(f"https://storage.googleapis.com/{place.bucket}/{place.path}")
        case "s3":
            return escaped(f"{place.address or f'https://{place.bucket}.s3.amazonaws.com'}/{place.path}")
        case "file":
            return escaped(place.path)
