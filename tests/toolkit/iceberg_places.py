"""Makes Iceberg tables over made-up parts in a bucket, in each kind of catalog."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable, Table

from exporter.contract import DAY
from exporter.coverage import Interval
from exporter.lake import catalogs
from exporter.lake.files import BUCKET, BucketFiles
from exporter.lake.iceberg import IcebergTable
from exporter.lake.place import LakePlace
from exporter.lake.table import Step, TableContents
from exporter.model import DataFile, TableFormat
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from tests.toolkit.clouds import S3, Cloud, Gate, serving
from tests.toolkit.rest_catalog import RestCatalog

T0: Final = 1_770_000_000_000_000 // DAY * DAY
SCHEMA: Final = pa.schema([pa.field("id", pa.string()), pa.field("created_at", pa.timestamp("us", tz="UTC"))])
#: The metadata of the table.
METADATA: Final = "_iceberg/conversations/metadata"

CatalogKind: TypeAlias = Literal["own", "glue", "rest", "sql"]
CATALOGS: Final[tuple[CatalogKind, ...]] = get_args(CatalogKind)


@dataclass(frozen=True)
class IcebergPlace:
    """Holds a place in a bucket with a table of it. `gate` stands before whatever decides on commits."""

    bucket: Bucket
    format: TableFormat
    properties: dict[str, str]
    gate: Gate | None
    server: RestCatalog | None = None
    catalog: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> Url:
        return self.bucket.url

    def part(self, number: int) -> DataFile:
        """Makes the part of a day, of two rows."""
        start = T0 + number * DAY
        day = (T0 + number * DAY) // DAY
        date = str(pa.scalar(day, pa.int32()).cast(pa.date32()))
        path = f"conversations/created_date={date}/part-{number:06d}.parquet"
        sink = pa.BufferOutputStream()
        rows = {"id": [f"{number}b", f"{number}a"], "created_at": [start + DAY - 1, start]}
        pq.write_table(pa.table(rows, SCHEMA), sink)
        data = sink.getvalue().to_pybytes()
        self.bucket.put(path, data, "overwrite")
        return DataFile(
            path=path,
            table="conversations",
            partition={"created_date": date},
            rows=2,
            size_bytes=len(data),
            sha256="",
            created_at_min=start,
            created_at_max=start + DAY - 1,
            window=Interval(start, start + DAY),
        )

    def open(self) -> IcebergTable:
        place = LakePlace(uri=str(self.url), bucket=self.bucket)
        return IcebergTable(place, "conversations", "x", SCHEMA, "created_date", self.format)

    @contextmanager
    def opened(self) -> Iterator[IcebergTable]:
        table = self.open()
        try:
            table.read()
            yield table
        finally:
            table.close()

    def shown(self) -> TableContents | None:
        table = self.open()
        try:
            return table.read()
        finally:
            table.close()

    def write(self, adds: list[DataFile], removes: list[DataFile], generation: int) -> None:
        with self.opened() as table:
            table.write(Step(adds, removes), generation)

    def by_reader(self) -> Table:
        """Opens the table as somebody else does: by its path, or by the catalog."""
        if self.format.catalog is None:
            return StaticTable.from_metadata(f"{self.url}/_iceberg/conversations", self.properties)
        catalog = load_catalog(self.format.catalog, **{**self.catalog, **self.properties})
        return catalog.load_table(f"{self.format.namespace}.conversations")

    def ids(self) -> set[str]:
        return set(self.by_reader().scan().to_arrow()["id"].to_pylist())


IcebergPlacing: TypeAlias = Callable[..., IcebergPlace]


@contextmanager
def iceberg_places(s3: S3, directory: Path) -> Iterator[IcebergPlacing]:
    """Yields a maker of places. All are in one cloud, and each is in a bucket of its own."""
    bucket_of_server = Url("s3", f"server-{secrets.token_hex(4)}")
    s3.make_bucket(bucket_of_server.bucket)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in s3.environment.items():
            patch.setenv(variable, value)
        sql = SqlCatalog("server", uri=f"sqlite:///{directory}/server.db", **{"py-io-impl": _FILES})
        server = RestCatalog(sql)
        gate = Gate(server)
        with serving(gate) as address, sql:
            given: dict[str, dict[str, Any]] = {}

            def load(name: str) -> Any:
                return load_catalog(name, **given[name])

            patch.setattr(catalogs, "load_catalog", load)

            def place(kind: CatalogKind, prefix: str = "some/where", cloud: Cloud = s3) -> IcebergPlace:
                for variable, value in cloud.environment.items():
                    patch.setenv(variable, value)
                name = f"lake-{secrets.token_hex(4)}"
                cloud.make_bucket(name)
                url = Url(cloud.scheme, name, prefix)
                bucket = Bucket(url, open_bucket(url), (0.0, 0.0))
                properties = {
                    "s3.endpoint": s3.url,
                    "s3.access-key-id": s3.environment["AWS_ACCESS_KEY_ID"],
                    "s3.secret-access-key": s3.environment["AWS_SECRET_ACCESS_KEY"],
                    "s3.region": "us-east-1",
                }
                if kind == "own":
                    return IcebergPlace(bucket, TableFormat(kind="iceberg"), properties, s3.gate)
                given[name] = {
                    "glue": {
                        "type": "glue",
                        "glue.endpoint": s3.url,
                        "glue.region": "us-east-1",
                        "glue.access-key-id": "AKIAFORTESTS",
                        "glue.secret-access-key": "not-a-secret",
                    },
                    "rest": {"type": "rest", "uri": address},
                    "sql": {"type": "sql", "uri": f"sqlite:///{directory}/{name}.db"},
                }[kind]
                sql.properties = {**sql.properties, BUCKET: _whole(bucket)}
                format_ = TableFormat(kind="iceberg", catalog=name, namespace=name.replace("-", "_"))
                found = IcebergPlace(bucket, format_, properties, {"rest": gate, "glue": s3.gate}.get(kind), server)
                return replace(found, catalog=given[name])

            yield place


_FILES = f"{BucketFiles.__module__}.{BucketFiles.__qualname__}"


def _whole(bucket: Bucket) -> Any:
    url = replace(bucket.url, prefix="")
    return Bucket(url, open_bucket(url))
