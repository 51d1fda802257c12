"""What SQL sees is what `open_dataset` gives, wherever the export lies and however it is kept."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import exporter
from exporter.contract import DAY
from exporter.errors import DestinationError, InterruptedExportError, ProtectionError, StoreError, UsageError
from exporter.model import TableFormat
from exporter.privacy import Encryption, EncryptionMode, KeyReference
from exporter.query import connection, views
from exporter.query.connection import Query, open_query
from exporter.query.files import ExportFiles
from exporter.run.encryption import reader_keys
from exporter.sandbox import Row
from exporter.settings import PartitionBy, Selection
from exporter.store.location import parse_location
from tests.end_to_end.export_directory import assert_same as assert_same_rows
from tests.jobs.made import SINCE, make_export
from tests.jobs.moving import fill, moving_source, run_sync
from tests.query.conftest import ROWS, TABLES, Open
from tests.toolkit.clouds import S3
from tests.toolkit.encrypted import data_key, keys_with, text_of
from tests.toolkit.lake import KINDS, Kind, readers, records_of

KEY = data_key("d1")
NO_KEYS = reader_keys(None, {})
#: Takes minutes, unless it is interrupted.
LONG = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range * b.range % 7 = 3"


def assert_same(query: Query, root: Path | str, key: Path | None = None) -> None:
    """Asserts that each table has the columns and the rows that `open_dataset` gives."""
    assert query.tables == TABLES
    for table in TABLES:
        there = exporter.open_dataset(root, table, data_key_file=key).to_table()
        here = query.fetch(f"FROM {table}")
        assert here.schema.equals(there.schema)
        assert here.schema.equals(query.schemas[table])
        order = [(name, "ascending") for name in ("id", "conversation_id", "item_index") if name in here.schema.names]
        assert here.num_rows >= len(ROWS)
        assert here.sort_by(order).equals(there.sort_by(order))


@pytest.mark.parametrize("partition_by", ["day", "hour", "week", "month", "none"])
def test_the_tables_are_those_of_the_manifest(partition_by: PartitionBy, tmp_path: Path, opened: Open) -> None:
    root = make_export(tmp_path / "calls", ROWS, tables=TABLES, partition_by=partition_by)
    # A run that was killed has left this, and no manifest names it.
    left = next(root.rglob("conversations/**/*.parquet"))
    shutil.copy(left, left.with_name("part-left-000001.parquet"))
    assert_same(opened(root), root)


@pytest.mark.parametrize("name", ["status=x", "[a]*?", 'it\'s "quoted"', "back\\slash", os.fsdecode(b"\xff")])
def test_whatever_the_directory_is_called(name: str, calls: Path, tmp_path: Path, opened: Open) -> None:
    root = Path(shutil.copytree(calls, tmp_path / name))
    assert_same(opened(root), root)


def test_a_partition_that_is_not_asked_for_is_not_opened(calls: Path, tmp_path: Path, opened: Open) -> None:
    root = Path(shutil.copytree(calls, tmp_path / "calls"))
    query = opened(root)
    # DuckDB learns the columns from the first file.
    _first, second, *_, last = sorted((root / "conversations").iterdir())
    shutil.rmtree(second)
    day = last.name.partition("=")[2]
    assert query.fetch("FROM conversations WHERE created_date = ?::DATE", [day]).num_rows > 0
    with pytest.raises(StoreError, match=r"a file is not there any more.*\nexporter verify"):
        query.fetch("FROM conversations")
    # The next query is not blamed for it.
    assert query.fetch("SELECT 1 AS one").to_pylist() == [{"one": 1}]


@pytest.mark.parametrize("mode", ["uniform", "columns"])
def test_an_encrypted_export_needs_its_key(
    mode: EncryptionMode, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[dict[str, Any]] = []

    class Noted(views.FrugalDataset):
        def scanner(self, **options: Any) -> Any:
            scans.append(options)
            return super().scanner(**options)

    monkeypatch.setattr(connection, "FrugalDataset", Noted)
    encryption = Encryption(mode=mode, key=KeyReference(name=KEY.name))
    root = make_export(tmp_path / "calls", ROWS, tables=TABLES, keys=keys_with(KEY), encryption=encryption)
    for key in ("", text_of(data_key("other"))):
        with pytest.raises(ProtectionError, match="encrypted with the key d1, and it is not here"):
            opened(root, key)
    (file := tmp_path / "key").write_text(text_of(KEY))
    file.chmod(0o600)
    assert_same(opened(root, text_of(KEY)), root, file)
    assert len(scans) == len(TABLES), "DuckDB lets Arrow read ahead as far as that likes"
    query = opened(root, text_of(KEY))
    part = max(root.rglob("turns/*/*.parquet"))
    part.write_bytes(part.read_bytes()[:200] + bytes(part.stat().st_size - 200))
    with pytest.raises(StoreError, match="cannot be read as Parquet"):
        query.fetch("FROM turns")
    part.unlink()
    with pytest.raises(StoreError, match="a file is not there any more"):
        query.fetch("FROM turns")


def test_columns_that_were_added_later_are_null_in_older_files(
    calls: Path, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(calls, tmp_path / "calls"))
    older, *_ = sorted(root.rglob("conversations/*/*.parquet"))
    pq.write_table(pq.read_table(older, partitioning=None).drop_columns("channel"), older)
    monkeypatch.setattr(views, "_ADDED", frozenset({"channel"}))
    query = opened(root)
    absent = query.fetch("SELECT created_date FROM conversations WHERE channel IS NULL")
    assert {str(day) for day in absent["created_date"].to_pylist()} == {older.parent.name.partition("=")[2]}


def test_it_asks_an_object_store_for_what_it_asks_a_disk_for(
    s3: S3, monkeypatch: pytest.MonkeyPatch, opened: Open
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.make_bucket("asked")
    url = "s3://asked/some/calls"
    make_export(parse_location(url), ROWS, tables=TABLES, partition_by="none")
    query = opened(url)
    assert_same(query, url)
    bucket = boto3.resource("s3", endpoint_url=s3.environment["AWS_ENDPOINT_URL_S3"]).Bucket("asked")
    bucket.objects.filter(Prefix="some/calls/turns/").delete()
    with pytest.raises(StoreError, match="a file is not there any more"):
        opened(url)


@pytest.mark.anyio
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_delta_or_iceberg_export_is_asked_as_its_readers_see_it(kind: Kind, tmp_path: Path) -> None:
    async with moving_source(1) as source:
        fill(source, 40)
        for summary in ("first", "second"):
            await run_sync(tmp_path, source, Selection(table_format=TableFormat(kind=kind)))
            source.now += DAY
            source.update("c7", summary=summary)
        await run_sync(tmp_path, source)
    with await open_query(tmp_path, NO_KEYS) as query:
        found = records_of(query.fetch("FROM conversations"))
    assert len(found) == 40
    assert found["c7"]["summary"] == "second"
    for read in readers(kind).values():
        assert_same_rows(found, read(tmp_path, None))


@pytest.mark.anyio
@pytest.mark.usefixtures("hasty")
async def test_an_answer_is_of_one_generation(tmp_path: Path) -> None:
    async with moving_source(1) as source:
        fill(source, 40)
        await run_sync(tmp_path, source)
        older = await open_query(tmp_path, NO_KEYS)
        generation = older.manifest.generation
        text = "SELECT summary FROM conversations WHERE id = 'c7'"
        (before,) = older.fetch(text).to_pylist()
        source.update("c7", summary="changed")
        await run_sync(tmp_path, source, keep_generations=2)
    assert older.fetch(text).to_pylist() == [before]
    older.close()
    for number, expected in ((generation, before), (None, {"summary": "changed"})):
        with await open_query(tmp_path, NO_KEYS, generation=number) as query:
            assert query.fetch(text).to_pylist() == [expected]
            assert (query.manifest.generation == generation) == (number is not None)
    # The first commit only declares what is asked for.
    with await open_query(tmp_path, NO_KEYS, generation=1) as query:
        assert (query.manifest.state, query.count("FROM conversations")) == ("incomplete", 0)
    with pytest.raises(UsageError, match="the generations are 1 to"):
        await open_query(tmp_path, NO_KEYS, generation=999)


def test_an_export_without_rows_has_tables_without_rows(tmp_path: Path, opened: Open) -> None:
    root = make_export(tmp_path / "calls", [], tables=TABLES)
    query = opened(root)
    for table in TABLES:
        found = query.fetch(f"FROM {table}")
        assert found.num_rows == 0
        assert found.schema.equals(query.schemas[table])
        assert query.cursor().count(f"FROM {table}") == 0


def test_a_table_that_is_not_there_is_named(tmp_path: Path, opened: Open) -> None:
    root = make_export(tmp_path / "calls", ROWS)
    with pytest.raises(UsageError, match=r"^no table turns here; the tables are conversations$"):
        opened(root).fetch("SELECT count(*) FROM Turns")
    with pytest.raises(UsageError, match="Table with name calls does not exist"):
        opened(root).fetch("FROM calls")
    # What a query quotes is not what has happened.
    with pytest.raises(UsageError, match="idd"):
        opened(root).fetch("SELECT idd FROM conversations WHERE id = 'IOError: No such file or directory INTERRUPT'")
    with pytest.raises(DestinationError, match="no export here"):
        opened(tmp_path)


def test_what_a_caller_said_does_not_reach_a_terminal_in_a_complaint(tmp_path: Path, opened: Open) -> None:
    said = Row(SINCE, fields={"id": "1", "status": "a\x1b]0;b\x07\u202ec\x9bd\n"})
    query = opened(make_export(tmp_path / "calls", [said]))
    with pytest.raises(UsageError, match="Conversion Error") as caught:
        query.fetch("SELECT status::INTEGER FROM conversations")
    assert r"'a\u001b]0;b\u0007\u202ec\u009bd" in str(caught.value)
    assert str(caught.value).replace("\n", "").isprintable()


def test_a_damaged_file_is_named(calls: Path, tmp_path: Path, opened: Open) -> None:
    root = Path(shutil.copytree(calls, tmp_path / "calls"))
    query = opened(root)
    *_, part = sorted(root.rglob("turns/*/*.parquet"))
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(StoreError) as caught:
        query.fetch("SELECT sum(length(text)) FROM turns")
    assert str(part) in str(caught.value)
    assert "exporter verify" in str(caught.value)


def test_few_files_are_open_at_once(calls: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    query = opened(calls)
    before, most = _open_files(), 0
    open_one = ExportFiles._open

    def counted(self: ExportFiles, path: str, **options: Any) -> Any:
        nonlocal most
        file = open_one(self, path, **options)
        most = max(most, _open_files())
        return file

    monkeypatch.setattr(ExportFiles, "_open", counted)
    for _ in range(20):
        query.fetch("SELECT count(text) FROM turns")
    assert before < most < before + 60
    assert _open_files() == before


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_query_that_needs_too_much_memory_is_refused(calls: Path, opened: Open) -> None:
    query = opened(calls, memory_bytes=30_000_000)
    with pytest.raises(UsageError, match="needs more memory than there is"):
        query.fetch("SELECT i, hash(i) AS h FROM range(10000000) t(i) ORDER BY h")
    assert query.fetch("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_without_duckdb_the_message_says_how_to_install_it(
    calls: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UsageError, match=r"packages that are not installed. To install them:\n.*duckdb fsspec"):
        opened(calls)


def test_a_query_ends_when_it_is_interrupted(calls: Path, opened: Open) -> None:
    query = opened(calls)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(query.fetch, LONG)
        # It may not have begun yet.
        while not answer.done():
            query.interrupt()
        with pytest.raises(InterruptedExportError):
            answer.result()
    assert query.count("FROM conversations") == len(ROWS)
    _, batches = query.stream("SELECT i, 'x' || i AS text FROM range(1000000000) t(i)")
    next(batches)
    query.interrupt()
    with pytest.raises(InterruptedExportError):
        list(batches)


def test_cursors_ask_at_once(calls: Path, opened: Open) -> None:
    query = opened(calls)
    texts = [f"SELECT {number} AS number, id FROM conversations ORDER BY id" for number in range(8)]

    def ask(text: str) -> pa.Table:
        with query.cursor() as cursor:
            return cursor.fetch(text)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, texts))
    ids = sorted(str(row.facts()["id"]) for row in ROWS)
    assert [table.to_pylist() for table in found] == [
        [{"number": number, "id": one} for one in ids] for number in range(8)
    ]


def test_values_are_given_apart_from_the_text(calls: Path, opened: Open) -> None:
    query = opened(calls)
    identity = str(ROWS[0].facts()["id"])
    assert query.fetch("SELECT id FROM conversations WHERE id = ?", [identity]).num_rows == 1
    assert query.fetch("SELECT id FROM conversations WHERE id = $id", {"id": "' OR true --"}).num_rows == 0
    assert query.count("FROM conversations WHERE id = $id", {"id": identity}) == 1
    assert query.stream("FROM conversations ORDER BY id", rows=3).batches.__next__().num_rows == 3


@pytest.mark.parametrize(
    "kind", ["1::UHUGEINT", "[TIMETZ '10:00:00+01']", "{'x': 1::VARIANT}", "'101'::BIT", "1::BIGNUM"]
)
def test_what_arrow_would_change_is_refused(kind: str, calls: Path, opened: Open) -> None:
    with pytest.raises(UsageError, match=r"column x: a .* does not come out of DuckDB whole\. Cast"):
        opened(calls).fetch(f"SELECT {kind} AS x")
