"""A dataset has the manifest's files and no others, of now or of a generation that is kept."""

import json
import os
import re
import shutil
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.ipc
import pytest
from anyio import to_thread

import exporter
from exporter.cli import main
from exporter.encode.recordings import recordings_schema
from exporter.errors import DestinationError, UsageError
from exporter.jobs.export import export
from exporter.jobs.sync import sync
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import make_conversations
from exporter.sandbox.clock import system_clock
from exporter.sandbox.service import serve
from exporter.settings import Credentials, PartitionBy, RunSettings, Selection
from tests.end_to_end.export_directory import ExportDirectory, assert_same
from tests.end_to_end.records import SINCE, UNTIL, records
from tests.toolkit.clouds import S3
from tests.toolkit.recorded import conversations, record, recordings, state_of

pytestmark = pytest.mark.anyio

ROWS = make_conversations(200, SINCE, UNTIL)
KEYS = {"day": "created_date", "hour": "created_hour", "week": "created_week", "month": "created_month"}


async def exported(root: Path, partition_by: PartitionBy = "day") -> Path:
    async with serve(ROWS) as source:
        asked = Selection(since=SINCE, until=UNTIL, partition_by=partition_by)
        await export(root, asked, RunContext(RunSettings(base_url=source.url), Credentials(source.token), Quiet()))
    return root


@pytest.mark.parametrize("partition_by", ["day", "hour", "week", "month", "none"])
async def test_it_is_what_the_manifest_names(partition_by: PartitionBy, tmp_path: Path) -> None:
    root = await exported(tmp_path / "out", partition_by)
    shown = ExportDirectory(root)
    # A run that was killed has left this, and no manifest names it.
    left = root / shown.files[0]["path"]
    shutil.copy(left, left.with_name("part-left-000001.parquet"))
    dataset = exporter.open_dataset(root)
    assert dataset.files == [str(root / file["path"]) for file in shown.files]
    names = [column["name"] for column in shown.manifest["tables"]["conversations"]["schema"]]
    key = KEYS.get(partition_by)
    assert dataset.schema.names == [*names, *([key] if key else [])]
    assert [str(field.type) for field in dataset.schema][: len(names)] == [
        column["type"] for column in shown.manifest["tables"]["conversations"]["schema"]
    ]
    found = dataset.to_table().to_pylist()
    if key:
        formats = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H", "week": "%G-W%V", "month": "%Y-%m"}
        assert all(str(row.pop(key)) == row["created_at"].strftime(formats[partition_by]) for row in found)
    assert_same({row["id"]: row for row in found}, records(ROWS))


