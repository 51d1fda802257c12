"""Reads and writes an Iceberg table, whose metadata lies beside its directory and names the parts where they are.

The parts hold no field ids, so the table has a name mapping. The catalog is a file of the export's own, or one of
pyiceberg's configuration, which also has its credentials. Blocking.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import to_bytes
from pyiceberg.exceptions import CommitFailedException, NoSuchNamespaceError, NoSuchTableError
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.typedef import Record
from pyiceberg.types import TimestamptzType

from exporter.errors import ForeignTableError, StoreError
from exporter.lake.iceberg_partition import IcebergPartition
from exporter.lake.place import LakePlace
from exporter.lake.table import GENERATION, Step, TableContents
from exporter.layout import ICEBERG
from exporter.model import DataFile, TableFormat
from exporter.parts.columns import time_column
from exporter.store.disk import finish, make_directories, open_private, reporting
from exporter.zones import UTC_NAME

_EXPORT: Final = "exporter.export-id"
_NAME_MAPPING: Final = "schema.name-mapping.default"
_FIELD_ID: Final = b"PARQUET:field_id"
_PROPERTIES: Final = {
    # The parts belong to the export: no engine may delete them because the table alone no longer needs them.
    "gc.enabled": "false",
    # A retry would come after what another writer has written.
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
}


class IcebergTable:
    """Represents one table of the export `export_id` at `place`; `schema` is that of its parts, `partition` the key of
    its directories, in `zone`. `table.LakeTable` says what the methods do."""

    def __init__(
        self,
        place: LakePlace,
        name: str,
        export_id: str,
        schema: pa.Schema,
        partition: str | None,
        format_: TableFormat,
        zone: str = UTC_NAME,
    ) -> None:
        root = Path(place.uri)
        self.name = name
        self.where = str(root / ICEBERG / name) if format_.catalog is None else f"{format_.catalog}: {name}"
        self._format = format_
        self._place = place
        self._root = root
        self._database = root / ICEBERG / "catalog.db"
        self._location = f"file://{root / ICEBERG / name}"
        self._metadata = f"{ICEBERG}/{name}/metadata"
        self._export_id = export_id
        self._time_column = time_column(schema.names)
        self._partition = None if partition is None else IcebergPartition.of(partition, zone, self._time_column)
        added = None if self._partition is None else self._partition.added
        self._schema = schema if added is None else schema.append(added)
        self._catalog: Catalog | None = None
        self._table: Table | None = None

    def read(self) -> TableContents | None:
        if self._format.catalog is None and not self._database.exists():
            return None
        with self._reporting():
            self._catalog = self._open()
            try:
                table = self._table = self._catalog.load_table((self._format.namespace, self.name))
            except (NoSuchTableError, NoSuchNamespaceError):
                return None
            self._check(table)
            files = {self._path(file.file_path): (file.file_size_in_bytes, file.record_count) for file in _files(table)}
            return TableContents(_latest(table), files)

    def write(self, step: Step, generation: int) -> None:
        with self._place.written(self._metadata), self._reporting():
            if self._table is None:
                transaction = self._create()
            else:
                transaction = self._table.transaction()
                self._add_columns(transaction)
            if step.adds or step.removes:
                self._stage(transaction, step, generation)
            self._table = transaction.commit_transaction()

    def maintain(self) -> None:
        """Does nothing."""

    def generations(self) -> Collection[int]:
        table = self._table
        found = () if table is None else map(_generation, table.snapshots())
        return {number for number in found if number is not None}

    def expire(self, readable: Collection[int]) -> None:
        table = self._table
        if table is None:
            return
        metadata = self._root / self._metadata
        with reporting(metadata):
            known = {entry.name for entry in metadata.iterdir()}
        with self._place.written(self._metadata), self._reporting():
            current = table.current_snapshot()
            gone = [
                one.snapshot_id
                for one in table.snapshots()
                if one != current and _generation(one) not in {None, *readable}
            ]
            if gone:
                table.maintenance.expire_snapshots().by_ids(gone).commit()
                table.refresh()
            needed = {Path(path).name for one in table.snapshots() for path in _metadata_files(table, one)}
        with reporting(metadata):
            for name in known - needed:
                if name.endswith(".avro"):
                    (metadata / name).unlink()

    def close(self) -> None:
        if self._catalog is not None:
            self._catalog.close()
        self._catalog = self._table = None

    def _open(self) -> Catalog:
        if self._format.catalog is not None:
            return load_catalog(self._format.catalog)
        # As SQLite makes the file, other users could read it.
        make_directories(self._database.parent, set(), self._place.file_mode)
        is_new = not self._database.exists()
        with open(self._database, "ab", opener=open_private) as file:
            if is_new:
                finish(file.fileno(), self._place.file_mode)
        return SqlCatalog("exporter", uri=f"sqlite:///{self._database}")

    def _create(self) -> Transaction:
        if self._catalog is None:
            self._catalog = self._open()
        self._catalog.create_namespace_if_not_exists(self._format.namespace)
        schema = pyarrow_to_schema(_with_ids(self._schema))
        transaction = self._catalog.create_table_transaction(
            (self._format.namespace, self.name),
            schema,
            location=self._location,
            partition_spec=UNPARTITIONED_PARTITION_SPEC if self._partition is None else self._partition.spec(schema),
            properties={**_PROPERTIES, _EXPORT: self._export_id},
        )
        return _map_names(transaction)

    def _stage(self, transaction: Transaction, step: Step, generation: int) -> None:
        there = {} if self._table is None else {self._path(file.file_path): file for file in _files(self._table)}
        update = transaction.update_snapshot(snapshot_properties={GENERATION: str(generation)})
        with update.overwrite() if step.removes else update.fast_append() as snapshot:
            for file in step.adds:
                snapshot.append_data_file(self._file(file, transaction))
            for file in step.removes:
                snapshot.delete_data_file(there[file.path])

    def _file(self, file: DataFile, transaction: Transaction) -> IcebergFile:
        metadata = transaction.table_metadata
        time_id = metadata.schema().find_field(self._time_column).field_id
        made = IcebergFile.from_args(
            content=DataFileContent.DATA,
            file_path=f"file://{self._root / file.path}",
            file_format=FileFormat.PARQUET,
            partition=Record() if self._partition is None else Record(self._partition.value_of(file)),
            record_count=file.rows,
            file_size_in_bytes=file.size_bytes,
            value_counts={time_id: file.rows},
            null_value_counts={time_id: 0},
            lower_bounds={time_id: to_bytes(TimestamptzType(), file.created_at_min)},
            upper_bounds={time_id: to_bytes(TimestamptzType(), file.created_at_max)},
        )
        made.spec_id = metadata.default_spec_id
        return made

    def _path(self, uri: str) -> str:
        return uri.removeprefix(f"file://{self._root}/")

    def _check(self, table: Table) -> None:
        """Raises `ForeignTableError` for a table that is not this export's, or has other columns."""
        if table.location() != self._location:
            raise ForeignTableError(
                self.where,
                f"its metadata lies in {table.location()}, because the export was moved or copied. An Iceberg table "
                "holds whole paths",
            )
        if table.properties.get(_EXPORT) != self._export_id:
            raise ForeignTableError(self.where, "it belongs to another export, or to none")
        columns = {field.name for field in table.schema().fields}
        ours = pa.schema([field for field in self._schema if field.name in columns])
        wanted = pyarrow_to_schema(ours, table.schema().name_mapping)
        if {field.name: field for field in wanted.fields} != {field.name: field for field in table.schema().fields}:
            raise ForeignTableError(self.where, "its columns are not those of the export")
        transforms = [field.transform for field in table.spec().fields]
        if transforms != ([] if self._partition is None else [self._partition.transform]):
            raise ForeignTableError(self.where, "its partitions are not those of the export")

    def _add_columns(self, transaction: Transaction) -> None:
        columns = {field.name for field in transaction.table_metadata.schema().fields}
        if set(self._schema.names) <= columns:
            return
        with transaction.update_schema() as update:
            update.union_by_name(self._schema)  # which also maps the new names

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except CommitFailedException as error:
            raise StoreError(f"{self.where}: another program has written to it at the same time. Run again") from error
        except Exception as error:  # a catalog's client may raise anything
            # The messages of a user's own catalog may hold its credentials.
            said = "" if self._format.catalog else f": {str(error).strip().partition(chr(10))[0][:300]}"
            raise StoreError(f"{self.where}: cannot be read or written ({type(error).__name__}{said})") from error


