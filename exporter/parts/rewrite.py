"""Writes the rows of a part to a new one as they are, with another key. Blocking code."""

from pathlib import Path

import msgspec
import pyarrow as pa

from exporter.model import DataFile
from exporter.parts.reader import copy_rows
from exporter.parts.writer import PartWriter


def rewrite_part(source: Path, file: DataFile, staged: Path, schema: pa.Schema, row_group_bytes: int) -> DataFile:
    """Writes the rows of `file`, which lies at `source`, to a new part at `staged`, and returns its description, still
    with the path of the old one. Raises `StoreError`."""
    writer = PartWriter(staged, schema, row_group_bytes, file.table)
    try:
        copy_rows([source], writer)
        part = writer.close()
    except BaseException:
        writer.abort()
        raise
    return msgspec.structs.replace(file, size_bytes=part.size_bytes, sha256=part.sha256, key=part.key)
