"""Parts are what DuckDB, Polars and Arrow read back: same rows, same order, hashed, sorted, indexed, private."""

import errno
import hashlib
import os
import random
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import StoreError
from exporter.parts.writer import PartWriter

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("status", pa.string()),
        ("duration", pa.int64()),
        ("created_at", pa.timestamp("us", "UTC")),
        ("agent", pa.struct([("id", pa.string()), ("name", pa.string())])),
        ("summary", pa.string()),
        ("conversation", pa.string()),
        ("tags", pa.list_(pa.string())),
    ]
)
NEWEST = 1_770_000_000_000_000


def batch_of(times: list[int], seed: int = 1, text_bytes: int = 400) -> pa.RecordBatch:
    source = random.Random(seed)
    rows = len(times)
    return pa.record_batch(
        {
            "id": [f"{source.getrandbits(64):016x}" for _ in times],
            "status": [source.choice(["completed", "failed"]) for _ in times],
            "duration": [source.choice([None, 1, 2, 300]) for _ in times],
            "created_at": pa.array(times, pa.timestamp("us", "UTC")),
            "agent": [source.choice([None, {"id": "a", "name": "Ann"}]) for _ in times],
            "summary": ["said hello"] * rows,
            "conversation": [source.randbytes(text_bytes // 2).hex() for _ in times],
            "tags": [["x", "y"]] * rows,
        },
        schema=SCHEMA,
    )


def descending(rows: int, newest: int = NEWEST) -> list[int]:
    return [newest - index * 1_000_003 for index in range(rows)]


def test_readers_see_the_rows_in_order(tmp_path: Path) -> None:
    path = tmp_path / "one.partial"
    batch = batch_of(descending(3000))
    writer = PartWriter(path, SCHEMA, row_group_bytes=300_000)
    for start in range(0, 3000, 250):
        writer.write(batch.slice(start, 250))
    finished = writer.close()

    assert finished.rows == 3000
    assert finished.size_bytes == path.stat().st_size == writer.size_bytes
    assert finished.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (finished.created_at_max, finished.created_at_min) == (NEWEST, descending(3000)[-1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    whole = pa.Table.from_batches([batch])
    assert pq.read_table(path).equals(whole)
    ids = whole["id"].to_pylist()
    assert [row[0] for row in duckdb.execute("select id from read_parquet(?)", [str(path)]).fetchall()] == ids
    assert pl.read_parquet(path)["id"].to_list() == ids


def test_row_groups_are_cut_by_bytes(tmp_path: Path) -> None:
    limit = 200_000
    path = tmp_path / "one.partial"
    writer = PartWriter(path, SCHEMA, row_group_bytes=limit)
    # One page is five row groups large; slices of it must count for what they hold, not for the page.
    batch = batch_of(descending(2000), text_bytes=450)
    assert batch.nbytes > 4 * limit
    writer.write(batch.slice(0, 1000))
    for start in range(1000, 2000, 20):
        writer.write(batch.slice(start, 20))
    writer.close()
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)]
    assert 5 <= len(sizes) <= 9
    assert all(size < 1.2 * limit for size in sizes)


def test_a_batch_waits_only_where_another_would_fit_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "one.partial"
    batch = batch_of(descending(400), text_bytes=450)
    writer = PartWriter(path, SCHEMA, row_group_bytes=batch.slice(0, 250).nbytes)
    sizes = [path.stat().st_size]
    for start in range(0, 400, 100):
        writer.write(batch.slice(start, 100))
        sizes.append(path.stat().st_size)
    assert [later > before for before, later in pairwise(sizes)] == [False, True, False, True]
    writer.close()
    assert pq.read_metadata(path).num_row_groups == 2


def test_columns_are_written_as_readers_need_them(tmp_path: Path) -> None:
    path = tmp_path / "one.partial"
    writer = PartWriter(path, SCHEMA, row_group_bytes=1 << 20)
    writer.write(batch_of(descending(500)))
    writer.close()
    group = pq.read_metadata(path).row_group(0)
    assert group.sorting_columns == (pq.SortingColumn(3, descending=True, nulls_first=False),)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    assert {path for path, column in columns.items() if column.compression != "ZSTD"} == {"agent.id", "agent.name"}
    assert {path for path, column in columns.items() if column.has_dictionary_page} == {
        "status",
        "agent.id",
        "agent.name",
    }
    assert {path for path, column in columns.items() if column.statistics is None} == {
        "summary",
        "conversation",
        "tags.list.element",
    }
    assert all(column.has_offset_index for column in columns.values())
    assert columns["created_at"].has_column_index


def test_size_is_known_before_it_is_written(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path / "one.partial", SCHEMA, row_group_bytes=1 << 20)
    before = writer.size_bytes
    batch = batch_of(descending(1000))
    writer.write(batch)
    assert before < writer.size_bytes < batch.nbytes
    writer.abort()


@given(cuts=st.lists(st.integers(1, 60), max_size=8), limit=st.integers(1, 30_000))
@settings(max_examples=25, deadline=None)
def test_every_cut_gives_the_same_rows(tmp_path_factory: pytest.TempPathFactory, cuts: list[int], limit: int) -> None:
    path = tmp_path_factory.mktemp("cuts") / "one.partial"
    batch = batch_of(descending(sum(cuts) + 1), text_bytes=60)
    writer = PartWriter(path, SCHEMA, row_group_bytes=limit)
    start = 0
    for rows in (*cuts, 1):
        writer.write(batch.slice(start, rows))
        start += rows
    assert writer.close().rows == batch.num_rows
    assert pq.read_table(path).equals(pa.Table.from_batches([batch]))


@pytest.mark.parametrize("batches", [[[5, 6]], [[5], [6]], [[9, 5], [5, 7]], [[None, 1]]])
def test_rows_out_of_order_are_refused(tmp_path: Path, batches: list[list[int]]) -> None:
    writer = PartWriter(tmp_path / "one.partial", SCHEMA, row_group_bytes=1 << 20)
    with pytest.raises(ValueError, match="must descend"):
        for times in batches:
            writer.write(batch_of(times))
    writer.abort()


def test_equal_times_are_in_order(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path / "one.partial", SCHEMA, row_group_bytes=1 << 20)
    writer.write(batch_of([7, 7]))
    writer.write(batch_of([7, 6]))
    finished = writer.close()
    assert (finished.created_at_min, finished.created_at_max) == (6, 7)


def test_a_part_without_rows_is_refused(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path / "one.partial", SCHEMA, row_group_bytes=1 << 20)
    writer.write(batch_of([]))
    with pytest.raises(ValueError, match="needs a row"):
        writer.close()
    writer.abort()


def test_abort_deletes_and_may_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "one.partial"
    writer = PartWriter(path, SCHEMA, row_group_bytes=10_000)
    writer.write(batch_of(descending(100)))
    assert path.exists()
    writer.abort()
    writer.abort()
    assert not path.exists()


def test_a_staged_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "one.partial"
    path.write_bytes(b"another's")
    with pytest.raises(StoreError, match=r"one\.partial"):
        PartWriter(path, SCHEMA, row_group_bytes=1)
    assert path.read_bytes() == b"another's"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Makes the kernel itself refuse to let a file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 2, 3, 4, 5, 50, 5_000, 12_000, 20_000])
