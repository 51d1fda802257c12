"""A file of changes holds what was written, whoever writes at once, in an encrypted export as well."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporter.errors import UnreadablePartError
from exporter.parts.changes import SCHEMA, ChangesCounts, ChangesWriter, count_changes, read_changes
from exporter.parts.cipher import Cipher, using
from exporter.privacy import EncryptionMode
from tests.toolkit.encrypted import data_key, encryption_with


def batch_of(first: int, rows: int) -> pa.RecordBatch:
    """Returns rows of which a third came, a third went, and a third were replaced."""
    numbers = range(first, first + rows)
    return pa.record_batch(
        [
            pa.array([f"c{number:09d}" for number in numbers]),
            pa.array([None if number % 3 == 0 else number for number in numbers], SCHEMA.field(1).type),
            pa.array([None if number % 3 == 1 else number for number in numbers], SCHEMA.field(2).type),
        ],
        schema=SCHEMA,
    )


def test_threads_write_one_file(tmp_path: Path) -> None:
    writer, size = ChangesWriter(tmp_path / "staged"), 30_000
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: writer.write(batch_of(number * size, size)), range(5)))
    done = writer.close()
    assert (done.rows, done.inserted, done.updated, done.deleted, done.key) == (150_000, *[50_000] * 3, "")
    assert done.size_bytes == (tmp_path / "staged").stat().st_size
    assert count_changes(tmp_path / "staged") == ChangesCounts(50_000, 50_000, 50_000)
    ids = Counter(identity for rows in read_changes(tmp_path / "staged") for identity in rows.column(0).to_pylist())
    assert ids == Counter(f"c{number:09d}" for number in range(150_000))
    # It is held by pieces, whatever its size.
    assert pq.ParquetFile(tmp_path / "staged").metadata.num_row_groups == 3


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    writer = ChangesWriter(tmp_path / "staged")
    writer.write(batch_of(0, 5))
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["uniform", "columns"])
def test_it_is_encrypted_as_parts_are(tmp_path: Path, mode: EncryptionMode) -> None:
    key = data_key("d1")
    with using(Cipher(encryption_with(mode, key), key)):
        writer = ChangesWriter(tmp_path / "staged")
        writer.write(batch_of(0, 9))
        assert writer.close().key == "d1"
        assert count_changes(tmp_path / "staged") == ChangesCounts(3, 3, 3)
    # By columns, those that an export leaves plain are plain here as well.
    assert mode == "columns" or b"c00000000" not in (tmp_path / "staged").read_bytes()
    with pytest.raises(UnreadablePartError):
        count_changes(tmp_path / "staged")
