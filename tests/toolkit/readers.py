"""Reads exports on a disk and in emulated stores as their readers would: plain files, Delta and Iceberg tables."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from pyiceberg.table import StaticTable, Table

import exporter
from tests.toolkit.clouds import AZURE_ACCOUNT, AZURE_KEY, Cloud
from tests.toolkit.engines import Engine, collected
from tests.toolkit.lake import delta_rows, iceberg, scan_iceberg

#: The schemes of the places where each kind is read; that of a disk is `file`.
FILES = ("file", "s3", "az", "gs")
DELTA = ("file", "s3", "az")
ICEBERG = ("file", "s3")
#: These also read Iceberg in Google's store; for pyiceberg, it would have to speak JSON.
ICEBERG_IN_GOOGLE = ("DuckDB", "ClickHouse")
#: Finds the parts of a table, and neither the checkpoints of a Delta log nor anything else that is Parquet.
PARTS = "conversations/**/part-*.parquet"
#: The table's directory, for readers that follow its version hint.
ICEBERG_TABLE = "_iceberg/conversations"
_KEYS = ("AKIAFORTESTS", "not-a-secret")


@dataclass(frozen=True)
class Place:
    """Locates an export for readers: at a path, or at a URL in a cloud."""

    uri: str
    cloud: Cloud | None = None

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self.uri}/{name}", self.cloud)

    @property
    def scheme(self) -> str:
        return "file" if self.cloud is None else self.cloud.scheme

    @property
    def endpoint(self) -> str:
        assert self.cloud is not None
        said = self.cloud.environment
        if self.scheme == "az":
            pairs = dict(part.split("=", 1) for part in said["AZURE_STORAGE_CONNECTION_STRING"].strip(";").split(";"))
            return pairs["BlobEndpoint"]
        return said["AWS_ENDPOINT_URL_S3" if self.scheme == "s3" else "STORAGE_EMULATOR_HOST"]

    @property
    def inside(self) -> str:
        """Returns the bucket and the prefix, as a path."""
        parts = urlsplit(self.uri)
        return f"{parts.netloc}{parts.path}"

    @property
    def options(self) -> dict[str, str]:
        """Returns what deltalake and Polars need to know, as options of a store."""
        match self.scheme:
            case "s3":
                key, secret = _KEYS
                keys = {"aws_access_key_id": key, "aws_secret_access_key": secret, "aws_region": "us-east-1"}
                return {**keys, "aws_endpoint_url": self.endpoint, "aws_allow_http": "true"}
            case "az":
                account = {"azure_storage_account_name": AZURE_ACCOUNT, "azure_storage_account_key": AZURE_KEY}
                return {**account, "azure_storage_endpoint": self.endpoint, "azure_allow_http": "true"}
            case "gs":
                return {"google_base_url": self.endpoint, "google_skip_signature": "true", "allow_http": "true"}
        return {}

    @property
    def properties(self) -> dict[str, str]:
        """Returns what pyiceberg needs to know of S3."""
        key, secret = _KEYS
        keys = {"s3.access-key-id": key, "s3.secret-access-key": secret, "s3.region": "us-east-1"}
        return {**keys, "s3.endpoint": self.endpoint}

    @property
    def secret(self) -> str:
        """Returns the statement with which DuckDB reaches the store."""
        if self.scheme == "az":
            connection = f"AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={self.endpoint};"
            return f"CREATE OR REPLACE SECRET az (TYPE azure, CONNECTION_STRING '{connection}')"
        (key, secret), host = _KEYS, urlsplit(self.endpoint).netloc
        type_ = {"s3": "s3", "gs": "gcs"}[self.scheme]
        there = f"ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false"
        return (
            f"CREATE OR REPLACE SECRET {type_} (TYPE {type_}, KEY_ID '{key}', SECRET '{secret}', "
            f"REGION 'us-east-1', {there})"
        )

    def in_clickhouse(self, path: str, *functions: str, format_: str = "") -> str:
        """Returns the call of the function of ClickHouse, of those for a disk, S3 and Azure, that reads a path."""
        on_disk, on_s3, on_azure = functions
        parquet = f", '{format_}'" if format_ else ""
        match self.scheme:
            case "file":
                return f"{on_disk}('{self.uri}/{path}'{parquet})"
            case "az":
                connection = f"AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={self.endpoint};"
                bucket, _, prefix = self.inside.partition("/")
                return f"{on_azure}('{connection}', '{bucket}', '{prefix}/{path}'{parquet})"
        key, secret = _KEYS
        return f"{on_s3}('{self.endpoint}/{self.inside}/{path}', '{key}', '{secret}'{parquet})"


#: Returns the rows at a place: of a version, or of the newest one, and from an instant on, if one is given.
Read: TypeAlias = Callable[[Place, int | None, datetime | None], pa.Table]


@dataclass(frozen=True)
class Readers:
    """Holds the readers of each kind, by name. `duckdb` must know the secrets of the places."""

    duckdb: Engine
    clickhouse: Engine

    def of_files(self) -> Mapping[str, Read]:
        return {
            "Polars": _polars_of_files,
            "open_dataset": _open_dataset,
            "DuckDB": self._duckdb_of_files,
            "DuckDB by the manifest": self._duckdb_of_the_manifest,
            "ClickHouse": self._clickhouse_of_files,
        }

    def of_delta(self) -> Mapping[str, Read]:
        return {
            "deltalake": _deltalake,
            "Polars": _polars_of_delta,
            "DuckDB": self._duckdb_of_delta,
            "ClickHouse": self._clickhouse_of_delta,
        }

    def of_iceberg(self) -> Mapping[str, Read]:
        return {
            "pyiceberg": _pyiceberg,
            "Polars": _polars_of_iceberg,
            "DuckDB": self._duckdb_of_iceberg,
            "ClickHouse": self._clickhouse_of_iceberg,
        }

    def _duckdb_of_files(self, place: Place, version: int | None, since: datetime | None) -> pa.Table:
        return self._by_duckdb(f"read_parquet('{place.uri}/{PARTS}', hive_partitioning = true)", since)

    def _duckdb_of_the_manifest(self, place: Place, version: int | None, since: datetime | None) -> pa.Table:
        files = f"FROM (SELECT unnest(tables.conversations.files) AS file FROM '{place.uri}/_manifest.json')"
        self.duckdb.ask(f"SET VARIABLE files = (SELECT list('{place.uri}/' || file.path) {files})")
        return self._by_duckdb("read_parquet(getvariable('files'), hive_partitioning = true)", since)

    def _duckdb_of_delta(self, place: Place, version: int | None, since: datetime | None) -> pa.Table:
        at = "" if version is None else f", version => {version}"
        return self._by_duckdb(f"delta_scan('{place.uri}/conversations'{at})", since)

    def _duckdb_of_iceberg(self, place: Place, version: int | None, since: datetime | None) -> pa.Table:
        at = "" if version is None else f", snapshot_from_id => {version}"
        path = f"{place.uri}/{ICEBERG_TABLE}"
        if place.cloud is None:
            # There the pointer is a catalog that DuckDB does not know.
            with iceberg_table(place) as table:
                path = table.metadata_location
        return self._by_duckdb(f"iceberg_scan('{path}'{at})", since)

    def _by_duckdb(self, source: str, since: datetime | None) -> pa.Table:
        where = f" WHERE created_at >= '{since.isoformat()}'" if since else ""
        return self.duckdb.ask(f"SELECT * FROM {source}{where}")

    def _clickhouse_of_files(self, place: Place, version: int | None, since: datetime | None) -> pa.Table:
        return self._by_clickhouse(
            place.in_clickhouse(PARTS, "file", "s3", "azureBlobStorage", format_="Parquet"), since
        )

    def _clickhouse_of_delta(self, place: Place, version: int | None, since: datetime | None) -> pa.Table:
        settings = "" if version is None else f" SETTINGS delta_lake_snapshot_version = {version}"
        source = place.in_clickhouse("conversations", "deltaLakeLocal", "deltaLake", "deltaLakeAzure")
        return self._by_clickhouse(source, since, settings)

    def _clickhouse_of_iceberg(self, place: Place, version: int | None, since: datetime | None) -> pa.Table:
        settings = "" if version is None else f" SETTINGS iceberg_snapshot_id = {version}"
        source = place.in_clickhouse(ICEBERG_TABLE, "icebergLocal", "icebergS3", "icebergAzure")
        return self._by_clickhouse(source, since, settings)

    def _by_clickhouse(self, source: str, since: datetime | None, settings: str = "") -> pa.Table:
        where = f" WHERE created_at >= toDateTime64('{since:%F %T.%f}', 6, 'UTC')" if since else ""
        return self.clickhouse.ask(f"SELECT * FROM {source}{where}{settings}")


def _polars_of_files(place: Place, version: int | None, since: datetime | None) -> pa.Table:
    frame = pl.scan_parquet(f"{place.uri}/{PARTS}", hive_partitioning=True, storage_options=place.options)
    return _collected_since(frame, since)


def _collected_since(frame: pl.LazyFrame, since: datetime | None) -> pa.Table:
    return collected(frame if since is None else frame.filter(pl.col("created_at") >= since))


def _open_dataset(place: Place, version: int | None, since: datetime | None) -> pa.Table:
    """Reaches a store by the environment."""
    return exporter.open_dataset(place.uri).to_table(filter=None if since is None else pc.field("created_at") >= since)


def _deltalake(place: Place, version: int | None, since: datetime | None) -> pa.Table:
    table = DeltaTable(f"{place.uri}/conversations", version=version, storage_options=place.options)
    return delta_rows(table, "true" if since is None else f"created_at >= '{since.isoformat()}'")


def _polars_of_delta(place: Place, version: int | None, since: datetime | None) -> pa.Table:
    uri = f"{place.uri}/conversations"
    return _collected_since(pl.scan_delta(uri, version=version, storage_options=place.options), since)


@contextmanager
def iceberg_table(place: Place) -> Iterator[Table]:
    """Opens a table as pyiceberg does: by the export's catalog on a disk, and by its path in a bucket."""
    if place.cloud is None:
        with iceberg(Path(place.uri)) as table:
            yield table
    else:
        yield StaticTable.from_metadata(f"{place.uri}/{ICEBERG_TABLE}", place.properties)


def _pyiceberg(place: Place, version: int | None, since: datetime | None) -> pa.Table:
    with iceberg_table(place) as table:
        return table.scan(
            "true" if since is None else f"created_at >= '{since.isoformat()}'", snapshot_id=version
        ).to_arrow()


def _polars_of_iceberg(place: Place, version: int | None, since: datetime | None) -> pa.Table:
    with iceberg_table(place) as table:
        return _collected_since(scan_iceberg(table, version), since)
