"""Opens an export for SQL: a view of each table over exactly the files that its manifest names, and nothing else.

DuckDB reads them by `ExportFiles` or, if they are encrypted, through Arrow. It needs no access to files or to a network
itself, and has none: what a query cannot do is not a matter of what it says.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias

import pyarrow as pa
from anyio import to_thread

from exporter.errors import UsageError
from exporter.jobs.dataset import find_files, make_datasets
from exporter.log.published import Manifest
from exporter.query.failure import translated
from exporter.query.statement import check_types, parse_query
from exporter.query.views import PREFIX, FrugalDataset, is_for_arrow, view_of
from exporter.run.encryption import ReaderKeys
from exporter.store.location import Location
from exporter.store.open import open_store
from exporter.store.ranges import open_ranges
from exporter.words import install_command

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from exporter.query.files import ExportFiles

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
_SETTINGS: Final = (
    "SET TimeZone = 'UTC'",
    f"SET allowed_directories = ['{PREFIX}']",
    "SET enable_external_access = false",
    "SET disabled_filesystems = 'LocalFileSystem'",
)
_LOCK: Final = "SET lock_configuration = true"
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

    `manifest` is the one that the views rest on, and `schemas` are the columns of each, the key of the partitions last.
    """

    def __init__(
        self,
        manifest: Manifest,
        schemas: Mapping[str, pa.Schema],
        sources: Mapping[str, Any],
        files: "ExportFiles",
        connection: "DuckDBPyConnection",
        location: Location,
    ) -> None:
        self.manifest: Final = manifest
        self.schemas: Final = schemas
        self._sources, self._files = sources, files
        self._connection = connection
        self._location = location
        # They belong to a connection; views belong to all.
        for table, source in sources.items():
            connection.register(table, source)

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(self.schemas)

    def stream(self, sql: str, parameters: Parameters = (), *, rows: int | None = None) -> Answer:
        """Answers one query, with its first `rows` or with all; they are read on as they are taken, in flat memory
        unless the query itself needs more.

        Another query ends this one. Raises `UsageError` for what is not one query that only reads, and for what DuckDB
        finds wrong with it; `InterruptedExportError` after `interrupt`; `StoreError` if files cannot be read.
        """
        with self._translated():
            relation = self._relation(sql, parameters)
            check_types(relation.columns, relation.types)
            reader = (relation if rows is None else relation.limit(rows)).to_arrow_reader(_BATCH_ROWS)
        return Answer(reader.schema, self._batches(reader))

    def count(self, sql: str, parameters: Parameters = ()) -> int:
        """Returns how many rows a query has. Raises the errors of `stream`."""
        with self._translated():
            return int(self._relation(sql, parameters).aggregate("count(*)").to_arrow_table()[0][0].as_py())

    def fetch(self, sql: str, parameters: Parameters = ()) -> pa.Table:
        """Answers one query as `stream` does, with all of its rows at once."""
        schema, batches = self.stream(sql, parameters)
        return pa.Table.from_batches(batches, schema)

    def cursor(self) -> "Query":
        """Returns another connection to the same files, for another thread."""
        connection = self._connection.cursor()
        return Query(self.manifest, self.schemas, self._sources, self._files, connection, self._location)

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

    def _relation(self, sql: str, parameters: Parameters) -> "DuckDBPyRelation":
        # `execute` would hold all rows of the answer; a relation gives them as they come.
        return self._connection.sql(parse_query(self._connection, sql), params=parameters or None)

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with self._translated():
            yield from reader

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated(self._location, self.schemas, self._files):
            yield


async def open_query(
    location: Location, keys: ReaderKeys, *, generation: int | None = None, memory_bytes: int | None = None
) -> Query:
    """Opens an export as its manifest says now, or as it was at a `generation` whose files are kept.

    `memory_bytes` bounds what DuckDB takes. Close the query in the end. Raises `UsageError` without the packages that
    it needs, and the errors of `open_dataset`.
    """
    try:
        import duckdb

        from exporter.query.files import ExportFiles
    except ImportError as error:
        raise UsageError(
            f"this needs packages that are not installed. To install them:\n{install_command('duckdb', 'fsspec')}"
        ) from error
    async with open_store(location) as store:
        manifest, tables = await find_files(store, generation)
        through_arrow = {table: found for table, found in tables.items() if is_for_arrow(found)}
        sources: dict[str, Any] = {
            table: FrugalDataset.of(dataset)
            for table, dataset in make_datasets(store, manifest, through_arrow, keys).items()
        }
        files = ExportFiles(
            open_ranges(store),
            {table: [file.path for file in found.files] for table, found in tables.items() if table not in sources},
        )
    sources |= {table: found.schema.empty_table() for table, found in tables.items() if not found.files}
    views = [view_of(table, found.schema) for table, found in tables.items() if table not in sources]

    def connect() -> Query:
        config = _CONFIG if memory_bytes is None else _CONFIG | {"memory_limit": f"{memory_bytes}B"}
        connection = duckdb.connect(":memory:", config=config)
        connection.register_filesystem(files)
        with translated(location, tables, files):
            for statement in (*_SETTINGS, *views, _LOCK):
                connection.execute(statement)
        schemas = {table: found.schema for table, found in tables.items()}
        return Query(manifest, schemas, sources, files, connection, location)

    return await to_thread.run_sync(connect)
