"""Opens an export for SQL: a view of each table over exactly the files that its manifest names, and nothing else.

DuckDB reads the files through Arrow, as `open_dataset` does. So it needs no access to files or to the network itself
and has none: what a query cannot do is not a matter of what it says.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias

import pyarrow as pa
import pyarrow.dataset as ds
from anyio import to_thread

from exporter.errors import UsageError
from exporter.jobs.dataset import load_datasets
from exporter.log.published import Manifest
from exporter.query.failure import translated
from exporter.query.statement import parse_query
from exporter.run.encryption import ReaderKeys
from exporter.store.location import Location
from exporter.words import install_command

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: The values of `?` or of `$name` in a query.
Parameters: TypeAlias = Sequence[object] | Mapping[str, object]

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "allow_community_extensions": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # What does not fit into memory fails: on a disk, it would be personal data that nothing protects.
    "temp_directory": "",
}
_LOCKS: Final = ("SET TimeZone = 'UTC'", "SET enable_external_access = false", "SET lock_configuration = true")
#: The rows of a batch, as DuckDB gives them; wide ones are a few MB.
_BATCH_ROWS: Final = 2048


class Answer(NamedTuple):
    """Holds the columns of an answer, and its rows, which come while they are read. They raise the errors of
    `Query.stream`."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class Query:
    """Answers SQL over the tables of one generation of an export. Its calls block; each of its cursors may be in a
    thread of its own.

    `manifest` is the one that the views rest on, and `tables` are their names.
    """

    def __init__(
        self,
        manifest: Manifest,
        datasets: Mapping[str, ds.FileSystemDataset],
        connection: "DuckDBPyConnection",
        location: Location,
    ) -> None:
        self.manifest: Final = manifest
        self.tables: Final = tuple(datasets)
        self.schemas: Final = {table: dataset.schema for table, dataset in datasets.items()}
        self._datasets = datasets
        self._connection = connection
        self._location = location
        for table, dataset in datasets.items():
            connection.register(table, dataset)

    def stream(self, sql: str, parameters: Parameters = ()) -> Answer:
        """Answers one query; its rows are read on as they are taken, in flat memory unless the query itself needs more.

        Another query ends this one. Raises `UsageError` for what is not one query that only reads, and for what DuckDB
        finds wrong with it; `InterruptedExportError` after `interrupt`; `StoreError` if files cannot be read.
        """
        with self._translated():
            statement = parse_query(self._connection, sql)
            # `execute` would hold all rows of the answer; a relation gives them as they come.
            reader = self._connection.sql(statement, params=parameters or None).to_arrow_reader(_BATCH_ROWS)
        return Answer(reader.schema, self._batches(reader))

    def fetch(self, sql: str, parameters: Parameters = ()) -> pa.Table:
        """Answers one query as `stream` does, with all of its rows at once."""
        schema, batches = self.stream(sql, parameters)
        return pa.Table.from_batches(batches, schema)

    def cursor(self) -> "Query":
        """Returns another connection to the same files, for another thread."""
        return Query(self.manifest, self._datasets, self._connection.cursor(), self._location)

    def interrupt(self) -> None:
        """Ends the query that runs, from another thread or a signal."""
        self._connection.interrupt()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with self._translated():
            yield from reader

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated(self._location, self.tables):
            yield


async def open_query(
    location: Location, keys: ReaderKeys, *, generation: int | None = None, memory_bytes: int | None = None
) -> Query:
    """Opens an export as its manifest says now, or as it was at a `generation` whose files are kept.

    `memory_bytes` bounds what DuckDB takes; Arrow's reading is on top. Close the query in the end. Raises `UsageError`
    without the package duckdb, and the errors of `open_dataset`.
    """
    try:
        import duckdb
    except ImportError as error:
        raise UsageError(
            f"SQL needs a package that is not installed. To install it:\n{install_command('duckdb')}"
        ) from error
    manifest, datasets = await load_datasets(location, keys, generation)
    return await to_thread.run_sync(_connected, duckdb, manifest, datasets, location, memory_bytes)


def _connected(
    duckdb: Any,
    manifest: Manifest,
    datasets: Mapping[str, ds.FileSystemDataset],
    location: Location,
    memory_bytes: int | None,
) -> Query:
    config = _CONFIG if memory_bytes is None else _CONFIG | {"memory_limit": f"{memory_bytes}B"}
    connection = duckdb.connect(":memory:", config=config)
    for lock in _LOCKS:
        connection.execute(lock)
    return Query(manifest, datasets, connection, location)
