"""Reads and writes a Delta table: its log lies in the table's directory, and names the parts where they are. Blocking.

Every version that the exporter writes holds an application transaction whose version is the generation, so that the
table itself tells what has already been written. There are no checkpoints: they would be Parquet files below the
table's directory, where globs would find them; without them, a thousand versions are read in less than half a second.
"""

import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from exporter.contract import format_instant
from exporter.encode.schema import partition_field
from exporter.errors import ForeignTableError, StoreError
from exporter.lake.place import LakePlace
from exporter.lake.table import GENERATION, Step, TableContents
from exporter.layout import delta_log
from exporter.model import DataFile
from exporter.parts.columns import time_column

_NO_CHECKPOINT: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class DeltaLog:
    """Represents one table of the export `export_id` at `place`; `schema` is that of its parts, `partition` the key of
    its directories. `table.LakeTable` says what the methods do."""

    def __init__(
        self,
        place: LakePlace,
        name: str,
        export_id: str,
        schema: pa.Schema,
        partition: str | None,
    ) -> None:
        self.name = name
        self.where = f"{place.uri}/{delta_log(name)}"
        self._place = place
        self._uri = f"{place.uri}/{name}"
        self._application = f"{export_id}/{name}"
        # Hive partitions become columns: the key is in no file.
        columns = [*schema] if partition is None else [*schema, partition_field(partition)]
        self._schema = Schema.from_arrow(pa.schema(columns))
        self._partition = [] if partition is None else [partition]
        self._time_column = time_column(schema.names)
        self._table: DeltaTable | None = None

    def read(self) -> TableContents | None:
        with _reporting(self.where):
            if not DeltaTable.is_deltatable(self._uri):
                return None
            table = self._table = DeltaTable(self._uri)
            generation = table.transaction_version(self._application)
            if generation is None:
                raise ForeignTableError(self.where, "it belongs to another export, or to none")
            if table.metadata().partition_columns != self._partition or not _fits(table.schema(), self._schema):
                raise ForeignTableError(self.where, "its columns are not those of the export")
            if pa.table(table.deletion_vectors()).num_rows:
                raise ForeignTableError(self.where, "rows were deleted from it")
            files = pa.table(table.get_add_actions()).select(["path", "size_bytes", "num_records"]).to_pylist()
            sizes = {f"{self.name}/{file['path']}": (file["size_bytes"], file["num_records"]) for file in files}
            return TableContents(generation, sizes)

    def write(self, step: Step, generation: int) -> None:
        properties = CommitProperties(
            custom_metadata={GENERATION: generation},
            # A retry would come after what another writer has written.
            max_commit_retries=0,
            app_transactions=[Transaction(self._application, generation)],
        )
        adds = [self._add(file) for file in step.adds]
        with self._place.written(delta_log(self.name)), _reporting(self.where):
            if self._table is None:
                create_table_with_add_actions(
                    self._uri,
                    self._schema,
                    adds,
                    partition_by=self._partition,
                    name=self.name,
                    commit_properties=properties,
                    post_commithook_properties=_NO_CHECKPOINT,
                )
            else:
                self._add_columns(self._table)
                now = time.time_ns() // 1_000_000
                removes = [
                    RemoveAction(self._path(file), True, now, file.size_bytes, dict(file.partition))
                    for file in step.removes
                ]
                self._table.create_write_transaction(
                    [*adds, *removes],
                    "append",
                    self._schema,
                    self._partition,
                    commit_properties=properties,
                    post_commithook_properties=_NO_CHECKPOINT,
                )

    def generations(self) -> Collection[int]:
        with _reporting(self.where):
            history = [] if self._table is None else self._table.history()
        return {int(version[GENERATION]) for version in history if GENERATION in version}

    def expire(self, readable: Collection[int]) -> None:
        """Does nothing: the log keeps versions that cannot be read without their files, as Delta's own vacuum does."""

    def close(self) -> None:
        self._table = None

    def _add(self, file: DataFile) -> AddAction:
        statistics = {
            "numRecords": file.rows,
            "minValues": {self._time_column: format_instant(file.created_at_min)},
            "maxValues": {self._time_column: format_instant(file.created_at_max)},
            "nullCount": {self._time_column: 0},
        }
        return AddAction(
            path=self._path(file),
            size=file.size_bytes,
            partition_values=file.partition,
            modification_time=self._place.modified_at_ms(file.path),
            data_change=True,
            stats=json.dumps(statistics),
        )

    def _path(self, file: DataFile) -> str:
        return file.path.removeprefix(f"{self.name}/")

    def _add_columns(self, table: DeltaTable) -> None:
        there = {field.name for field in table.schema().fields}
        missing = [field for field in self._schema.fields if field.name not in there]
        if missing:
            table.alter.add_columns(missing, post_commithook_properties=_NO_CHECKPOINT)
            table.update_incremental()


def _fits(found: Schema, wanted: Schema) -> bool:
    """Returns whether all columns that were found are columns of the export, which may have gained some since."""
    columns = {field.name: field for field in wanted.fields}
    return all(columns.get(field.name) == field for field in found.fields)


@contextmanager
def _reporting(where: str) -> Iterator[None]:
    try:
        yield
    except CommitFailedError as error:
        raise StoreError(f"{where}: another program has written to it at the same time. Run again") from error
    except (DeltaError, OSError, ValueError) as error:
        what = str(error).strip().partition("\n")[0][:300]
        raise StoreError(f"{where}: cannot be read or written: {what}. Run again") from error
