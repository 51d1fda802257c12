"""Writes the SQL by which a warehouse knows a table of an export, where it is. Pure: it asks no warehouse.

With a table format, that is how the table is registered, and never its files: they hold rows that were replaced.
"""

from collections.abc import Callable, Mapping
from typing import Final

from exporter.errors import UsageError
from exporter.jobs.dialects_cloud import bigquery, clickhouse, snowflake
from exporter.jobs.dialects_hive import athena, databricks, hive, redshift
from exporter.jobs.warehouse import WarehouseTable
from exporter.settings import WarehouseDialect

_WRITERS: Final[Mapping[WarehouseDialect, Callable[[WarehouseTable], str]]] = {
    "athena": athena,
    "bigquery": bigquery,
    "snowflake": snowflake,
    "redshift": redshift,
    "databricks": databricks,
    "clickhouse": clickhouse,
    "hive": hive,
}


def register(table: WarehouseTable, dialect: WarehouseDialect) -> str:
    """Returns the statements by which a warehouse knows `table`, each with a semicolon at its end.

    Raises `UsageError` if the warehouse does not read from where the table lies, or not in its format, or if its parts
    are encrypted.
    """
    if table.is_encrypted:
        raise UsageError(f"--format {dialect}: the parts are encrypted, and no warehouse can read them")
    text = _WRITERS[dialect](table)
    if dialect == "clickhouse" or table.kind == "catalog" or table.place is None or not table.place.is_elsewhere:
        return text
    return f"-- The bucket is at {table.place.address}: tell {dialect} so, because s3:// leads to Amazon.\n{text}"
