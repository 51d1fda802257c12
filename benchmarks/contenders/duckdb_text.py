"""Writes the files of a table as CSV or JSON Lines. `python duckdb_text.py TABLE_DIRECTORY TEXT_FILE csv|json`."""

import sys

import duckdb

source, target, form = sys.argv[1:]
duckdb.connect(config={"threads": 2}).execute(
    f"COPY (FROM read_parquet('{source}/**/part-*.parquet', hive_partitioning = true)) TO '{target}' (FORMAT {form})"
)
