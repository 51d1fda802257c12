"""A query reads the tables of its export, and there is no way out of them: no file, no network, no setting."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from exporter.errors import UsageError
from exporter.query.connection import Query, open_query
from exporter.run.encryption import reader_keys

CANARY = "canary-beside-the-export"
#: Each is tried with `{secret}`, a file that must not be read; `{out}`, one that must not be made; and `{part}`, the
#: name of a file of the export, which must not be changed.
ESCAPES = """
COPY (SELECT 1) TO '{out}'
COPY conversations TO '{out}' (FORMAT parquet)
COPY conversations TO '{part}' (FORMAT csv, USE_TMP_FILE false)
EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'
EXPLAIN ANALYZE COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)
EXPLAIN ANALYZE COPY (SELECT 1) TO 'export://conversations/new.csv'
EXPLAIN ANALYZE CREATE TABLE t AS FROM read_csv('{secret}')
EXPORT DATABASE '{out}'
IMPORT DATABASE '{secret}'
ATTACH '{out}' AS other
ATTACH '{secret}' AS other (TYPE sqlite)
ATTACH ':memory:' AS other
DETACH memory
USE memory
FROM read_csv('{secret}')
FROM read_csv_auto('{secret}')
FROM read_csv('file://{secret}')
FROM read_text('{secret}')
FROM read_blob('{secret}')
FROM read_json('{secret}')
FROM read_ndjson_objects('{secret}')
FROM read_parquet('{secret}')
FROM parquet_scan(['{secret}'])
FROM parquet_metadata('{secret}')
FROM parquet_schema('{secret}')
FROM sniff_csv('{secret}')
FROM read_duckdb('{secret}')
FROM '{secret}'
FROM "{secret}"
SELECT * FROM '{secret}'
TABLE '{secret}'
DESCRIBE '{secret}'
SUMMARIZE '{secret}'
FROM glob('{folder}/*')
FROM glob('/etc/*')
FROM read_text('export://../{secret}')
FROM read_text('export://_manifest.json')
FROM read_text('export://_exporter/commits/1.json')
FROM query('FROM read_text(''{secret}'')')
FROM query_table('{secret}')
FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{secret}'')'))
PIVOT read_csv('{secret}') ON column0
WITH x AS MATERIALIZED (FROM read_text('{secret}')) FROM x
SELECT (SELECT content FROM read_text('{secret}'))
SELECT * FROM conversations WHERE id IN (SELECT content FROM read_text('{secret}'))
FROM read_csv('http://127.0.0.1:9/x.csv')
FROM read_parquet('s3://bucket/x.parquet')
FROM 'https://127.0.0.1:9/x.parquet'
FROM read_csv('/dev/stdin')
FROM read_text('/proc/self/environ')
FROM sqlite_scan('{secret}', 't')
FROM postgres_scan('host=127.0.0.1', 'public', 't')
INSTALL httpfs
LOAD httpfs
LOAD '{secret}'
FORCE INSTALL json FROM community
UPDATE EXTENSIONS
CREATE SECRET s (TYPE s3, KEY_ID 'x', SECRET 'y')
CREATE TABLE t AS SELECT 1
CREATE TEMP TABLE t AS SELECT 1
CREATE MACRO f() AS TABLE FROM read_text('{secret}')
CREATE OR REPLACE VIEW conversations AS SELECT 1
CREATE FUNCTION f() AS 1
CREATE SCHEMA s
CREATE SEQUENCE s
INSERT INTO conversations VALUES (1)
UPDATE conversations SET id = 'x'
DELETE FROM conversations
TRUNCATE conversations
MERGE INTO conversations USING turns ON true WHEN MATCHED THEN DELETE
DROP VIEW conversations
ALTER VIEW conversations RENAME TO c
COMMENT ON VIEW conversations IS 'x'
BEGIN TRANSACTION
CHECKPOINT
VACUUM
ANALYZE
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
SET enable_external_access = true
SET lock_configuration = false
RESET lock_configuration
SET allowed_directories = ['/']
SET disabled_filesystems = ''
SET temp_directory = '{out}'
SET python_enable_replacements = true
SET memory_limit = '1TB'
SET log_query_path = '{out}'
SET profile_output = '{out}'
SET SESSION TimeZone = 'Europe/Berlin'
SET VARIABLE x = 1
PRAGMA enable_profiling = 'json'
PRAGMA profile_output = '{out}'
PRAGMA database_list
PRAGMA import_database('{secret}')
PRAGMA enable_logging
CALL enable_logging(storage = 'file', storage_path = '{out}')
CALL force_checkpoint()
CALL pragma_version()
SELECT getenv('HOME')
SELECT system('id')
FROM pandas_scan(1)
FROM arrow_scan(1, 2, 3)
FROM python_arrow_scan(1)
FROM leaked
FROM connection
EXPLAIN ANALYZE DROP VIEW conversations
EXPLAIN (ANALYZE) DROP VIEW conversations
EXPLAIN ANALYZE CREATE OR REPLACE VIEW conversations AS SELECT 1 AS id
EXPLAIN ANALYZE CREATE TEMP VIEW conversations AS SELECT 1 AS id
EXPLAIN ANALYZE /* a /* b */ c */ CREATE TEMP VIEW conversations AS SELECT 1 AS id
EXPLAIN ANALYZE BEGIN
EXPLAIN ANALYZE WITH x AS (SELECT 1) INSERT INTO t FROM x
CREATE TEMP TABLE conversations AS PIVOT turns ON role USING count(*) GROUP BY item_index
EXPLAIN ANALYZE CREATE TEMP TABLE conversations AS PIVOT turns ON role USING count(*) GROUP BY item_index
COPY (PIVOT turns ON role USING count(*)) TO '{out}'
WITH x AS (PIVOT turns ON role USING count(*) GROUP BY item_index) INSERT INTO t FROM x
SELECT 1; COPY (SELECT 1) TO '{out}'
""".strip().splitlines()


@pytest.fixture(scope="module")
def query(calls: Path) -> Iterator[Query]:
    with anyio.run(open_query, calls, reader_keys(None, {})) as query:
        yield query


@pytest.mark.parametrize("escape", ESCAPES)
def test_there_is_no_way_out(escape: str, query: Query, calls: Path, tmp_path: Path) -> None:
    leaked = [CANARY]  # of which DuckDB would make a table by its name, if it were let
    (secret := tmp_path / "secret.csv").write_text(f"column0\n{CANARY}\n")
    part = next(calls.rglob("conversations/*/*.parquet"))
    names = {
        "secret": secret,
        "folder": tmp_path,
        "out": tmp_path / "out",
        "part": f"export://{part.relative_to(calls)}",
    }
    before = part.read_bytes()
    try:
        answer = str(query.fetch(escape.format(**names)).to_pylist())
    except UsageError as error:
        answer = str(error).replace(str(secret), "")
        assert "\nTraceback" not in answer
    else:
        assert answer == "[]", "it was answered"
    assert leaked[0] not in answer
    assert [each.name for each in tmp_path.iterdir()] == ["secret.csv"]
    assert part.read_bytes() == before
    assert query.fetch("SELECT count(*) AS rows FROM conversations").to_pylist() == [{"rows": 60}]


def test_what_reads_is_let_through(query: Query) -> None:
    for text in (
        *("FROM conversations", "TABLE turns", "VALUES (1)", "DESCRIBE turns", "SHOW TABLES", "SHOW ALL TABLES"),
        *("SUMMARIZE SELECT 1", "EXPLAIN FROM turns", "EXPLAIN ANALYZE SELECT count(*) FROM turns", "SELECT 1; -- x"),
        "PIVOT conversations ON channel USING count(*) GROUP BY direction",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) FROM n",
        "PIVOT turns ON role USING count(*) GROUP BY item_index; -- ;\n",
        *("EXPLAIN (ANALYZE) (SELECT 1) UNION (SELECT 2);", "-- a\nexplain /* b */ analyse PIVOT turns ON role"),
        *("EXPLAIN DESCRIBE turns", "EXPLAIN (FORMAT json) SELECT ';' -- c"),
        "SELECT unnest(json_extract(conversation, '$.items[*]')) FROM conversations",
        "(SELECT 1) UNION (SELECT 2)",
    ):
        assert query.fetch(text).num_columns, text


@pytest.mark.parametrize("text", ["", " ;", "-- nothing"])
def test_a_text_without_a_query(text: str, query: Query) -> None:
    with pytest.raises(UsageError, match=r"^no query"):
        query.fetch(text)
