"""`exporter convert` writes a table as CSV or JSON Lines, for readers that know no Parquet. It changes nothing."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import BinaryIO, Final, get_args

import msgspec
import pyarrow as pa
from anyio import to_thread

from exporter.encode.tables import Tables
from exporter.errors import DamagedPartError, StoreError, UsageError
from exporter.jobs.table_output import check_output, new_directory, new_file
from exporter.jobs.table_text import ENDINGS, Text
from exporter.keys import NO_KEYS, Keys
from exporter.layout import CONVERSATIONS, RECORDINGS
from exporter.log.commits import load_state
from exporter.log.state import State, StateName, state_name
from exporter.model import DataFile
from exporter.partitions import key_of
from exporter.parts.cipher import using
from exporter.parts.columns import complete
from exporter.parts.integrity import as_written
from exporter.parts.reader import read_batches
from exporter.pipeline.report import Report
from exporter.progress import Observer, Quiet
from exporter.run.encryption import find_cipher
from exporter.run.protection import check_settled
from exporter.run.reconcile import stored_export
from exporter.settings import Compression, Request, TextFormat
from exporter.store.base import Store
from exporter.store.location import Location, shell_word
from exporter.store.open import open_store
from exporter.tasks import alongside, for_each
from exporter.words import did_you_mean

#: What messages call a file that was open already.
_STDOUT: Final = Path("stdout")


class ConvertResult(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the `rows` of a `table` that were written, the `files` that hold them, and their `bytes`.

    `state` is that of the export, complete or not, at the `generation` whose rows these are.
    """

    state: StateName
    generation: int
    table: str
    rows: int
    files: int
    bytes: int
    seconds: float

    @property
    def exit_status(self) -> int:
        return 0


