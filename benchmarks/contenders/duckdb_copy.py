"""Sets the floor: it reads pages from the local disk, without a network. `python duckdb_copy.py PAGES PARQUET_FILE`."""

import sys

import duckdb

pages, target = sys.argv[1:]
duckdb.connect(config={"threads": 2}).execute(
    f"COPY (SELECT * FROM read_json('{pages}/*.json', format='array', maximum_object_size=67108864)) "
    f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
)
