"""Ends with an error unless two directories hold the same rows. `python duckdb_equal.py OURS THEIRS TABLE…`.

Every column is compared: its name, its type, and a hash of its values with the keys of their rows. Turns that our
columns hold only in part, such as those with an attachment, are left out on both sides, and may be few.
"""

import sys
from typing import Any

import duckdb

KEYS = {"conversations": "id", "turns": "conversation_id, item_index"}
#: What the exporter keeps beside the columns that an ordinary item has.
BESIDE = "content IS NOT NULL OR other_metrics IS NOT NULL OR extra IS NOT NULL"
MOST_BESIDE = 0.02


def main(ours: str, theirs: str, *tables: str) -> None:
    database = duckdb.connect(config={"threads": 2})
    for table in tables:
        for side, pattern in (("ours", f"{ours}/{table}/**/part-*.parquet"), ("theirs", f"{theirs}/{table}/*.parquet")):
            database.execute(
                f"CREATE OR REPLACE VIEW {side} AS FROM read_parquet('{pattern}', hive_partitioning = false)"
            )
        columns = [_columns(database, side) for side in ("ours", "theirs")]
        if columns[0] != columns[1]:
            sys.exit(f"{table}: columns differ: {columns[0]} and {columns[1]}")
        counts = [_one(database, f"SELECT count(*) FROM {side}") for side in ("ours", "theirs")]
        beside = _one(database, f"SELECT count(*) FROM ours WHERE {BESIDE}") if table == "turns" else 0
        if counts[0] != counts[1] or not counts[0] or beside > MOST_BESIDE * counts[0]:
            sys.exit(f"{table}: {counts[0]} rows, {beside} of them with something beside, and {counts[1]} rows")
        ordinary = "TRUE"
        if table == "turns":
            database.execute(f"CREATE OR REPLACE TEMP TABLE odd AS SELECT {KEYS[table]} FROM ours WHERE {BESIDE}")
            ordinary = f"({KEYS[table]}) NOT IN (FROM odd)"
        hashes = ", ".join(f"bit_xor(hash({KEYS[table]}, {name}))" for name, _ in columns[0])
        query = f"SELECT {hashes} FROM {{}} WHERE {ordinary}"
        found = [_first(database, query.format(side)) for side in ("ours", "theirs")]
        different = [name for (name, _), one, other in zip(columns[0], found[0], found[1], strict=True) if one != other]
        if different:
            sys.exit(f"{table}: {', '.join(different)} differ")


def _columns(database: Any, side: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in database.execute(f"DESCRIBE {side}").fetchall()]


def _one(database: Any, query: str) -> int:
    (count,) = _first(database, query)
    assert isinstance(count, int)
    return count


def _first(database: Any, query: str) -> tuple[Any, ...]:
    row = database.execute(query).fetchone()
    assert isinstance(row, tuple)
    return row


if __name__ == "__main__":
    main(*sys.argv[1:])
