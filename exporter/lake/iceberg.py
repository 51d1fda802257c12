"""Reads and writes an Iceberg table, whose metadata lies beside its directory and names the parts where they are.

The parts hold no field ids, so the table has a name mapping. Its metadata does not grow with the history: manifests are
merged as it is written. Blocking.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.conversions import to_bytes
from pyiceberg.exceptions import CommitFailedException, NoSuchNamespaceError, NoSuchTableError, ValidationError
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.typedef import Record
from pyiceberg.types import TimestamptzType

from exporter.errors import DestinationError, ExporterError, ForeignTableError, StoreError
from exporter.lake.catalogs import is_there, open_catalog
from exporter.lake.files import ElsewhereError
from exporter.lake.iceberg_columns import map_names, with_ids
from exporter.lake.iceberg_metadata import generation_of, latest_generation, list_metadata, sweep_metadata
from exporter.lake.iceberg_partition import IcebergPartition
from exporter.lake.place import LakePlace
from exporter.lake.table import GENERATION, Step, TableContents
from exporter.layout import ICEBERG
from exporter.model import DataFile, TableFormat
from exporter.parts.columns import time_column
from exporter.zones import UTC_NAME

if TYPE_CHECKING:
    from exporter.lake.pointer import ExportCatalog

_EXPORT: Final = "exporter.export-id"
_PROPERTIES: Final = {
    # The parts belong to the export: no engine may delete them because the table alone no longer needs them.
    "gc.enabled": "false",
    # A retry would come after what another writer has written.
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "8",
}
#: Replacing files never merges manifests: when it leaves more than this many, they are merged right after it.
_MANIFESTS: Final = 20


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
        self.name = name
        self.neglect = "as it was before, to readers that open its directory,"
        self.where = f"{place.uri}/{ICEBERG}/{name}" if format_.catalog is None else f"{format_.catalog}: {name}"
        self._identifier = (format_.namespace, name)
        self._format = format_
        self._place = place
        self._root = place.uri if place.root is None else f"file://{place.uri}"
        self._location = f"{self._root}/{ICEBERG}/{name}"
        self._metadata = f"{ICEBERG}/{name}/metadata"
        self._export_id = export_id
        self._time_column = time_column(schema.names)
        self._partition = None if partition is None else IcebergPartition.of(partition, zone, self._time_column)
        added = None if self._partition is None else self._partition.added
        self._schema = schema if added is None else schema.append(added)
        self._catalog: Catalog | None = None
        self._table: Table | None = None
        self._files: dict[str, IcebergFile] = {}

    def read(self) -> TableContents | None:
        self.close()
        if not is_there(self._place, self._format):
            return None
        with self._reporting(), self._noticing_damage():
            self._catalog = open_catalog(self._place, self._format)
            try:
                table = self._table = self._catalog.load_table(self._identifier)
            except (NoSuchTableError, NoSuchNamespaceError):
                return None
            except ElsewhereError as error:
                raise self._moved(error.location) from error
            self._check(table)
            files = list(_files(table))
            self._files = {self._path(file.file_path): file for file in files}
            if repeated := len(files) - len(self._files):
                raise ForeignTableError(self.where, f"{repeated:,} of its files were added to it a second time")
            sizes = {path: (file.file_size_in_bytes, file.record_count) for path, file in self._files.items()}
            is_found = (pointer := self._pointer()) is None or pointer.is_hinted
            return TableContents(latest_generation(table), sizes, is_found)

    def write(self, step: Step, generation: int) -> None:
        with self._place.written(self._metadata), self._reporting():
            if self._table is None:
                self._create(step, generation)
                return
            transaction = self._table.transaction()
            self._set_properties(transaction)
            self._add_columns(transaction)
            self._stage(transaction, step, generation)
            self._table = transaction.commit_transaction()

    def maintain(self) -> None:
        pointer = self._pointer()
        if pointer is not None and not pointer.is_hinted:
            pointer.hint(self.name)

    def generations(self) -> Collection[int]:
        table = self._table
        found = () if table is None else map(generation_of, table.snapshots())
        return {number for number in found if number is not None}

    def expire(self, readable: Collection[int]) -> None:
        table = self._table
        if table is None:
            return
        known = list_metadata(self._place, self._metadata)
        with self._place.written(self._metadata), self._reporting():
            # What others have written since it was read is among the known files.
            table.refresh()
            current = table.current_snapshot()
            gone = [
                one.snapshot_id
                for one in table.snapshots()
                if one != current and generation_of(one) not in {None, *readable}
            ]
            if gone:
                table.maintenance.expire_snapshots().by_ids(gone).commit()
                table.refresh()
            sweep_metadata(self._place, self._metadata, known, table)
            if pointer := self._pointer():
                pointer.sweep(self.name, known, table)

    def close(self) -> None:
        if self._catalog is not None:
            self._catalog.close()
        self._catalog = self._table = None
        self._files = {}

    def _pointer(self) -> "ExportCatalog | None":
        if self._place.bucket is None:
            return None
        from exporter.lake.pointer import ExportCatalog

        return self._catalog if isinstance(self._catalog, ExportCatalog) else None

    def _create(self, step: Step, generation: int) -> None:
        catalog = self._catalog = self._catalog or open_catalog(self._place, self._format)
        catalog.create_namespace_if_not_exists(self._format.namespace)
        schema = pyarrow_to_schema(with_ids(self._schema))
        transaction = catalog.create_table_transaction(
            self._identifier,
            schema,
            location=self._location,
            partition_spec=UNPARTITIONED_PARTITION_SPEC if self._partition is None else self._partition.spec(schema),
            properties={**_PROPERTIES, _EXPORT: self._export_id},
        )
        self._check_assigned(transaction.table_metadata.location)
        map_names(transaction)
        self._stage(transaction, step, generation)
        self._table = transaction.commit_transaction()
        if self._format.catalog is not None:
            made = catalog.load_table(self._identifier)
            if made.location() != self._location:
                catalog.drop_table(self._identifier)
            self._check_assigned(made.location())

    def _check_assigned(self, location: str) -> None:
        """Raises `DestinationError` for a table that is to lie elsewhere."""
        if location != self._location:
            raise DestinationError(
                f"{self.where}: this catalog assigns its tables a place of its own, {location[:300]}, and not "
                f"{self._location}, beside their parts. The table was not kept. Allow the namespace this location, "
                "choose a catalog that does, or leave --iceberg-catalog out at another destination"
            )

    def _stage(self, transaction: Transaction, step: Step, generation: int) -> None:
        if not step.adds and not step.removes:
            return
        update = transaction.update_snapshot(snapshot_properties={GENERATION: str(generation)})
        metadata = transaction.table_metadata
        with update.overwrite() if step.removes else update.merge_append() as snapshot:
            for file in step.adds:
                snapshot.append_data_file(self._file(file, metadata))
            for file in step.removes:
                snapshot.delete_data_file(self._files[file.path])
        if not step.removes or self._table is None:
            return
        left = transaction.table_metadata.current_snapshot()
        if left is not None and len(left.manifests(self._table.io)) > _MANIFESTS:
            with transaction.update_snapshot(snapshot_properties={GENERATION: str(generation)}).merge_append():
                pass

    def _file(self, file: DataFile, metadata: TableMetadata) -> IcebergFile:
        time_id = metadata.schema().find_field(self._time_column).field_id
        made = IcebergFile.from_args(
            content=DataFileContent.DATA,
            file_path=f"{self._root}/{file.path}",
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
        return uri.removeprefix(f"{self._root}/")

    def _check(self, table: Table) -> None:
        """Raises `ForeignTableError` for a table that is not this export's, or has other columns."""
        if table.location() != self._location:
            raise self._moved(table.location())
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

    def _moved(self, location: str) -> ForeignTableError:
        return ForeignTableError(
            self.where,
            f"its metadata lies in {location[:300]}, because the export was moved or copied. An Iceberg table holds "
            "whole paths",
        )

    def _set_properties(self, transaction: Transaction) -> None:
        """Gives a table the properties that it lacks because an older exporter made it."""
        there = transaction.table_metadata.properties
        if missing := {name: value for name, value in _PROPERTIES.items() if there.get(name) != value}:
            transaction.set_properties(missing)

    def _add_columns(self, transaction: Transaction) -> None:
        columns = {field.name for field in transaction.table_metadata.schema().fields}
        if set(self._schema.names) <= columns:
            return
        with transaction.update_schema() as update:
            update.union_by_name(self._schema)  # which also maps the new names

    @contextmanager
    def _noticing_damage(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, ValueError, EOFError, ValidationError) as error:
            # The client of a user's own catalog may raise these for other causes.
            if self._format.catalog is not None:
                raise
            raise ForeignTableError(self.where, f"its metadata is damaged ({type(error).__name__})") from error

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except ExporterError:
            raise
        except CommitFailedException as error:
            raise StoreError(f"{self.where}: another program has written to it at the same time. Run again") from error
        except Exception as error:  # a catalog's client may raise anything
            # The messages of a user's own catalog may hold its credentials.
            said = "" if self._format.catalog else f": {str(error).strip().partition(chr(10))[0][:300]}"
            raise StoreError(f"{self.where}: cannot be read or written ({type(error).__name__}{said})") from error


def _files(table: Table) -> Iterator[IcebergFile]:
    """Yields what the current snapshot holds, including deletions of rows."""
    snapshot = table.current_snapshot()
    for manifest in () if snapshot is None else snapshot.manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            yield entry.data_file
