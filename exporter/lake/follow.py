"""Brings Delta and Iceberg tables into step with the log: the last thing that a run does.

A table follows once all of the range has been read, and then in one transaction. Until then it shows what it showed
before: never half a sync, nor the gap that a repair has left before it is read again.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from anyio import to_thread

from exporter.errors import DestinationError, ForeignTableError, StoreError, UsageError
from exporter.lake.kept import table_names
from exporter.lake.place import LakePlace
from exporter.lake.table import LakeTable, Step, TableContents, files_of, next_step, readable
from exporter.log.commits import check_not_overtaken, load_states
from exporter.log.state import State
from exporter.model import TableFormat
from exporter.progress import Observer
from exporter.settings import Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.objects.threads import check_threads
from exporter.store.objects.unsupported import refuse_for_delta
from exporter.words import install_command

_PACKAGES: Final = {"delta": "deltalake", "iceberg": "pyiceberg[sql-sqlite]"}
#: Characters in a path that a format's libraries misunderstand, or that would lead them to another directory.
_MISREAD: Final = {"delta": "%\\", "iceberg": "#?%"}
#: What Delta's libraries call the directory of a log, wherever it stands in a path.
_DELTA_LOG: Final = "_delta_log"


def settle_table_format(state: State, asked: Selection, destination: Location) -> TableFormat | None:
    """Returns the kind of table that an export must have: the stored one or, if it has none, the one that is asked for.

    Raises `DestinationError` if another one is stored, and the errors of `check_place`.
    """
    stored, wanted = state.table_format, asked.table_format
    if stored is not None and wanted is not None and stored != wanted:
        raise DestinationError(
            f"{destination}: its tables are kept as {_name(stored)}, and cannot become {_name(wanted)}.\n"
            "Leave the option out to go on with it, or choose another destination"
        )
    format_ = stored or wanted
    if format_ is None:
        return None
    check_place(format_, destination)
    return format_


def check_place(format_: TableFormat | None, destination: Location) -> None:
    """Raises `DestinationError` for a directory whose path readers of this format would misunderstand, and for an
    object store or a catalog that cannot keep tables of this format; `UsageError` for an environment that would lead
    them elsewhere, and if the library that writes them is not installed. Without a format, does nothing.

    None of that needs a network or credentials.
    """
    if format_ is None:
        return
    parts = destination.absolute().parts if isinstance(destination, Path) else destination.prefix.split("/")
    if format_.kind == "delta" and _DELTA_LOG in parts:
        raise DestinationError(
            f"{destination}: no place for Delta tables, because readers of the format take what follows {_DELTA_LOG} "
            "for a log. Choose another"
        )
    if isinstance(destination, Path):
        _check_path(format_, destination)
    elif format_.kind == "delta":
        refuse_for_delta(destination, os.environ)
    elif destination.scheme == "az":
        raise DestinationError(
            f"{destination}: no place for Iceberg tables: they hold whole URLs, and their readers know no az://. "
            "Give --table-format delta, whose tables hold relative paths"
        )
    _check_installed(format_)
    if format_.catalog is not None:
        from exporter.lake.catalogs import check_catalog

        check_catalog(format_.catalog)


def _check_path(format_: TableFormat, root: Path) -> None:
    path = str(root.absolute())
    wrong = sorted({one for one in path if one in _MISREAD[format_.kind] or one < " " or "\ud800" <= one <= "\udfff"})
    if wrong:
        raise DestinationError(
            f"{root}: no place for {format_.kind.capitalize()} tables, because readers of the format misunderstand "
            f"{' and '.join(ascii(one) for one in wrong)} in a path. Rename the directory, or choose another"
        )


def _check_installed(format_: TableFormat) -> None:
    package = _PACKAGES[format_.kind]
    if find_spec(module := package.partition("[")[0]) is None:
        raise UsageError(
            f"--table-format {format_.kind} needs {module}, which is not installed. To install it:\n"
            f"{install_command(package)}"
        )


async def write_tables(store: Store, state: State, observer: Observer | None = None) -> None:
    """Brings the tables to `state`, if it is whole.

    Raises `StoreError`, and `ForeignTableError` for a table that others have written to: it is left alone, and the
    other tables are brought in step first.
    """
    if state.is_whole:
        await _write_tables(store, state, observer, only_there=False)


async def let_go(store: Store, state: State, observer: Observer | None = None) -> None:
    """Brings the tables that are there to `state`, whole or not, and takes versions out that need files which are
    neither live nor kept: whoever was erased must be in none. Raises as `write_tables`."""
    try:
        await _write_tables(store, state, observer, only_there=not state.is_whole)
    finally:
        await expire(store, state, (), dry_run=False)


async def count_losing(store: Store, state: State, files: Collection[str]) -> int:
    """Returns how many versions of the tables need any of `files`. Raises as `write_tables`."""
    with open_tables(store, state) as tables:
        for table in tables:
            await to_thread.run_sync(table.read)
        by_table = [await to_thread.run_sync(table.generations) for table in tables]
        states = await load_states(store, {number for numbers in by_table for number in numbers})
        gone = frozenset(files)
        return sum(
            not gone.isdisjoint(files_of(states[number], table.name))
            for table, numbers in zip(tables, by_table, strict=True)
            for number in numbers
        )


async def _write_tables(store: Store, state: State, observer: Observer | None, *, only_there: bool) -> None:
    if state.table_format is None:
        return
    await check_not_overtaken(store, state)
    failures: list[ForeignTableError] = []
    with open_tables(store, state) as tables:
        for table in tables:
            try:
                ((shown, step),) = await steps_to(store, state, [table])
                is_written = step is not None and not (only_there and shown is None)
                if step is not None and is_written:
                    await _write(store, state, table, step)
                if is_written or (shown is not None and not shown.is_found):
                    await _maintain(table, observer)
            except ForeignTableError as error:
                failures.append(error)
                continue
            if step is not None and observer is not None:
                observer.note("table written", table=table.name, adds=len(step.adds), removes=len(step.removes))
    if failures:
        raise failures[0]


async def _write(store: Store, state: State, table: LakeTable, step: Step) -> None:
    """Writes to a table, and believes the table more than the answer: what failed may have been done."""
    try:
        await to_thread.run_sync(table.write, step, state.number)
    except StoreError:
        await check_not_overtaken(store, state)
        ((_, left),) = await steps_to(store, state, [table])
        if left is not None:
            raise


async def _maintain(table: LakeTable, observer: Observer | None) -> None:
    try:
        await to_thread.run_sync(table.maintain)
    except StoreError as error:
        if observer is not None:
            observer.warn(f"table is {table.neglect} until the next run: {error}", table=table.name)


async def are_written(store: Store, state: State) -> bool:
    """Returns whether `write_tables` has nothing to do. Raises the same errors."""
    if state.table_format is None or not state.is_whole:
        return True
    with open_tables(store, state) as tables:
        found = await steps_to(store, state, tables)
        return all(step is None and (shown is None or shown.is_found) for shown, step in found)


async def expire(store: Store, state: State, files: Collection[str], *, dry_run: bool) -> set[str]:
    """Takes versions that need any of `files` out of the tables, and returns the files that no version needs then.

    The newest version of a table stays, whether it is in step with the log or not. Raises the errors of `write_tables`.
    """
    with open_tables(store, state) as tables:
        shown = [one for one, _ in await steps_to(store, state, tables) if one is not None]
        gone = set(files).difference(*(one.files for one in shown))
        generations = {number for table in tables for number in await to_thread.run_sync(table.generations)}
        if not dry_run:
            there = ({*state.files} | state.kept) - gone
            left = readable(await load_states(store, generations), there)
            for table in tables:
                # A run that was overtaken would take out what the other one has written.
                await check_not_overtaken(store, state)
                await to_thread.run_sync(table.expire, left)
        return gone


@contextmanager
def open_tables(store: Store, state: State) -> Iterator[Sequence[LakeTable]]:
    """Opens the tables of an export, and closes them in the end; there are none if it has no table format."""
    format_, request = state.table_format, state.request
    if format_ is None or request is None:
        yield ()
        return

    from exporter.encode.tables import Tables

    check_place(format_, store.location)
    place = LakePlace.of(store)
    asked = Tables.of(request)
    partition = asked.partition_key
    tables: list[LakeTable] = []
    for name in table_names(state):
        schema = asked.schemas[name]
        if format_.kind == "delta":
            check_threads()
            from exporter.lake.delta import DeltaLog

            tables.append(DeltaLog(place, name, state.export_id, schema, partition))
        else:
            from exporter.lake.iceberg import IcebergTable

            tables.append(IcebergTable(place, name, state.export_id, schema, partition, format_, asked.zone))
    try:
        yield tables
    finally:
        for table in tables:
            table.close()


async def steps_to(
    store: Store, state: State, tables: Sequence[LakeTable]
) -> list[tuple[TableContents | None, Step | None]]:
    """Returns what each table shows, and the step that brings it to `state`."""
    shown = [await to_thread.run_sync(table.read) for table in tables]
    generations = {one.generation for one in shown if one is not None} - {state.number}
    then = {state.number: state}
    if generations:
        then |= await load_states(store, generations)
    return [
        (one, next_step(table, one, then[one.generation if one else state.number], state))
        for table, one in zip(tables, shown, strict=True)
    ]


def _name(format_: TableFormat) -> str:
    where = "" if format_.catalog is None else f" in the catalog {format_.catalog}/{format_.namespace}"
    return f"{format_.kind}{where}"
