"""The statements for warehouses run where they can, and otherwise are what a parser of their dialect takes."""

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from exporter.settings import WarehouseDialect
from tests.toolkit.clickhouse import run_clickhouse
from tests.toolkit.manual import PAGES, in_code, run_shell

PAGE = PAGES["warehouses"]
SECTIONS = {
    title: re.findall(r"^```sql\n(.*?)^```$", body, re.DOTALL | re.MULTILINE)
    for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.text, re.DOTALL | re.MULTILINE)
}
DIALECTS = {
    "Athena": "athena",
    "BigQuery": "bigquery",
    "Snowflake": "snowflake",
    "Redshift": "redshift",
    "Databricks": "databricks",
    "ClickHouse": "clickhouse",
    "Hive and Spark": "spark",
    "DuckDB": "duckdb",
}
#: What the parsers do not know.
UNKNOWN = (
    "CREATE STORAGE INTEGRATION",
    "CREATE EXTERNAL VOLUME",
    "CREATE CATALOG INTEGRATION",
    "CREATE EXTERNAL SCHEMA",
    "ALTER EXTERNAL TABLE CONVERSATIONS REFRESH",
    "CREATE EXTERNAL LOCATION",
    "DESC",
    "GRANT",
)
MERGE = PAGES["changes"].in_language("sql")[1]
COLUMNS = "id, created_at, status, channel, summary"


@pytest.fixture(autouse=True)
def _silent_parser() -> Iterator[None]:
    logger = logging.getLogger("sqlglot")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def test_every_warehouse_has_a_section_and_a_row() -> None:
    assert {title for title, snippets in SECTIONS.items() if snippets} == {*DIALECTS}
    assert in_code(PAGE.section("Register a table"))
    named = re.findall(r"^- `--format` is (.*?);", PAGE.text, re.MULTILINE)
    assert in_code(named[0]) == list(get_args(WarehouseDialect))
    linked = re.findall(r"^\| \[(.*?)\]\(#", PAGE.text, re.MULTILINE)
    assert linked == list(DIALECTS)


@pytest.mark.parametrize("title", DIALECTS)
def test_parsers_take_the_statements(title: str) -> None:
    dialect = DIALECTS[title]
    merges = [] if title in ("Redshift", "ClickHouse") else [MERGE]
    for text in SECTIONS[title]:
        for statement in sqlglot.parse(text, dialect=dialect):
            assert statement is not None
            if isinstance(statement, exp.Command):
                assert statement.sql(dialect).startswith(UNKNOWN), text
    for text in merges:
        assert any(isinstance(one, exp.Merge) for one in sqlglot.parse(text, dialect=dialect))


@pytest.fixture
def calls(demo: Path, tmp_path: Path) -> Path:
    """Returns a directory with an export `calls`, and `changes` of it: one row each that came, changed and went."""
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    (tmp_path / "changes").mkdir()
    done = run_shell(PAGES["changes"].command_holding("all.parquet"), tmp_path)
    assert done.returncode == 0, done.stderr
    duckdb.execute(
        f"""COPY (
            WITH first_rows AS (
                SELECT *, row_number() OVER (ORDER BY id) AS number FROM '{tmp_path}/all.parquet'
            )
            SELECT * EXCLUDE (number) REPLACE (
                ['insert', 'update', 'delete'][number] AS _op,
                if(number = 1, 'new', id) AS id,
                if(number = 3, NULL, 'failed') AS status,
                if(number = 3, NULL, channel) AS channel,
                if(number = 3, NULL, summary) AS summary
            )
            FROM first_rows WHERE number <= 3
        ) TO '{tmp_path}/changes/changes.parquet' (FORMAT parquet)"""
    )
    return tmp_path


def expected(calls: Path) -> list[Any]:
    files = f"'{calls}/calls/conversations/*/part-*.parquet'"
    query = f"""
        WITH changes AS (FROM '{calls}/changes/*.parquet')
        SELECT id, status, channel, summary FROM {files} WHERE id NOT IN (SELECT id FROM changes)
        UNION ALL SELECT id, status, channel, summary FROM changes WHERE _op <> 'delete' ORDER BY id"""
    return duckdb.execute(query).fetchall()


def test_duckdb_has_the_changes(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(calls)
    with duckdb.connect() as connection:
        for text in SECTIONS["DuckDB"]:
            connection.execute(text)
        query = "SELECT _op, count(*) FROM changes GROUP BY ALL ORDER BY ALL"
        assert connection.execute(query).fetchall() == [("delete", 1), ("insert", 1), ("update", 1)]
        assert connection.execute("SELECT count(*) FROM calls").fetchall() == [(2000,)]


def test_clickhouse_follows_the_changes(calls: Path) -> None:
    done = run_shell("exporter schema calls --format clickhouse", calls)
    assert done.returncode == 0, done.stderr
    (text,) = SECTIONS["ClickHouse"]
    here = text.replace("s3('https://my-bucket.s3.amazonaws.com/changes/*.parquet', ", "file('changes/*.parquet', ")
    assert here != text
    query = "SELECT id, status, channel, summary FROM calls FINAL ORDER BY id"
    written = f"{query} INTO OUTFILE 'found.parquet' FORMAT Parquet"
    run_clickhouse([each for each in (*done.stdout.split(";\n"), *here.split(";\n"), written) if each.strip()], calls)
    assert duckdb.execute(f"FROM '{calls}/found.parquet' ORDER BY id").fetchall() == expected(calls)