def test_a_file_that_cannot_grow_is_an_error_and_no_part(tmp_path: Path, size: int) -> None:
    path = tmp_path / "one.partial"
    with file_size_limit(size):
        writer: PartWriter | None = None
        with pytest.raises(StoreError, match=r"one\.partial"):
            writer = PartWriter(path, SCHEMA, row_group_bytes=5_000)
            for index in range(6):
                writer.write(batch_of(descending(100, NEWEST - index * 10**9)))
            writer.close()
    if writer is not None:
        writer.abort()
    assert list(tmp_path.iterdir()) == []


def count_calls(monkeypatch: pytest.MonkeyPatch, fail_at: int | None, number: int) -> list[str]:
    """Makes the `fail_at`-th os-level write or fsync fail with errno `number`; the list names the calls made."""
    calls: list[str] = []

    def failing(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            if len(calls) == fail_at:
                raise OSError(number, os.strerror(number))
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    failing("write")
    failing("fsync")
    return calls


def write_part(path: Path) -> None:
    writer = PartWriter(path, SCHEMA, row_group_bytes=8_000)
    try:
        for index in range(8):
            writer.write(batch_of(descending(40, NEWEST - index * 10**9)))
        writer.close()
    except StoreError:
        writer.abort()
        raise


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "the disk is full"), (errno.EIO, "Check the disk"), (errno.EDQUOT, "quota")]
)
def test_every_failing_write_is_a_store_error(tmp_path: Path, number: int, says: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        calls = count_calls(patch, None, number)
        write_part(tmp_path / "whole.partial")
    assert calls[-1] == "fsync"
    assert len(calls) > 8, "a write for each row group, and one for the footer"
    for fail_at in range(1, len(calls) + 1):
        path = tmp_path / f"{fail_at}.partial"
        with pytest.MonkeyPatch.context() as patch:
            count_calls(patch, fail_at, number)
            with pytest.raises(StoreError, match=says):
                write_part(path)
        assert not path.exists()
