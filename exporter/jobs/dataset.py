"""Opens the parts of a table as a dataset: exactly those that the manifest names, or that an older generation had."""

import os
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
from anyio.from_thread import start_blocking_portal
from msgspec.structs import replace

from exporter.encode.recordings import recordings_schema
from exporter.encode.schema import arrow_schema, partition_field, turns_schema
from exporter.errors import DestinationError, UsageError
from exporter.layout import CONVERSATIONS, MANIFEST
from exporter.log.commits import load_state, load_states
from exporter.log.published import Manifest, ManifestFile, ManifestTable, read_manifest
from exporter.log.state import StateName, state_name
from exporter.partitions import key_of
from exporter.run.encryption import ReaderKeys, reader_keys
from exporter.settings import PartitionBy
from exporter.store.base import Store
from exporter.store.filesystem import open_filesystem
from exporter.store.location import Location, parse_location
from exporter.store.open import open_store

#: The Arrow types, by the text with which a manifest names each.
_TYPES: Final = {str(field.type): field.type for field in (*arrow_schema(None), *turns_schema(), *recordings_schema())}


def open_dataset(
    destination: str | Path,
    table: str = CONVERSATIONS,
    generation: int | None = None,
    *,
    data_key_file: str | Path | None = None,
) -> ds.FileSystemDataset:
    """Returns the parts that the manifest at `destination` names, with its schema and, at the end, the key of the
    partitions.

    `generation` is a commit's number: the parts are those that were live then, as long as they are kept
    (`keep_generations` of a sync). The key is a date if there is a directory a day, otherwise a text. No part is opened
    yet. This blocks: in an event loop, call it in a thread. The `path` of a row of `recordings` is relative to the
    destination.

    The key of encrypted parts is in the file `data_key_file`, or else in `EXPORTER_DATA_KEY`. While another key is
    taking its place, the new one may be in `EXPORTER_NEW_DATA_KEY`. A dataset that is pickled loses its key.

    Raises `DestinationError` if there is no export, if a newer exporter wrote it, and for a generation whose parts are
    not all kept; `ProtectionError` if a key is missing or wrong; `UsageError` for a table or a generation that does not
    exist, and `StoreError`.
    """
    if generation is not None and not isinstance(generation, int):
        raise UsageError(f"generation: must be int, not {type(generation).__name__}")
    location, keys = parse_location(str(destination)), reader_keys(data_key_file, os.environ)
    with start_blocking_portal() as portal:
        return portal.call(_open, location, table, generation, keys)


async def _open(location: Location, table: str, generation: int | None, keys: ReaderKeys) -> ds.FileSystemDataset:
    async with open_store(location) as store:
        return make_datasets(store, *await find_files(store, generation, (table,)), keys)[table]


def table_schema(schema: pa.Schema, partition_by: PartitionBy) -> pa.Schema:
    """Returns the columns that a reader of directories sees: those of the files, then the key of the partitions."""
    key = key_of(partition_by)
    return schema if key is None else schema.append(partition_field(key))


class TableFiles(NamedTuple):
    """Holds the files of a table, from old to new, and its columns with the key of the partitions at the end."""

    schema: pa.Schema
    files: list[ManifestFile]


async def find_files(
    store: Store, generation: int | None, tables: tuple[str, ...] = ()
) -> tuple[Manifest, dict[str, TableFiles]]:
    """Returns the manifest of an export and the files of `tables`, or of all, by one reading of the manifest.

    For an earlier `generation`, its number and its state stand in the manifest. Raises the errors of `open_dataset`.
    """
    manifest = await load_manifest(store)
    shown = {table: table_of(manifest, table) for table in tables or manifest.tables}
    files = {table: each.files for table, each in shown.items()}
    if generation is not None and generation != manifest.generation:
        state, files = await _files_then(store, (*shown,), generation)
        manifest = replace(manifest, generation=generation, state=state)
    by = manifest.request.partition_by
    return manifest, {table: TableFiles(table_schema(schema_of(shown[table]), by), files[table]) for table in shown}


