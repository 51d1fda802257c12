"""Reads Delta and Iceberg tables: each reader returns all rows of a table, of the newest version or of an older one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

from exporter.lake.pointer import ExportCatalog
from exporter.partitions import PARTITION_KEYS
from exporter.store.objects.bucket import Bucket
from tests.end_to_end.records import Record
from tests.toolkit.engines import collected, duckdb_engine


class Readable(Protocol):
    """Says where tables are, and what a reader needs to get there. `files` is where they are if that is a disk."""

    @property
    def files(self) -> Path: ...
    @property
    def bucket(self) -> Bucket | None: ...
    def uri(self, table: str = "conversations") -> str: ...
    def options(self) -> dict[str, str]: ...


#: A destination on a disk, or anywhere.
Where: TypeAlias = Path | Readable
#: Reads the table at a destination, in the version that the reader knows by this number; `None` is the newest.
Read: TypeAlias = Callable[[Where, int | None], Mapping[str, Record]]

Kind: TypeAlias = Literal["delta", "iceberg"]
KINDS: tuple[Kind, ...] = ("delta", "iceberg")


def readers(kind: str) -> dict[str, Read]:
    """Returns, by name, the readers of this kind of table that run in this process."""
    if kind == "delta":
        return {"deltalake": _by_deltalake, "Polars": _by_polars_of_delta}
    return {"pyiceberg": _by_pyiceberg, "Polars": _by_polars_of_iceberg}


def delta_table(where: Where, table: str = "conversations", version: int | None = None) -> DeltaTable:
    """Opens a Delta table."""
    if isinstance(where, Path):
        return DeltaTable(where / table, version)
    return DeltaTable(where.uri(table), version, storage_options=where.options())


def versions(where: Where, kind: str, table: str = "conversations") -> dict[int, int]:
    """Returns the number by which a reader knows the version of each generation."""
    key = "exporter.generation"
    if kind == "delta":
        history = delta_table(where, table).history()
        return {commit[key]: commit["version"] for commit in history if key in commit}
    with iceberg(where, table) as found:
        stamped = [(one.summary[key] if one.summary else None, one.snapshot_id) for one in found.snapshots()]
        return {int(generation): snapshot for generation, snapshot in stamped if generation is not None}


@contextmanager
def iceberg(where: Where, table: str = "conversations") -> Iterator[Table]:
    if not isinstance(where, Path) and where.bucket is not None:
        yield _Outsider(where.bucket, s3_properties(where.options())).load_table(f"exporter.{table}")
        return
    root = where if isinstance(where, Path) else where.files
    with SqlCatalog("exporter", uri=f"sqlite:///{root.absolute()}/_iceberg/catalog.db") as catalog:
        yield catalog.load_table(f"exporter.{table}")


def s3_properties(options: Mapping[str, str]) -> dict[str, str]:
    """Returns by pyiceberg's names what leads deltalake to S3."""
    return {
        "s3.endpoint": options["AWS_ENDPOINT_URL"],
        "s3.access-key-id": options["AWS_ACCESS_KEY_ID"],
        "s3.secret-access-key": options["AWS_SECRET_ACCESS_KEY"],
        "s3.region": options["AWS_REGION"],
    }


class _Outsider(ExportCatalog):
    """Commits to a table without a catalog as other programs do that know its layout; its files go by pyarrow."""

    def __init__(self, bucket: Bucket, properties: dict[str, str]) -> None:
        super().__init__(bucket)
        self._io = PyArrowFileIO(properties)

    def _load_file_io(self, *_: Any, **__: Any) -> FileIO:
        return self._io


def records_of(table: pa.Table) -> dict[str, Record]:
    """Returns the rows by id, without the key of the partitions."""
    rows = table.drop_columns([name for name in table.column_names if name in _PARTITIONS]).to_pylist()
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows), "a row is there twice"
    return found


_PARTITIONS = set(PARTITION_KEYS)


def _by_deltalake(where: Where, version: int | None) -> dict[str, Record]:
    return records_of(delta_rows(delta_table(where, version=version)))


def delta_rows(table: DeltaTable, where: str = "true") -> pa.Table:
    """Returns the table's rows, without `to_pyarrow_table`, whose threads sometimes abort a process that ends."""
    reader = QueryBuilder().register("rows", table).execute(f"SELECT * FROM rows WHERE {where}")
    return pa.RecordBatchReader.from_stream(reader).read_all()


def _by_polars_of_delta(where: Where, version: int | None) -> dict[str, Record]:
    return records_of(collected(scan_delta(where, version)))


def scan_delta(where: Where, version: int | None = None) -> pl.LazyFrame:
    """Opens a Delta table of conversations by Polars, for `collected`."""
    if isinstance(where, Path):
        return pl.scan_delta(where / "conversations", version=version)
    return pl.scan_delta(where.uri(), version=version, storage_options=where.options())


def _by_pyiceberg(where: Where, version: int | None) -> dict[str, Record]:
    with iceberg(where) as table:
        return records_of(table.scan(snapshot_id=version).to_arrow())


def scan_iceberg(table: Table, version: int | None = None) -> pl.LazyFrame:
    """Opens an Iceberg table by Polars, for `collected`, from where its metadata is and how its files are reached."""
    options = {name: value for name, value in table.io.properties.items() if name.startswith("s3.")}
    return pl.scan_iceberg(table.metadata_location, snapshot_id=version, storage_options=options)


def _by_polars_of_iceberg(where: Where, version: int | None) -> dict[str, Record]:
    with iceberg(where) as table:
        return records_of(collected(scan_iceberg(table, version)))


def by_duckdb(where: Where, version: int | None) -> dict[str, Record]:
    """Returns the rows of a Delta table. The first call installs DuckDB and its extension beside this environment."""
    at = "" if version is None else f", version => {version}"
    return records_of(
        query_by_duckdb(f"FROM delta_scan('conversations'{at})", where if isinstance(where, Path) else where.files)
    )


def query_by_duckdb(query: str, directory: Path) -> pa.Table:
    """Returns the answer to a query in this directory."""
    with duckdb_engine(directory) as engine:
        return engine.ask(query)
