"""The page on reading names the readers that are tested, and what it says of ClickHouse, Spark and patterns holds."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable

import exporter
from exporter import blocking
from exporter.contract import DAY
from exporter.sandbox import TOKEN, make_conversations
from tests.manual.conftest import JANUARY
from tests.toolkit.engines import QueryError, clickhouse_engine, install_beside
from tests.toolkit.manual import PAGES, PROGRAMS, in_code, run_shell, serving
from tests.toolkit.programs import find_program
from tests.toolkit.readers import DELTA, FILES, ICEBERG, ICEBERG_IN_GOOGLE, Readers
from tests.toolkit.sizes import THOROUGH

PAGE = PAGES["read"]
#: Runs the tests with Spark, which is installed beside this environment, with 450 MB.
SPARK_RUN = "EXPORTER_SPARK"
SPARK = "4.3.0"
#: With Hive's metastore in a directory of its own, it runs the statements that `exporter schema` prints.
_SPARK_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.catalogImplementation": "hive",
    "spark.sql.warehouse.dir": "warehouse",
    "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:;databaseName=metastore;create=true",
}
#: What a program of Spark then asks of the tables that Hive's statements have made.
_IN_SPARK = """
import pathlib

for statement in pathlib.Path("hive.sql").read_text().split(";\\n"):
    lines = [line for line in statement.splitlines() if not line.startswith("--")]
    if any(lines):
        spark.sql("\\n".join(lines))
print("rows", spark.table("conversations").count(), spark.table("turns").count())
some = spark.sql("SELECT agent.name FROM conversations WHERE created_date = (SELECT max(created_date) FROM turns)")
print("agents", some.where("name IS NOT NULL").count() > 0)
read = spark.read.parquet("demo-export/conversations").where("created_date = '2026-01-05'")
print("pruned", "PartitionFilters: [isnotnull(created_date" in read._jdf.queryExecution().toString())
"""


def test_clickhouse(demo: Path) -> None:
    (query,) = [text for text in in_code(PAGE.prose) if "FROM file(" in text]
    with clickhouse_engine(demo) as engine:
        answer = engine.ask(query).to_pydict()
    assert sum(answer["conversations"]) == 2000
    assert len(set(answer["created_date"])) > 1


def test_the_readers_that_are_tested() -> None:
    """The table names those of the tests of readers, and the places where those read."""
    engine = Mock()
    readers = Readers(engine, engine)
    words = {"file": "disk", "s3": "S3", "az": "Azure", "gs": "Google"}
    kinds = ((FILES, Readers.of_files), (DELTA, Readers.of_delta), (ICEBERG, Readers.of_iceberg))
    rows = {in_code(row[0])[0] if "`" in row[0] else row[0].split()[0]: row for row in PAGE.table_headed("reader")}
    for column, (schemes, of) in enumerate(kinds, start=1):
        tested = {name.partition(" by ")[0] for name in of(readers)}
        assert tested == {name.removeprefix("exporter.") for name, row in rows.items() if row[column]}
        for name in tested:
            also = ["gs"] if schemes == ICEBERG and name in ICEBERG_IN_GOOGLE else []
            cell = rows["exporter." * (name == "open_dataset") + name][column]
            assert cell == ", ".join(words[scheme] for scheme in (*schemes, *also))


def test_patterns_and_checkpoints(tmp_path: Path) -> None:
    """A pattern for all Parquet finds checkpoints. DuckDB and Polars say so, and ClickHouse says so or counts them."""
    with serving(make_conversations(40, JANUARY, JANUARY + 3 * DAY)) as url:
        spec = exporter.ExportSpec(
            destination=tmp_path, base_url=url, token=TOKEN, until="2026-02-01", table_format="delta"
        )
        blocking.export(spec)
    table = tmp_path / "conversations"
    DeltaTable(table).create_checkpoint()
    assert ds.dataset(table, partitioning="hive").count_rows() == 40
    with clickhouse_engine(tmp_path) as engine:
        for pattern, is_right in (("**/part-*.parquet", True), ("**/*.parquet", False)):
            by_duckdb = f"SELECT * FROM read_parquet('{table}/{pattern}', hive_partitioning = true)"
            by_clickhouse = f"SELECT id FROM file('{table}/{pattern}', 'Parquet')"
            frame = pl.scan_parquet(f"{table}/{pattern}", hive_partitioning=True)
            if is_right:
                assert len(duckdb.execute(by_duckdb).fetchall()) == frame.collect().height == 40
                assert engine.ask(by_clickhouse).num_rows == 40
                continue
            with pytest.raises(duckdb.Error):
                duckdb.execute(by_duckdb)
            with pytest.raises(pl.exceptions.SchemaError):
                frame.collect()
            with suppress(QueryError):
                assert engine.ask(by_clickhouse).num_rows > 40


@pytest.mark.skipif(not {SPARK_RUN, THOROUGH} & os.environ.keys(), reason=f"takes a minute or two: {SPARK_RUN}=1")
def test_spark(demo: Path, tmp_path: Path) -> None:
    """The program of the page runs, and so do the statements for Hive; rows are pruned by partition."""
    find_program("java", "apt-get install openjdk-17-jre-headless")
    (program,) = [text for text in PROGRAMS if "pyspark" in text]
    shutil.copytree(demo / "demo-export", tmp_path / "demo-export")
    for table in ("conversations", "turns"):
        done = run_shell(f"exporter schema demo-export --table {table} --format hive >> hive.sql", tmp_path)
        assert done.returncode == 0, done.stderr
    packages = install_beside(f"spark-{SPARK}", f"pyspark=={SPARK}")
    settings = " ".join(f"--conf {name}={value}" for name, value in _SPARK_SETTINGS.items())
    done = subprocess.run(
        [sys.executable, "-c", program + _IN_SPARK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(packages), "PYSPARK_SUBMIT_ARGS": f"{settings} pyspark-shell"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    query = f"SELECT count(*) FROM '{tmp_path}/demo-export/turns/**/part-*.parquet'"
    ((turns,),) = duckdb.execute(query).fetchall()
    *_, rows, agents, pruned = done.stdout.splitlines()
    assert (rows, agents, pruned) == (f"rows 2000 {turns}", "agents True", "pruned True")
    assert "|created_date|count|" in done.stdout
