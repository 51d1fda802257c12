"""A converted table has the rows of the live files and no others, whole or not at all."""

import asyncio
import csv
import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
from anyio import to_thread

import exporter
from exporter import errors
from exporter.cli import main
from exporter.encode.schema import turns_schema
from exporter.jobs.convert import choose_text, convert
from exporter.jobs.table_text import Text
from exporter.keys import NO_KEYS
from exporter.privacy import Encryption, KeyReference
from exporter.sandbox import make_conversations, serve
from exporter.store.local.store import LocalStore
from tests.jobs.made import SINCE, UNTIL, make_export
from tests.jobs.sealed import keys
from tests.toolkit.clouds import S3
from tests.toolkit.recorded import conversations, record

pytestmark = pytest.mark.anyio
ROWS = make_conversations(120, SINCE, UNTIL)
TABLES = ("conversations", "turns")
TIMES = {field.name for field in turns_schema() if pa.types.is_timestamp(field.type)} | {"created_at", "updated_at"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked: dict[str, Any] = {"tables": TABLES, "partition_by": "day", "timezone": "Asia/Tokyo"}
    root = make_export(tmp_path_factory.mktemp("convert") / "out", ROWS, **asked)
    # A run that was killed has left this, which the log does not name.
    for table in TABLES:
        part = next((root / table).glob("*/part-*.parquet"))
        part.with_name("part-left-000001.parquet").write_bytes(part.read_bytes())
    return root


def rows_of(root: Path, table: str) -> list[dict[str, Any]]:
    """Returns the rows as JSON has them, in the order of the files."""
    rows: list[dict[str, Any]] = exporter.open_dataset(root, table).to_table().to_pylist()
    for row in rows:
        row["created_date"] = str(row["created_date"])
        for name in TIMES & row.keys():
            row[name] = row[name] and row[name].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return rows


def from_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("table", TABLES)
async def test_each_format_has_the_rows_of_the_live_files(made: Path, table: str, tmp_path: Path) -> None:
    expected = await to_thread.run_sync(rows_of, made, table)
    done = await exporter.convert(made, tmp_path / "x.jsonl.gz", table=table, format="jsonl")
    lines = gzip.decompress((tmp_path / "x.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert (done.rows, done.files, done.table, done.state) == (len(expected), 1, table, "complete")
    assert done.bytes == (tmp_path / "x.jsonl.gz").stat().st_size
    await exporter.convert(made, tmp_path / "x.csv", table=table)
    found = from_csv((tmp_path / "x.csv").read_bytes().decode())
    assert len(found) == len(expected)
    for row, cells in zip(expected, found, strict=True):
        assert [*row] == [*cells]
        assert all(_is_in(cells[name], value) for name, value in row.items()), cells
    assert stat.S_IMODE((tmp_path / "x.csv").stat().st_mode) == 0o600


def _is_in(cell: str, value: object) -> bool:
    match value:
        case None:
            return cell == ""
        case bool() | dict():
            return bool(json.loads(cell) == value)
        case float():
            return float(cell) == value
    return cell == str(value)


async def test_a_file_for_each_partition(made: Path, tmp_path: Path) -> None:
    expected = await to_thread.run_sync(rows_of, made, "turns")
    to = tmp_path / "turns"
    done = await exporter.convert(
        str(made), str(to), table="turns", format="jsonl", compression="zstd", by_partition=True
    )
    days = sorted({row["created_date"] for row in expected})
    assert sorted(path.name for path in to.iterdir()) == [f"turns-{day}.jsonl.zst" for day in days]
    for day in days:
        with pa.input_stream(to / f"turns-{day}.jsonl.zst", compression="zstd") as file:
            found = [json.loads(line) for line in file.read().splitlines()]
        assert found == [row for row in expected if row["created_date"] == day]
    assert (done.files, done.rows) == (len(days), len(expected))
    assert done.bytes == sum(path.stat().st_size for path in to.iterdir())
    with pytest.raises(errors.UsageError, match="is there already"):
        await exporter.convert(made, to, by_partition=True)


async def test_from_an_object_store(s3: S3, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.make_bucket("converted")
    url = "s3://converted/out"
    async with serve(ROWS) as source:
        asked: dict[str, Any] = {"since": "2026-01-26", "until": "2026-02-02", "timezone": "Asia/Tokyo"}
        spec = exporter.ExportSpec(destination=url, base_url=source.url, token=source.token, **asked)
        whole = (await exporter.export(spec)).rows
    assert (await exporter.convert(url, tmp_path / "there.jsonl", format="jsonl")).rows == whole > 0
    found = [json.loads(line) for line in (tmp_path / "there.jsonl").read_bytes().splitlines()]
    here = {row["id"]: row for row in await to_thread.run_sync(rows_of, made, "conversations")}
    assert found == [here[row["id"]] for row in found]


def test_an_encrypted_export_needs_its_key(tmp_path: Path) -> None:
    sealed = Encryption(mode="uniform", key=KeyReference(name="d1"))
    root = make_export(tmp_path / "out", ROWS[:20], keys=keys(), encryption=sealed)
    to = tmp_path / "x.csv"
    for wrong in (NO_KEYS, keys("d2")):
        with pytest.raises(errors.ProtectionError):
            anyio.run(partial(convert, root, to, keys=wrong))
    assert not to.exists()
    assert anyio.run(partial(convert, root, to, keys=keys())).rows == 20
    assert len(from_csv(to.read_bytes().decode())) == 20


@pytest.mark.parametrize("by_partition", [False, True])
async def test_what_fails_leaves_nothing(made: Path, by_partition: bool, tmp_path: Path) -> None:
    root = tmp_path / "out"
    shutil.copytree(made, root)
    (last,) = {file["path"] for file in parts_of(root)[-1:]}
    data = (root / last).read_bytes()
    for wrong in (data[:-1] + b"x", data[:-1], None):
        (root / last).unlink() if wrong is None else (root / last).write_bytes(wrong)
        with pytest.raises(errors.DamagedPartError):
            await exporter.convert(root, tmp_path / "x", by_partition=by_partition)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def parts_of(root: Path) -> list[dict[str, Any]]:
    manifest = json.loads((root / "_manifest.json").read_bytes())
    files: list[dict[str, Any]] = manifest["tables"]["conversations"]["files"]
    return files


async def test_files_that_another_run_replaces_meanwhile_are_no_damage(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    shutil.copytree(made, root)
    fetched, is_replaced = LocalStore.fetched, False
    async with serve(ROWS) as source:
        spec = exporter.ExportSpec(
            destination=root, base_url=source.url, token=source.token, since="2026-01-01", until="2026-03-01"
        )
        for row in ROWS:
            source.update(str(row.facts()["id"]), row.updated_at + 1, summary="another")

        @asynccontextmanager
        async def late(self: LocalStore, path: str) -> AsyncIterator[Path]:
            nonlocal is_replaced
            if not is_replaced:
                is_replaced = True
                await exporter.reread(spec)
            async with fetched(self, path) as there:
                yield there

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LocalStore, "fetched", late)
            with pytest.raises(errors.StoreError, match="another run has replaced files before they") as caught:
                await exporter.convert(root, tmp_path / "x")
    assert caught.value.exit_status == 1
    assert (await exporter.convert(root, tmp_path / "x")).rows == len(ROWS)


def test_recordings_and_tables_that_are_not_there(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    shutil.copytree(made, root)
    with pytest.raises(errors.UsageError, match=r"table recordings: no such table here. The tables are conversations"):
        exporter.blocking.convert(root, tmp_path / "x", table="recordings")
    identity, *_ = conversations(root)
    record(root, {identity: ""})
    exporter.blocking.convert(root, tmp_path / "x", table="recordings", format="jsonl")
    row = json.loads((tmp_path / "x").read_bytes())
    assert (row["conversation_id"], row["status"], row["attempts"]) == (identity, "stored", 1)
    empty = make_export(tmp_path / "empty", [])
    assert exporter.blocking.convert(empty, tmp_path / "none.csv").rows == 0
    assert (tmp_path / "none.csv").read_bytes().startswith(b'"id","organization_id",')
    with pytest.raises(errors.DestinationError, match="no export here"):
        exporter.blocking.convert(tmp_path / "nowhere", tmp_path / "y")


def test_the_name_says_the_format_and_the_compression() -> None:
    for name, format_, compression in (
        ("x", "csv", "none"),
        ("x.csv.gz", "csv", "gzip"),
        ("x.jsonl", "jsonl", "none"),
        ("x.jsonl.zst", "jsonl", "zstd"),
    ):
        assert choose_text(name, None, None, False) == (format_, compression)
    assert choose_text("x", "jsonl", "gzip", False) == ("jsonl", "gzip")
    assert choose_text("x.jsonl", None, None, True) == ("csv", "none")
    with pytest.raises(errors.UsageError, match="does not go with a name"):
        choose_text("x.jsonl", "csv", None, False)


def test_stdout_has_the_rows_and_stderr_the_report(
    made: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["convert", str(made), "--output", "-", "--format", "jsonl", "--compression", "gzip"]) == 0
    shown = capfdbinary.readouterr()
    assert len(gzip.decompress(shown.out).splitlines()) == len(ROWS)
    assert f"{len(ROWS)} conversations written".encode() in shown.err
    assert main(["convert", str(made), "--output", str(tmp_path / "x.csv"), "--json"]) == 0
    figures = json.loads(capfdbinary.readouterr().out)
    assert (figures["rows"], figures["output"]) == (len(ROWS), str(tmp_path / "x.csv"))
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "exporter", "convert", str(made), "--output", "-"]
    left = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60, text=True)
    os.close(write)
    assert (left.returncode, left.stderr.count("\n")) == (1, 1)
    assert "stdout: its reader has left" in left.stderr


async def test_one_that_is_stopped_leaves_nothing(made: Path, tmp_path: Path) -> None:
    task = asyncio.create_task(exporter.convert(made, tmp_path / "x", table="turns"))
    copied = Text.write

    def slowly(self: Text, batch: pa.RecordBatch) -> None:
        copied(self, batch)
        loop.call_soon_threadsafe(task.cancel)

    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "write", slowly)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not [*tmp_path.iterdir()]