async def convert(
    destination: Location,
    output: Path | BinaryIO,
    *,
    table: str = CONVERSATIONS,
    as_: TextFormat = "csv",
    compression: Compression = "none",
    by_partition: bool = False,
    keys: Keys = NO_KEYS,
    observer: Observer | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> ConvertResult:
    """Writes all rows of a table to a new file, or `by_partition` to new files in a new directory. Nobody else can read
    them. A file that is open already is only written to.

    The columns are those that a reader of directories sees: the key of the partitions is the last.

    Raises `UsageError` for a table that does not exist, and for an output that cannot be made; `DestinationError` if
    there is no export, `ProtectionError` without its key, `DamagedPartError`, and `StoreError`, also if another run
    replaces what is being read. Then, nothing is left.
    """
    if isinstance(output, Path):
        check_output(output, destination)
    async with open_store(destination) as store:
        state = await load_state(store)
        request, _ = stored_export(state, destination)
        check_settled(state, "convert", destination)
        schema = _schema_of(state, request, table)
        work = _Conversion(store, state, table, schema, as_, compression, Report(observer or Quiet(), clock))
        with using(find_cipher(keys, destination)(state)):
            async with alongside(work.report.repeat):
                await work.write(output, by_partition)
        return ConvertResult(
            state=state_name(state),
            generation=state.number,
            table=table,
            rows=work.report.rows,
            files=work.report.files,
            bytes=work.report.bytes,
            seconds=round(clock() - work.report.began, 3),
        )


def _schema_of(state: State, request: Request, table: str) -> pa.Schema:
    there = [*request.tables, *([RECORDINGS] if state.has_recordings else [])]
    if table not in there:
        known = did_you_mean(table, there) or f" The tables are {', '.join(there)}"
        raise UsageError(f"--table {table}: no such table here.{known}")
    return Tables.of(request).schemas[table]


class _Conversion:
    """Writes the parts of a table to files, and counts in its `report` what it has written."""

    def __init__(
        self,
        store: Store,
        state: State,
        table: str,
        schema: pa.Schema,
        as_: TextFormat,
        compression: Compression,
        report: Report,
    ) -> None:
        self.report = report
        self._store = store
        self._table = table
        self._columns = schema
        self._key = key_of((state.request or Request()).partition_by)
        self._format = as_
        self._compression = compression
        self._partitions: dict[str, list[DataFile]] = {}
        files = [file for file in state.files.values() if file.table == table]
        for file in sorted(files, key=lambda file: (file.window, file.path)):
            self._partitions.setdefault(file.partition.get(self._key or "", ""), []).append(file)
        self._rows_in_all = sum(file.rows for file in files)

    async def write(self, output: Path | BinaryIO, by_partition: bool) -> None:
        """Writes one file, or one for each partition."""
        if not isinstance(output, Path):
            await self._write(output, _STDOUT, self._partitions)
        elif by_partition:
            with new_directory(output) as directory:
                for partition in self._partitions:
                    with new_file(directory / self._name(partition)) as file:
                        await self._write(file, output, [partition])
        else:
            with new_file(output) as file:
                await self._write(file, output, self._partitions)

    def _name(self, partition: str) -> str:
        name = "-".join(filter(None, [self._table, partition]))
        return f"{name}.{self._format}{ENDINGS[self._compression]}"

    async def _write(self, file: BinaryIO, where: Path, partitions: Iterable[str]) -> None:
        written = self.report.bytes
        schema = self._columns if self._key is None else self._columns.append(pa.field(self._key, pa.string()))
        text = await to_thread.run_sync(Text, file, where, schema, self._format, self._compression)

        async def add(part: tuple[str, DataFile]) -> None:
            async with self._opened(part[1]) as source:
                with closing(read_batches([source])) as batches:
                    # Each step is awaited, because a batch must be read to its end even if the command is stopped.
                    while rows := await to_thread.run_sync(self._copy, batches, part[0], text):
                        self.report.rows += rows
                        self.report.bytes = written + text.bytes
                        self.report.share = self.report.rows / max(1, self._rows_in_all)

        await for_each(((name, part) for name in partitions for part in self._partitions[name]), add, at_once=1)
        await to_thread.run_sync(text.close)
        self.report.bytes = written + text.bytes
        self.report.files += 1

    def _copy(self, batches: Iterator[pa.RecordBatch], partition: str, text: Text) -> int:
        """Copies a batch, and returns its number of rows, which is 0 at the end."""
        batch = next(batches, None)
        while batch is not None and not batch.num_rows:
            batch = next(batches, None)
        if batch is None:
            return 0
        columns = complete(batch, self._columns).columns
        names = self._columns.names
        if self._key is not None:
            columns, names = [*columns, pa.repeat(partition, batch.num_rows)], [*names, self._key]
        text.write(pa.RecordBatch.from_arrays(columns, names=names))
        return int(batch.num_rows)

    @asynccontextmanager
    async def _opened(self, file: DataFile) -> AsyncIterator[Path]:
        try:
            async with as_written(self._store, file) as source:
                yield source
        except DamagedPartError as error:
            if error.kind == "missing" and file.path not in (await load_state(self._store)).live:
                raise StoreError(
                    f"{self._store.location}: another run has replaced files before they were read. Run again; with "
                    f"exporter sync {shell_word(self._store.location)} --keep-generations 2, they stay for a while"
                ) from error
            raise


def choose_text(
    output: str, as_: TextFormat | None, asked: Compression | None, by_partition: bool
) -> tuple[TextFormat, Compression]:
    """Returns the format and the compression that are asked for or, without them, that the name of a file ends with.

    Raises `UsageError` for a name that says something else than what is asked for.
    """
    if by_partition:
        return as_ or "csv", asked or "none"
    if output.endswith("/"):
        raise UsageError(f"--output {output}: names a directory. Name a file, or add --by-partition")
    named: Compression | None = next((name for name, end in ENDINGS.items() if end and output.endswith(end)), None)
    if asked is not None and named not in (None, asked):
        raise UsageError(f"--compression {asked}: does not go with a name that ends with {ENDINGS[named]}")
    chosen = asked or named or "none"
    ending = output.removesuffix(ENDINGS[chosen]).rpartition(".")[2]
    form: TextFormat | None = next((name for name in get_args(TextFormat) if name == ending), None)
    if as_ is not None and form not in (None, as_):
        raise UsageError(f"--format {as_}: does not go with a name that ends with .{form}. Leave it out")
    return as_ or form or "csv", chosen