@pytest.mark.parametrize("name", ["prod:calls", "a%20b#c?d", "s3:", os.fsdecode(b"\xff")])
async def test_whatever_the_directory_is_called(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await exported(Path(name))
    dataset = exporter.open_dataset(Path(name))
    assert dataset.count_rows() == dataset.to_table().num_rows == len(ROWS)


async def test_its_partitions_are_dates_and_prune(tmp_path: Path) -> None:
    dataset = exporter.open_dataset(str(await exported(tmp_path / "out")))
    day = ds.field("created_date") == date(2024, 1, 10)
    expected = sum(record["created_at"].date() == date(2024, 1, 10) for record in records(ROWS).values())
    assert 0 < dataset.count_rows(filter=day) == expected
    assert len(list(dataset.get_fragments(filter=day))) == 1
    days = {record["created_at"].date() for record in records(ROWS).values()}
    assert duckdb.execute("SELECT count(DISTINCT created_date) FROM dataset").fetchall() == [(len(days),)]


async def test_older_generations_are_there_as_long_as_they_are_kept(tmp_path: Path) -> None:
    root, identity = tmp_path / "out", str(ROWS[3].facts()["id"])
    generations, summaries = [], []
    async with serve(ROWS) as source:
        settings, credentials = RunSettings(base_url=source.url), Credentials(source.token)
        await export(root, Selection(since=SINCE, until=UNTIL), RunContext(settings, credentials, Quiet()))
        for number in range(3):
            generations.append(ExportDirectory(root).manifest["generation"])
            summaries.append(ExportDirectory(root).records()[identity]["summary"])
            source.update(identity, system_clock(), summary=f"number {number}")
            await sync(root, Selection(), RunContext(settings, credentials, Quiet()), keep_generations=2)
    for generation, summary in list(zip(generations, summaries, strict=True))[1:]:
        table = exporter.open_dataset(root, generation=generation).to_table()
        assert table.num_rows == 200
        assert table.filter(ds.field("id") == identity)["summary"].to_pylist() == [summary]
    with pytest.raises(DestinationError, match=r"1 of the \d+ files of generation \d+ were replaced since"):
        exporter.open_dataset(root, generation=generations[0])
    latest = ExportDirectory(root).manifest["generation"]
    assert exporter.open_dataset(root, generation=latest).files == exporter.open_dataset(root).files
    for absent in (0, latest + 1):
        with pytest.raises(UsageError, match=f"the generations are 1 to {latest}"):
            exporter.open_dataset(root, generation=absent)


async def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    root = await exported(tmp_path / "out")
    with pytest.raises(UsageError, match="no table 'calls' here; the tables are conversations"):
        exporter.open_dataset(root, "calls")
    with pytest.raises(DestinationError, match="no export here"):
        exporter.open_dataset(tmp_path)
    manifest = json.loads((root / "_manifest.json").read_bytes())
    for change, complaint in (
        ({"format_version": 99}, "in format 99, by a newer exporter"),
        ({"tables": {"conversations": {"schema": [{"name": "x", "type": "decimal", "nullable": True}], "files": []}}},
         "columns of type decimal: a newer exporter"),
        ({"request": None}, "not a manifest that an exporter wrote"),
    ):  # fmt: skip
        (root / "_manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(DestinationError, match=complaint):
            exporter.open_dataset(root)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"path":"conversations/', '"path":"../', "the file '../created_date"),
        ('"path":"conversations/', '"path":"/', "the file '/created_date"),
        ('"path":"conversations/', '"path":"turns/', "the file 'turns/created_date"),
        ('"path":"conversations/', '"path":"conversations/../', "the file 'conversations/../created_date"),
        ('"partition":{"created_date":"2', '"partition":{"created_date":"3', "the file 'conversations/created_date"),
        ('"conversations":{', '"c AS SELECT 1; --":{', "the table 'c AS SELECT 1; --'"),
        ('"name":"agent_id"', '"name":"a\\" b"', "the column 'a\" b'"),
    ],
)
async def test_a_manifest_names_nothing_beyond_its_export(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    root = await exported(tmp_path / "out")
    found = json.dumps(json.loads((root / "_manifest.json").read_bytes()), separators=(",", ":"))
    assert old in found
    (root / "_manifest.json").write_text(found.replace(old, new))
    with pytest.raises(
        DestinationError, match=f"not a manifest that an exporter wrote: it names {re.escape(complaint)}"
    ):
        exporter.open_dataset(root, *json.loads((root / "_manifest.json").read_bytes())["tables"])


async def test_it_reads_from_an_object_store_what_it_reads_from_a_disk(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.make_bucket("datasets")
    root, url = await exported(tmp_path / "out", "week"), "s3://datasets/some/out"
    async with serve(ROWS) as source:
        spec = exporter.ExportSpec(
            destination=url,
            base_url=source.url,
            token=source.token,
            since="2024-01-01",
            until="2024-03-01",
            partition_by="week",
        )
        assert (await exporter.export(spec)).rows == 200
    here, there = exporter.open_dataset(root), await to_thread.run_sync(exporter.open_dataset, url)
    assert here.schema.equals(there.schema)
    whole = await to_thread.run_sync(there.to_table)
    assert whole.sort_by("id").equals(here.to_table().sort_by("id"))
    week = ds.field("created_week") == "2024-W02"
    assert await to_thread.run_sync(lambda: there.count_rows(filter=week)) == here.count_rows(filter=week) > 0
    assert all(path.startswith("some/out/conversations/") for path in there.files)


async def test_an_export_without_rows_is_a_table_without_rows(tmp_path: Path) -> None:
    async with serve([]) as source:
        settings = RunSettings(base_url=source.url)
        await export(tmp_path / "out", Selection(until=UNTIL), RunContext(settings, Credentials(source.token), Quiet()))
    assert exporter.open_dataset(tmp_path / "out").to_table().num_rows == 0


def shown_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["schema", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("partition_by", ["day", "hour", "week", "month", "none"])
async def test_the_schema_in_sql_takes_the_files_by_name(
    partition_by: PartitionBy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = await exported(tmp_path / "out", partition_by)
    files = f"read_parquet('{root}/conversations/**/part-*.parquet', hive_partitioning = true)"
    sql = await to_thread.run_sync(shown_by, capsys, str(root), "--format", "sql")
    assert sql == await to_thread.run_sync(shown_by, capsys, "--format", "sql", "--partition-by", partition_by)
    with duckdb.connect() as database:
        database.execute(sql)
        database.execute(f"INSERT INTO conversations BY NAME SELECT * FROM {files}")
        own, theirs = (
            [(name, type_) for name, type_, *_ in database.execute(f"DESCRIBE {query}").fetchall()]
            for query in ("conversations", f"SELECT * FROM {files}")
        )
        assert dict(own) == dict(theirs)
        columns = ", ".join(name for name, _ in own)
        both = f"(SELECT {columns} FROM conversations) EXCEPT ALL (SELECT {columns} FROM {files})"
        assert database.execute("SELECT count(*) FROM conversations").fetchall() == [(200,)]
        assert database.execute(both).fetchall() == []


async def test_the_schema_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = await exported(tmp_path / "out")
    dataset = exporter.open_dataset(root)
    assert await to_thread.run_sync(shown_by, capsys, str(root)) == f"{dataset.schema.to_string()}\n"
    columns = json.loads(await to_thread.run_sync(shown_by, capsys, str(root), "--format", "json"))
    assert [(column["name"], column["type"], column["nullable"]) for column in columns] == [
        (field.name, str(field.type), field.nullable) for field in dataset.schema
    ]
    assert [column["name"] for column in columns if column["partition"]] == ["created_date"]
    assert all(column["description"] for column in columns)
    few = json.loads(
        await to_thread.run_sync(shown_by, capsys, "--format", "json", "--fields", "summary", "--partition-by", "none")
    )
    assert [column["name"] for column in few] == ["id", "status", "created_at", "updated_at", "summary", "extra"]
    assert pa.ipc.read_schema(dataset.schema.serialize()).equals(dataset.schema)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["out", "--fields", "id"], "out: has its own fields and partitions"),
        (["--table", "calls"], "--table calls: no such table. The tables are conversations, turns"),
        (["nowhere"], "no export here"),
    ],
)
def test_what_has_no_schema(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", *arguments]) == 2
    assert complaint in capsys.readouterr().err


async def test_recordings_are_a_table(tmp_path: Path) -> None:
    root = await exported(tmp_path / "out")
    with pytest.raises(UsageError, match="no table 'recordings' here"):
        await to_thread.run_sync(exporter.open_dataset, root, "recordings")
    names = [*conversations(root)][::40]
    await to_thread.run_sync(record, root, {**dict.fromkeys(names, ""), names[0]: None})
    first, then = recordings(root), state_of(root).number
    dataset = await to_thread.run_sync(exporter.open_dataset, root, "recordings")
    assert [*dataset.schema.names] == [*recordings_schema().names, "created_date"]
    rows = {row.pop("conversation_id"): row for row in dataset.to_table().to_pylist()}
    assert {name: row["path"] for name, row in rows.items()} == {name: row["path"] for name, row in first.items()}
    for row in rows.values():
        assert row["created_date"] == row["conversation_created_at"].date()
        assert row["path"] is None or (root / row["path"]).stat().st_size == row["bytes"]
    assert (await exporter.schema(root, "recordings")).equals(dataset.schema)
    await to_thread.run_sync(record, root, {names[0]: ""})
    with pytest.raises(DestinationError, match="were replaced since, and are not kept"):
        await to_thread.run_sync(exporter.open_dataset, root, "recordings", then)
