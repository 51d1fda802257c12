"""The statements for warehouses are what their parsers take, name all columns, and read what the export holds."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import anyio
import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from exporter.cli import main
from exporter.encode.descriptions import DESCRIPTIONS
from exporter.errors import UsageError
from exporter.jobs.dialects import register
from exporter.jobs.export import export
from exporter.jobs.schema import load_warehouse_table, new_schema, render_schema
from exporter.jobs.warehouse import Place, WarehouseTable
from exporter.model import ALL_TABLES, TableFormat
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import make_conversations
from exporter.sandbox.service import serve
from exporter.settings import WAREHOUSES, Credentials, PartitionBy, RunSettings, Selection, WarehouseDialect
from exporter.store.location import Url
from exporter.store.objects.amazon import find_address
from tests.end_to_end.records import SINCE, UNTIL
from tests.toolkit.clickhouse import run_clickhouse
from tests.toolkit.clouds import S3

S3_PLACE = Place("s3", "it's/calls", "my-bucket")
GS_PLACE = Place("gs", "calls", "my-bucket")
AZ_PLACE = Place("az", "calls", "my-container", "myaccount")
DELTA = TableFormat(kind="delta")
ICEBERG = TableFormat(kind="iceberg")
IN_A_CATALOG = TableFormat(kind="iceberg", catalog="prod", namespace="calls")
#: What sqlglot does not know, of which the texts are compared.
REPAIR = "MSCK REPAIR TABLE `{name}`"


def table(
    name: str = "conversations",
    place: Place | None = S3_PLACE,
    fields: tuple[str, ...] | None = None,
    partition_by: PartitionBy = "day",
    zone: str = "UTC",
    format_: TableFormat | None = None,
) -> WarehouseTable:
    return WarehouseTable(
        name=name,
        schema=new_schema(name, fields),
        partition_by=partition_by,
        zone=zone,
        place=place,
        format=format_,
        partitions=("2026-01-02", "2026-01-03"),
        first="2026-01-02",
        metadata=f"_iceberg/{name}/metadata/v7.metadata.json",
    )


def place_for(dialect: WarehouseDialect) -> Place:
    return GS_PLACE if dialect == "bigquery" else S3_PLACE


def every_table(place: Place) -> Iterator[WarehouseTable]:
    for partition_by in get_args(PartitionBy):
        for name in ALL_TABLES:
            yield table(name, place, partition_by=partition_by, zone="Europe/Berlin")
    yield table(place=place, fields=("id", "created_at", "agent"))


def parsed(text: str, dialect: WarehouseDialect) -> list[exp.Expression]:
    found = sqlglot.parse(text, dialect=dialect)
    return [each for each in found if isinstance(each, exp.Expression) and not isinstance(each, exp.Semicolon)]


@pytest.fixture(autouse=True)
def _silent_parser() -> Iterator[None]:
    logger = logging.getLogger("sqlglot")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("dialect", WAREHOUSES)
def test_parsers_take_the_statements_and_find_every_column(dialect: WarehouseDialect) -> None:
    for shown in every_table(place_for(dialect)):
        text = register(shown, dialect)
        first, *others = parsed(text, dialect)
        for other in others:
            if isinstance(other, exp.Command):
                assert other.sql(dialect, comments=False) == REPAIR.format(name=shown.name)
            else:
                assert isinstance(other, exp.Alter)
        for column in shown.schema.names:
            assert DESCRIPTIONS[shown.name][column].replace("'", "") in text.replace("\\'", "").replace("'", "")
        if dialect == "bigquery" and isinstance(first, exp.Command):
            continue
        assert isinstance(first, exp.Create)
        found = [column.name for column in first.find_all(exp.ColumnDef)]
        key = [] if shown.partition is None else [shown.partition.name]
        members = [] if dialect == "snowflake" else ["id", "name"] * ("agent" in shown.schema.names)
        assert sorted(name.lower() for name in found) == sorted([*shown.schema.names, *key, *members]), text


@pytest.mark.parametrize("dialect", WAREHOUSES)
@pytest.mark.parametrize("format_", [DELTA, ICEBERG, IN_A_CATALOG], ids=["delta", "iceberg", "catalog"])
def test_with_a_table_format_the_files_are_never_registered(dialect: WarehouseDialect, format_: TableFormat) -> None:
    try:
        text = register(table(place=place_for(dialect), format_=format_), dialect)
    except UsageError as error:
        assert "cannot read" in str(error)
        assert (dialect, format_.kind) in {
            ("athena", "iceberg"),
            ("databricks", "iceberg"),
            ("redshift", "iceberg"),
            ("redshift", "delta"),
        }
        return
    assert "part-" not in text
    assert "PARTITION" not in text
    if text.startswith("-- Nothing to register: calls.conversations is in the Iceberg catalog"):
        assert format_ == IN_A_CATALOG
        assert parsed(text, dialect) == []
        return
    (statement,) = parsed(text, dialect)
    assert isinstance(statement, exp.Create) or dialect == "bigquery"
    assert list(statement.find_all(exp.ColumnDef)) == []


def test_what_bigquery_is_told() -> None:
    assert register(table(place=GS_PLACE, fields=("id", "created_at", "agent")), "bigquery") == (
        "CREATE EXTERNAL TABLE `conversations` (\n"
        "  `id` STRING OPTIONS (description = 'the conversation\\'s id; no other row has it'),\n"
        "  `created_at` TIMESTAMP OPTIONS (description = 'when it began; partitions are made of it'),\n"
        "  `agent` STRUCT<`id` STRING, `name` STRING> OPTIONS (description = 'the agent\\'s id and name; sensitive'),\n"
        "  `extra` STRING OPTIONS (description = 'what the API serves beyond these columns, as a JSON object')\n"
        ")\n"
        "WITH PARTITION COLUMNS (`created_date` DATE)\n"
        "OPTIONS (\n"
        "  format = 'PARQUET',\n"
        "  uris = ['gs://my-bucket/calls/conversations/created_date=*'],\n"
        "  hive_partition_uri_prefix = 'gs://my-bucket/calls/conversations'\n"
        ");"
    )
    whole = register(table(place=GS_PLACE, partition_by="none"), "bigquery")
    assert "uris = ['gs://my-bucket/calls/conversations/part-*']" in whole
    assert "hive" not in whole
    assert register(table(place=GS_PLACE, format_=DELTA), "bigquery") == (
        "CREATE EXTERNAL TABLE `conversations`\nWITH CONNECTION DEFAULT\n"
        "OPTIONS (\n  format = 'DELTA_LAKE',\n  uris = ['gs://my-bucket/calls/conversations']\n);"
    )
    assert "v7.metadata.json" in register(table(place=GS_PLACE, format_=ICEBERG), "bigquery")


@pytest.mark.parametrize(
    ("partition_by", "zone", "said"),
    [
        ("day", "UTC", ("yyyy-MM-dd", "2026-01-02,NOW", "DAYS")),
        ("day", "Asia/Tokyo", ("yyyy-MM-dd", "2026-01-02,NOW+1DAYS", "DAYS")),
        ("month", "UTC", ("yyyy-MM", "2026-01-02,NOW", "MONTHS")),
        ("hour", "UTC", ("yyyy-MM-dd\\'T\\'HH", "2026-01-02,NOW", "HOURS")),
        ("hour", "Asia/Tokyo", None),
        ("week", "UTC", None),
        ("none", "UTC", None),
    ],
)
def test_athena_computes_partitions_where_it_can(
    partition_by: PartitionBy, zone: str, said: tuple[str, str, str] | None
) -> None:
    text = register(table(partition_by=partition_by, zone=zone), "athena")
    assert ("projection" in text) == (said is not None)
    assert ("MSCK REPAIR" in text) == (said is None and partition_by != "none")
    assert "LOCATION 's3://my-bucket/it\\'s/calls/conversations/'" in text
    if said is not None:
        key = "created_date" if partition_by == "day" else f"created_{partition_by}"
        format_, range_, unit = said
        assert f"'projection.{key}.format' = '{format_}'" in text
        assert f"'projection.{key}.range' = '{range_}'" in text
        assert f"'projection.{key}.interval.unit' = '{unit}'" in text
        assert f"/calls/conversations/{key}=${{{key}}}/'" in text


@pytest.mark.parametrize(
    ("dialect", "place", "format_", "where"),
    [
        (
            "athena",
            S3_PLACE,
            DELTA,
            "LOCATION 's3://my-bucket/it\\'s/calls/conversations/'\nTBLPROPERTIES ('table_type'",
        ),
        ("redshift", S3_PLACE, None, "(\"created_date\" = '2026-01-03') LOCATION 's3://my-bucket/it''s/calls/conversa"),
        ("databricks", GS_PLACE, None, "LOCATION 'gs://my-bucket/calls/conversations/'"),
        ("databricks", AZ_PLACE, DELTA, "'abfss://my-container@myaccount.dfs.core.windows.net/calls/conversations/'"),
        ("hive", S3_PLACE, None, "LOCATION 's3a://my-bucket/it\\'s/calls/conversations/'"),
        ("hive", Place("file", "/data/it's"), None, "LOCATION 'file:///data/it\\'s/conversations/'"),
        ("hive", S3_PLACE, ICEBERG, "LOCATION 's3a://my-bucket/it\\'s/calls/_iceberg/conversations'"),
        ("snowflake", S3_PLACE, None, "URL = 's3://my-bucket/it\\'s/calls/'"),
        ("snowflake", GS_PLACE, None, "URL = 'gcs://my-bucket/calls/'"),
        ("snowflake", AZ_PLACE, DELTA, "'azure://myaccount.blob.core.windows.net/my-container/calls/'"),
        ("snowflake", S3_PLACE, ICEBERG, "METADATA_FILE_PATH = '_iceberg/conversations/metadata/v7.metadata.json'"),
        (
            "clickhouse",
            GS_PLACE,
            None,
            "S3('https://storage.googleapis.com/my-bucket/calls/conversations/created_date=*/",
        ),
        ("clickhouse", AZ_PLACE, None, "AzureBlobStorage('https://myaccount.blob.core.windows.net', 'my-container', '"),
        ("clickhouse", AZ_PLACE, DELTA, "DeltaLakeAzure('https://myaccount.blob.core.windows.net', 'my-container', '"),
        (
            "clickhouse",
            S3_PLACE,
            ICEBERG,
            "IcebergS3('https://my-bucket.s3.amazonaws.com/it\\'s/calls/_iceberg/convers",
        ),
    ],
)
def test_each_dialect_names_a_place_in_its_own_way(
    dialect: WarehouseDialect, place: Place, format_: TableFormat | None, where: str
) -> None:
    assert where in register(table(place=place, format_=format_), dialect)


def test_a_place_is_read_as_it_is_written() -> None:
    assert Place.parse("abfss://my-container@myaccount.dfs.core.windows.net/calls") == AZ_PLACE
    assert Place.parse("gs://my-bucket/calls/") == GS_PLACE == Place.of(Url("gs", "my-bucket", "calls"), "myaccount")
    assert Place.parse("s3://my-bucket").inside("turns").uri("s3") == "s3://my-bucket/turns"
    assert str(Place.parse("az://my-container/calls")) == "az://my-container/calls"
    for text in ("s4://b", "abfss://b/calls", "s3://key:secret@b/calls", ""):
        with pytest.raises(UsageError, match=r"^--location: ") as refused:
            Place.parse(text)
        assert "secret" not in str(refused.value)


def test_what_no_warehouse_reads_is_refused() -> None:
    for dialect in WAREHOUSES:
        with pytest.raises(UsageError, match="give --location"):
            register(table(place=None), dialect)
        with pytest.raises(UsageError, match="encrypted"):
            register(replace(table(place=place_for(dialect)), is_encrypted=True), dialect)
    with pytest.raises(UsageError, match="takes for others"):
        register(table(place=Place("file", "/data/{a,b}")), "clickhouse")
    for dialect in ("bigquery", "snowflake"):
        with pytest.raises(UsageError, match="no metadata yet"):
            register(replace(table(place=GS_PLACE, format_=ICEBERG), metadata=None), dialect)


def exported(destination: Path | Url, partition_by: PartitionBy = "day", format_: TableFormat | None = None) -> None:
    async def run() -> None:
        async with serve(make_conversations(60, SINCE, UNTIL)) as source:
            asked = Selection(
                since=SINCE,
                until=UNTIL,
                partition_by=partition_by,
                tables=("conversations", "turns"),
                table_format=format_,
            )
            settings = RunSettings(base_url=source.url)
            await export(destination, asked, RunContext(settings, Credentials(source.token), Quiet()))

    anyio.run(run)


def load(destination: Path | Url, name: str = "conversations") -> WarehouseTable:
    return anyio.run(load_warehouse_table, destination, name)


def test_duckdb_and_clickhouse_read_an_export_by_their_statements(tmp_path: Path) -> None:
    statements, expected = [], []
    units: tuple[PartitionBy, ...] = ("day", "week", "none")
    for partition_by in units:
        root = tmp_path / f"it's by {partition_by}"
        exported(root, partition_by)
        for name in ("conversations", "turns"):
            shown = load(root, name)
            created = render_schema(shown, "clickhouse").rstrip(";")
            statements += [f"CREATE DATABASE {partition_by}_{name}", f"USE {partition_by}_{name}", created]
            time = "created_at" if name == "conversations" else "conversation_created_at"
            key = "" if shown.partition is None else f", min({shown.partition.name})"
            query = f"SELECT count(*), count(extra), epoch_us(min({time})), epoch_us(max({time})){key} FROM {name}"
            statements.append(query.replace("epoch_us", "toUnixTimestamp64Micro"))
            files = str(root / name / "**/part-*.parquet").replace("'", "''")
            with duckdb.connect() as connection:
                connection.execute(render_schema(shown, "sql"))
                connection.execute(
                    f"INSERT INTO {name} BY NAME SELECT * FROM read_parquet('{files}', hive_partitioning = true)"
                )
                (row,) = connection.execute(query).fetchall()
            expected.append([str(value) for value in row])
    answers = [answer for answer in run_clickhouse(statements, tmp_path) if answer]
    assert [answer.strip().replace('"', "").split(",") for answer in answers] == expected
    assert {row[0] for row in expected[::2]} == {"60"}


@pytest.mark.parametrize("format_", [DELTA, ICEBERG], ids=["delta", "iceberg"])
def test_clickhouse_reads_the_table_formats(format_: TableFormat, tmp_path: Path) -> None:
    root = tmp_path / "calls"
    exported(root, format_=format_)
    # A glob would find this as well.
    left = next(root.glob("conversations/*/part-*.parquet"))
    left.with_name("part-replaced-000001.parquet").write_bytes(left.read_bytes())
    shown = load(root)
    assert shown.kind == format_.kind
    created = render_schema(shown, "clickhouse").rstrip(";")
    query = "SELECT count(), uniq(id), min(toDate(created_at)) FROM conversations"
    assert run_clickhouse([created, query], tmp_path)[1].strip() == '60,60,"2024-01-01"'
    if format_ == ICEBERG:
        with pytest.raises(UsageError, match="whole paths"):
            anyio.run(load_warehouse_table, root, "conversations", S3_PLACE)


def test_clickhouse_reads_from_a_bucket(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.make_bucket("for-clickhouse")
    destination = Url("s3", "for-clickhouse", "calls")
    exported(destination, "month")
    shown = load(destination)
    assert shown.place == Place("s3", "calls", "for-clickhouse", address=f"{s3.url}/for-clickhouse")
    assert register(shown, "hive").startswith(f"-- The bucket is at {s3.url}/for-clickhouse: tell hive so, because")
    assert (shown.first, shown.partitions[0]) == ("2024-01", "2024-01")
    created = render_schema(shown, "clickhouse").rstrip(";")
    keys = "', 'AKIAFORTESTS', 'not-a-secret', 'Parquet')"
    (count,) = run_clickhouse([created.replace("', 'Parquet')", keys), "SELECT count() FROM conversations"], tmp_path)[
        1:
    ]
    assert count.strip() == "60"
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    address = find_address(destination)
    assert address == "https://for-clickhouse.s3.eu-west-1.amazonaws.com"
    at_amazon = replace(shown, place=Place("s3", "calls", "for-clickhouse", address=address))
    assert f"S3('{address}/calls/conversations/" in register(at_amazon, "clickhouse")
    assert "The bucket is at" not in register(at_amazon, "hive")


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "calls"
    exported(root)
    assert (
        main(["schema", str(root), "--format", "athena", "--location", "s3://my-bucket/calls", "--table", "turns"]) == 0
    )
    shown = replace(load(root, "turns"), place=Place("s3", "calls", "my-bucket"))
    printed = capsys.readouterr().out
    assert printed == f"{register(shown, 'athena')}\n"
    first = json.loads((root / "_manifest.json").read_bytes())["range"]["start"][:10]
    assert f"'projection.created_date.range' = '{first},NOW'" in printed
    assert main(["schema", str(root), "--format", "athena"]) == 2
    assert "a directory of this machine" in capsys.readouterr().err


def test_every_type_of_a_column_has_one_in_each_dialect() -> None:
    strange = replace(table(place=GS_PLACE), schema=pa.schema([("id", pa.large_binary())]))
    with pytest.raises(KeyError):
        register(strange, "bigquery")