def make_datasets(
    store: Store, manifest: Manifest, tables: Mapping[str, TableFiles], keys: ReaderKeys
) -> dict[str, ds.FileSystemDataset]:
    """Returns tables as datasets, which work on when `store` is closed. Raises `ProtectionError` as `open_dataset`."""
    filesystem, prefix = open_filesystem(store)
    names = {file.key for _, files in tables.values() for file in files}
    formats = _formats(store.location, manifest, names, keys)

    def dataset_of(schema: pa.Schema, files: list[ManifestFile]) -> ds.FileSystemDataset:
        fragments = [
            formats[file.key].make_fragment(
                f"{prefix}{file.path}", filesystem, partition_expression=_expression(file.partition, schema)
            )
            for file in files
        ]
        return ds.FileSystemDataset(fragments, schema, ds.ParquetFileFormat(), filesystem)

    return {table: dataset_of(*each) for table, each in tables.items()}


def _formats(
    location: Location, manifest: Manifest, names: Collection[str], keys: ReaderKeys
) -> dict[str, ds.ParquetFileFormat]:
    """Returns the format of files by the name of their key. Raises `ProtectionError` if one is missing or wrong."""
    found = {"": ds.ParquetFileFormat()}
    for name in {*names} - {""}:
        properties = keys.cipher(location, name, manifest.encryption).to_read_by_default()
        scan = ds.ParquetFragmentScanOptions(decryption_properties=properties)
        found[name] = ds.ParquetFileFormat(default_fragment_scan_options=scan)
    return found


async def load_table(store: Store, table: str) -> tuple[Manifest, ManifestTable]:
    """Returns the manifest of an export, and what it says of a table. Raises the errors of `open_dataset`."""
    manifest = await load_manifest(store)
    return manifest, table_of(manifest, table)


async def load_manifest(store: Store) -> Manifest:
    """Returns the manifest of an export. Raises `DestinationError` without one, and for one of a newer exporter."""
    data = await store.read(MANIFEST)
    if data is None:
        raise DestinationError(f"{store.location}: no export here, or none with a manifest yet")
    return read_manifest(data, store.location / MANIFEST)


def table_of(manifest: Manifest, table: str) -> ManifestTable:
    """Returns what a manifest says of a table. Raises `UsageError` if it has none of this name."""
    if table not in manifest.tables:
        raise UsageError(f"no table {table!r} here; the tables are {', '.join(manifest.tables)}")
    return manifest.tables[table]


async def _files_then(
    store: Store, tables: tuple[str, ...], generation: int
) -> tuple[StateName, dict[str, list[ManifestFile]]]:
    """Returns the state of a generation, and the files of tables that were live. Raises the errors of
    `open_dataset`."""
    last = (await load_state(store)).number
    if not 1 <= generation <= last:
        raise UsageError(f"generation {generation}: the generations are 1 to {last}")
    then = (await load_states(store, (generation,)))[generation]
    live = sorted(then.files.values(), key=lambda file: (file.window, file.path))
    wanted: dict[str, list[ManifestFile]] = {table: [] for table in tables}
    for file in live:
        if file.table in wanted:
            wanted[file.table].append(ManifestFile(file.path, file.partition, file.key))
    there = {path for table in tables for path in await store.list(table)}
    paths = [file.path for files in wanted.values() for file in files]
    if gone := set(paths) - there:
        raise DestinationError(
            f"{store.location}: {len(gone):,} of the {len(paths):,} files of generation {generation} were replaced "
            "since, and are not kept. A sync with --keep-generations keeps those of earlier runs"
        )
    return state_name(then), wanted


def schema_of(table: ManifestTable) -> pa.Schema:
    """Returns the columns of a table's files. Raises `DestinationError` if a newer exporter wrote them."""
    if unknown := [column.type for column in table.schema if column.type not in _TYPES]:
        raise DestinationError(f"columns of type {unknown[0][:80]}: a newer exporter wrote them. Upgrade to read them")
    return pa.schema([pa.field(column.name, _TYPES[column.type], column.nullable) for column in table.schema])


def _expression(partition: dict[str, str], schema: pa.Schema) -> Any:
    """Returns the expression by which all rows of a part have its partition's key."""
    for name in partition:
        return ds.field(name) == partition_value(partition, schema.field(name))
    return ds.scalar(True)


def partition_value(partition: dict[str, str], key: pa.Field) -> pa.Scalar:
    """Returns the value that all rows of a partition have in the column of its key."""
    text = partition[key.name]
    return pa.scalar(date.fromisoformat(text) if key.type == pa.date32() else text, key.type)
