"""Reads and writes a Delta table: its log lies in the table's directory, and names the parts where they are. Blocking.

Every version that the exporter writes holds an application transaction whose version is the generation, so that the
table itself tells what has already been written. On a disk there are no checkpoints: they would be Parquet files below
the table's directory, where globs would find them; without them, a thousand versions are read in less than half a
second. In a bucket each version would be a request or two, of every reader; there a checkpoint stands for them.
"""

import json
import re
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from exporter.contract import format_instant
from exporter.encode.schema import partition_field
from exporter.errors import ForeignTableError
from exporter.lake.delta_errors import reporting
from exporter.lake.place import LakePlace
from exporter.lake.table import GENERATION, Step, TableContents
from exporter.layout import delta_log
from exporter.model import DataFile
from exporter.parts.columns import time_column

if TYPE_CHECKING:
    from exporter.store.objects.bucket import Bucket

_NO_CHECKPOINT: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_VERSION: Final = re.compile(r"\d{20}\.json")
#: In a bucket, a checkpoint follows after this many versions.
_VERSIONS: Final = 25
#: Others' `VACUUM` then leaves files alone that older versions still need.
_KEPT: Final = {"delta.deletedFileRetentionDuration": "interval 36500 days"}


class _LastCheckpoint(msgspec.Struct):
    version: int


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
        self.neglect = "slower to open"
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
        self._version = -1

    def read(self) -> TableContents | None:
        with reporting(self.where):
            options = dict(self._place.options())
            try:
                # Its `is_deltatable` would hold up all threads of this process until the store has answered.
                table = self._table = DeltaTable(self._uri, storage_options=options)
            except TableNotFoundError:
                return None
            self._version = table.version()
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
        with self._place.written(delta_log(self.name)), reporting(self.where):
            if self._table is None:
                create_table_with_add_actions(
                    self._uri,
                    self._schema,
                    adds,
                    partition_by=self._partition,
                    name=self.name,
                    configuration=_KEPT,
                    storage_options=dict(self._place.options()),
                    commit_properties=properties,
                    post_commithook_properties=_NO_CHECKPOINT,
                )
            else:
                self._add_columns(self._table)
                self._keep_files(self._table)
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
            self._version += 1

    def maintain(self) -> None:
        bucket = self._place.bucket
        if bucket is None:
            return
        last = bucket.get(f"{delta_log(self.name)}/_last_checkpoint")
        with reporting(self.where):
            if self._version // _VERSIONS > _checkpointed(last and last.data) // _VERSIONS:
                DeltaTable(self._uri, storage_options=dict(self._place.options())).create_checkpoint()

    def generations(self) -> Collection[int]:
        if self._table is None:
            return set()
        with reporting(self.where):
            history = self._table.history() if self._place.bucket is None else self._commits(self._place.bucket)
        return {int(version[GENERATION]) for version in history if GENERATION in version}

    def expire(self, readable: Collection[int]) -> None:
        """Does nothing: the log keeps versions that cannot be read without their files, as Delta's own vacuum does."""

    def close(self) -> None:
        self._table = None

    def _commits(self, bucket: "Bucket") -> list[dict[str, Any]]:
        """Returns what the versions say of themselves. The library's own `history` would hold up all threads of this
        process until the store has given one after the other."""
        paths = [path for path in bucket.sizes(delta_log(self.name)) if _VERSION.fullmatch(path.rpartition("/")[2])]
        lines = [line for data in bucket.get_all(paths) if data is not None for line in data.splitlines()]
        return [action["commitInfo"] for action in map(json.loads, lines) if "commitInfo" in action]

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
        def missing() -> list[Field]:
            there = {field.name for field in table.schema().fields}
            return [field for field in self._schema.fields if field.name not in there]

        def add(properties: CommitProperties) -> None:
            table.alter.add_columns(missing(), commit_properties=properties, post_commithook_properties=_NO_CHECKPOINT)

        if missing():
            self._alter(table, add, lambda: not missing())

    def _keep_files(self, table: DeltaTable) -> None:
        def is_set() -> bool:
            return _KEPT.keys() <= table.metadata().configuration.keys()

        def set_(properties: CommitProperties) -> None:
            table.alter.set_table_properties(
                _KEPT, commit_properties=properties, post_commithook_properties=_NO_CHECKPOINT
            )

        # Only older exporters have left this out, and they kept tables only on disks.
        if self._place.root is not None and not is_set():
            self._alter(table, set_, is_set)

    def _alter(
        self, table: DeltaTable, change: Callable[[CommitProperties], None], is_done: Callable[[], bool]
    ) -> None:
        """Changes a table in a version of its own, the next after the one that was read. What is said to have failed
        may have been done."""
        try:
            change(CommitProperties(max_commit_retries=0))
        except CommitFailedError:
            table.load_as_version(self._version + 1)
            if not is_done():
                raise
        self._version += 1


def _checkpointed(data: bytes | None) -> int:
    """Returns the version that a checkpoint stands for, or 0 if none is named: then another is written in its place."""
    try:
        return msgspec.json.decode(data or b"", type=_LastCheckpoint).version
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 0


def _fits(found: Schema, wanted: Schema) -> bool:
    """Returns whether all columns that were found are columns of the export, which may have gained some since."""
    columns = {field.name: field for field in wanted.fields}
    return all(columns.get(field.name) == field for field in found.fields)