def _generation(snapshot: Snapshot) -> int | None:
    """Returns None for another writer's snapshot."""
    said = None if snapshot.summary is None else snapshot.summary[GENERATION]
    return None if said is None else int(said)


def _latest(table: Table) -> int:
    """Returns the generation of the exporter's last snapshot that the table rests on, or 0 if there is none: others may
    have rearranged it since."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        generation = _generation(snapshot)
        if generation is not None:
            return generation
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else table.snapshot_by_id(parent)
    return 0


def _files(table: Table) -> Iterator[IcebergFile]:
    """Yields what the current snapshot holds, including deletions of rows."""
    snapshot = table.current_snapshot()
    for manifest in () if snapshot is None else snapshot.manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            yield entry.data_file


def _metadata_files(table: Table, snapshot: Snapshot) -> Iterator[str]:
    yield snapshot.manifest_list
    for manifest in snapshot.manifests(table.io):
        yield manifest.manifest_path


def _map_names(transaction: Transaction) -> Transaction:
    """Maps columns by their names, because the parts hold no ids."""
    mapping = transaction.table_metadata.schema().name_mapping
    return transaction.set_properties({_NAME_MAPPING: mapping.model_dump_json()})


def _with_ids(schema: pa.Schema) -> pa.Schema:
    """Numbers the columns, because pyiceberg needs ids; a new table then gives them others."""
    numbers = iter(range(1, 10_000))

    def number(field: pa.Field) -> pa.Field:
        type_ = field.type
        if pa.types.is_struct(type_):
            type_ = pa.struct([number(type_.field(index)) for index in range(type_.num_fields)])
        return pa.field(field.name, type_, field.nullable, {_FIELD_ID: str(next(numbers)).encode()})

    return pa.schema([number(field) for field in schema])
