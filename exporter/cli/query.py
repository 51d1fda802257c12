"""Says where the data of an export lies, and how to read it with DuckDB."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from exporter.layout import MANIFEST
from exporter.partitions import PARTITION_KEYS
from exporter.store.location import Location, in_full, parse_location

if TYPE_CHECKING:
    from exporter.jobs.summary import Summary


def describe_reading(summary: "Summary") -> Iterator[str]:
    """Says how to read what a run has left, if reading all files gives what the export holds."""
    if not summary.files or summary.state == "incomplete" or summary.table_kind or summary.kept_files:
        return
    if summary.key:
        yield f"  query it  exporter help encryption (with the key {summary.key})"
        return
    yield "  query it  exporter help read"
    if not is_remote(summary) and re.search(r"[\\\ud800-\udfff]", directory_of(summary)):
        yield "  DuckDB finds no file below a path with a backslash, or with a name that is not UTF-8."
        return
    where = ", once it has a SECRET for this store" if is_remote(summary) else ""
    yield f"  To look at it, paste into DuckDB{where}:"
    yield f"    {_query(summary, 'conversations', 'status')}"
    if summary.turns:
        yield f"    {_query(summary, 'turns', 'role')}"
    kept = summary.recordings
    if kept is not None and (kept.stored or kept.gone or kept.expired or kept.failed or kept.refused):
        yield f"    {_query(summary, 'recordings', 'status')}"


def is_remote(summary: "Summary") -> bool:
    return "://" in summary.manifest  # which no path holds


def location_of(summary: "Summary") -> Location:
    if is_remote(summary):
        return parse_location(summary.manifest.removesuffix(f"/{MANIFEST}"))
    return Path(summary.manifest).parent


def directory_of(summary: "Summary") -> str:
    """Returns the path of the export, also for a reader that starts in another directory."""
    return in_full(location_of(summary))


def taken_for_columns(directory: str) -> list[str]:
    """Returns the directories above an export that are named like a partition of one of its columns.

    DuckDB and Polars look for partitions in the whole path, and let them stand in for the columns of the files.
    """
    from exporter.encode.descriptions import DESCRIPTIONS

    columns = {*PARTITION_KEYS, *(column for table in DESCRIPTIONS.values() for column in table)}
    parts = [part for part in directory.split("/") if "=" in part]
    return [part for part in parts if unquote(part.partition("=")[0]).lower() in columns]


def _query(summary: "Summary", table: str, column: str) -> str:
    directory = directory_of(summary)
    is_safe = not taken_for_columns(directory)
    if not is_remote(summary):
        directory = glob.escape(directory)
    files = f"{directory}/{table}/**/part-*.parquet".replace("'", "''")
    keys = f"{summary.partition_key}, {column}" if summary.partition_key and is_safe else column
    source = f"read_parquet('{files}', hive_partitioning = {str(is_safe).lower()})"
    return f"SELECT {keys}, count(*) AS {table} FROM {source} GROUP BY ALL ORDER BY ALL;"  # noqa: S608 - escaped
