"""Says what a warehouse has to know of a table to read it where it is, and how its SQL is spelled. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, NoReturn, Self, TypeAlias

import pyarrow as pa

from exporter.encode.descriptions import DESCRIPTIONS, PARTITION
from exporter.encode.schema import partition_field
from exporter.errors import UsageError
from exporter.layout import ICEBERG
from exporter.model import TableFormat
from exporter.partitions import key_of
from exporter.settings import PartitionBy
from exporter.store.location import Location, parse_location

#: Where an export may lie: in a bucket of one of three clouds, or on a disk.
PlaceKind: TypeAlias = Literal["s3", "gs", "az", "file"]
#: The SQL types of a dialect by Arrow type. Those of structs are made of their members.
Types: TypeAlias = Mapping[pa.DataType, str]

_AZURE: Final = re.compile(r"abfss://([^@/]+)@([a-z0-9]+)\.dfs\.core\.windows\.net(?:/(.*))?")


@dataclass(frozen=True, slots=True)
class Place:
    """Locates an export for programs elsewhere: `path` lies in the bucket or container, or is that of a directory.

    `account` is the storage account of an Azure container, and empty if it is not known. `address` is that of an S3
    bucket, and empty if it is Amazon's usual one.
    """

    kind: PlaceKind
    path: str
    bucket: str = ""
    account: str = ""
    address: str = ""

    @classmethod
    def of(cls, location: Location, account: str = "") -> Self:
        """Returns the place of a destination."""
        if isinstance(location, Path):
            return cls("file", str(location.absolute()))
        return cls(location.scheme, location.prefix, location.bucket, account if location.scheme == "az" else "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the place that was named, also as `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX`.

        Raises `UsageError`.
        """
        match = _AZURE.fullmatch(text)
        try:
            location = parse_location(f"az://{match[1]}/{match[3] or ''}" if match else text)
        except UsageError as error:
            raise UsageError(f"--location: {error}") from error
        return cls.of(location, match[2] if match else "")

    @property
    def is_elsewhere(self) -> bool:
        """Returns whether the bucket is at an endpoint that is not Amazon's, where `s3://` does not lead by itself."""
        return bool(self.address) and ".amazonaws." not in self.address

    def __str__(self) -> str:
        return "a directory of this machine" if self.kind == "file" else self.uri(self.kind)

    def uri(self, scheme: str) -> str:
        """Returns its URI without a `/` at the end, in a scheme that has the bucket first."""
        return f"{scheme}://{self.bucket}/{self.path}".rstrip("/")

    def inside(self, path: str) -> Self:
        """Returns a place inside this one."""
        return replace(self, path=f"{self.path}/{path}" if self.path else path)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseTable:
    """Describes a table. `schema` is that of its files, and `place` that of its export, None if there is none yet.

    `partitions` are the values of the key of the directories that there are, sorted; the earliest that may come is
    `first`, if known. With a table `format`, readers must not read the files. `metadata` is the newest metadata file of
    an Iceberg table with a pointer of its own, relative to the export.
    """

    name: str
    schema: pa.Schema
    partition_by: PartitionBy
    zone: str
    place: Place | None = None
    format: TableFormat | None = None
    partitions: tuple[str, ...] = ()
    first: str | None = None
    metadata: str | None = None
    is_encrypted: bool = False

    @property
    def partition(self) -> pa.Field | None:
        """Returns the column that directories are named by."""
        key = key_of(self.partition_by)
        return None if key is None else partition_field(key)

    @property
    def kind(self) -> Literal["parquet", "delta", "iceberg", "catalog"]:
        """Returns how readers find the rows: in files, a Delta table, an Iceberg table of its own, or in a catalog."""
        if self.format is None:
            return "parquet"
        return "catalog" if self.format.catalog is not None else self.format.kind

    @property
    def iceberg(self) -> str:
        """Returns where an Iceberg table lies, relative to the export."""
        return f"{ICEBERG}/{self.name}"

    def describe(self, column: str) -> str:
        """Returns what a column holds, in a few words; an empty text if this exporter does not know."""
        if column not in self.schema.names:
            return PARTITION.format(zone=self.zone, unit=self.partition_by)
        return DESCRIPTIONS.get(self.name, {}).get(column, "")

    def place_for(self, dialect: str, *kinds: PlaceKind) -> Place:
        """Returns where the export lies. Raises `UsageError` unless that is known, and of one of these kinds."""
        if self.place is None:
            raise UsageError(f"--format {dialect}: give --location URI: the place where the export lies or will lie")
        if self.place.kind not in kinds:
            *others, last = [f"{kind}://" for kind in kinds if kind != "file"]
            named = f"{', '.join(others)} or {last}" if others else last
            raise UsageError(
                f"--format {dialect}: reads from {named}, and the export lies in {self.place}. Copy it, and give the "
                "place of the copy by --location"
            )
        if self.place.kind == "az" and not self.place.account:
            raise UsageError(
                f"--format {dialect}: the storage account is not known. Give "
                "--location abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX"
            )
        return self.place

    def refuse(self, dialect: str, instead: str) -> NoReturn:
        """Raises `UsageError` because a dialect cannot read the table in its format."""
        kind = "Delta" if self.kind == "delta" else "Iceberg"
        raise UsageError(f"--format {dialect}: cannot read {kind} tables from where this export lies. {instead}")

    def in_catalog(self, which: str) -> str:
        """Returns a remark for readers of a catalog, in which the table is already."""
        if self.format is None:
            raise ValueError("not in a catalog")
        return (
            f"-- Nothing to register: {self.format.namespace}.{self.name} is in the Iceberg catalog\n"
            f"-- {self.format.catalog!r} of pyiceberg's configuration, and {which} reads it from there."
        )


def doubled(text: str) -> str:
    """Returns a literal in standard SQL."""
    return "'" + text.replace("'", "''") + "'"


def escaped(text: str) -> str:
    """Returns a literal where a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def in_quotes(name: str) -> str:
    """Returns an identifier in standard SQL."""
    return '"' + name.replace('"', '""') + '"'


def in_backticks(name: str) -> str:
    """Returns an identifier of Hive and its like."""
    return "`" + name.replace("`", "``") + "`"


def sql_type(type_: pa.DataType, types: Types, struct: Callable[[list[tuple[str, str]]], str]) -> str:
    """Returns the SQL type of a column. `struct` makes that of a struct, of its members' names and types."""
    if pa.types.is_struct(type_):
        return struct([(member.name, sql_type(member.type, types, struct)) for member in type_])
    return types[type_]


def listed(lines: list[str]) -> str:
    """Returns the lines of a list in parentheses, with commas between them."""
    return "(\n" + ",\n".join(f"  {line}" for line in lines) + "\n)"


def remarked(table: WarehouseTable, columns: list[tuple[str, str]]) -> Iterator[str]:
    """Yields the lines of a list of columns, each with its description as a remark: for SQL without comments."""
    for number, (name, line) in enumerate(columns, start=1):
        yield f"  {line}{',' if number < len(columns) else ''} -- {table.describe(name)}"
