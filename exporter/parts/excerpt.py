"""Copies some columns of a part that lies in an object store, without reading the others. Blocking code."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from exporter.errors import UnreadableFileError
from exporter.parts.cipher import open_parquet, writing_properties
from exporter.store.base import Store
from exporter.store.filesystem import open_filesystem
from exporter.store.location import parts_inside


def copy_columns(store: Store, path: str, columns: Sequence[str], copy: Path) -> None:
    """Writes these columns of a part in an object store, as far as it has them, to a new file, and reads no others.
    The copy is encrypted as parts are.

    Raises `StoreError`; `UnreadableFileError` for what Arrow fails to read or write.
    """
    from exporter.store.objects.errors import translating

    location = store.location
    filesystem, prefix = open_filesystem(store)
    try:
        with (
            translating(location / path),
            filesystem.open_input_file(f"{prefix}{'/'.join(parts_inside(location, path))}") as file,
            open_parquet(file, location / path) as part,
        ):
            there = [name for name in columns if name in part.schema_arrow.names]
            schema = pa.schema([part.schema_arrow.field(name) for name in there])
            with pq.ParquetWriter(copy, schema, encryption_properties=writing_properties(schema)) as writer:
                for number in range(part.num_row_groups):
                    writer.write_table(part.read_row_group(number, columns=there, use_threads=False))
    except (OSError, MemoryError, pa.ArrowException) as error:
        raise UnreadableFileError(location / path, f"Arrow fails to copy it ({error})") from error
