"""Whatever a table holds can be read back from CSV and from JSON Lines, exactly."""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.jobs.table_text import Text
from exporter.settings import TextFormat
from tests.toolkit.sizes import size_of

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("whole", pa.int64()),
        ("small", pa.int32()),
        ("number", pa.float64()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("day", pa.date32()),
        ("agent", pa.struct([("id", pa.string()), ("name", pa.string())])),
    ]
)
#: Every sign that a format, or a spreadsheet, takes for something else.
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text("\",\n\r\\=+-@\0\x1f\u2028\ufeff;\t' 0aü🎈"),
    st.sampled_from(["", "null", "NULL", "NaN", "true", "007", "1e5", "2026-02-10", '{"a": "\\ud800"}', "\\N", '""']),
)
AGENTS = st.fixed_dictionaries({"id": st.none() | TEXTS, "name": st.none() | TEXTS})
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)).map(
    lambda one: one.replace(tzinfo=UTC)
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | TEXTS,
            "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
            "small": st.none() | st.integers(-(2**31), 2**31 - 1),
            "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "flag": st.none() | st.booleans(),
            "at": st.none() | TIMES,
            "day": st.none() | st.dates(),
            "agent": st.none() | AGENTS,
        }
    ),
    max_size=8,
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def text_of(rows: list[dict[str, Any]], as_: TextFormat) -> bytes:
    file = io.BytesIO()
    text = Text(file, Path("x"), SCHEMA, as_, "none")
    text.write(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
    text.close()
    assert text.bytes == len(file.getvalue())
    return file.getvalue()


def to_time(text: str) -> datetime:
    assert _TIME.fullmatch(text)
    return datetime.fromisoformat(text)


FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "text": str,
    "whole": int,
    "small": int,
    "number": float,
    "flag": {"true": True, "false": False}.__getitem__,
    "at": to_time,
    "day": date.fromisoformat,
    "agent": json.loads,
}


def assert_equal(found: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    assert found == rows
    signs = [[math.copysign(1, row["number"] or 1.0) for row in each] for each in (found, rows)]
    assert signs[0] == signs[1]


@settings(max_examples=size_of(60, 2000), deadline=None)
@given(ROWS)
def test_json_lines_hold_every_value(rows: list[dict[str, Any]]) -> None:
    lines = text_of(rows, "jsonl").decode().split("\n")
    assert lines.pop() == ""
    found = [json.loads(line) for line in lines]
    for row in found:
        assert list(row) == SCHEMA.names
        for name, value in row.items():
            if name in ("at", "day") and value is not None:
                row[name] = FROM_TEXT[name](value)
    assert_equal(found, rows)


@settings(max_examples=size_of(60, 2000), deadline=None)
@given(ROWS)
def test_csv_holds_every_value(rows: list[dict[str, Any]]) -> None:
    text = text_of(rows, "csv").decode()
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    assert header == SCHEMA.names
    # The reader does not tell null from an empty text: so another walks through the text.
    quoted = _quoted_cells(text)[1:]
    found = [
        {
            name: None if value == "" and not has_quotes else FROM_TEXT[name](value)
            for name, value, has_quotes in zip(SCHEMA.names, line, marks, strict=True)
        }
        for line, marks in zip(lines, quoted, strict=True)
    ]
    assert_equal(found, rows)


def _quoted_cells(text: str) -> list[list[bool]]:
    """Returns of each cell of each line whether it has quotes, by the grammar of RFC 4180."""
    cell = r'"(?:[^"]|"")*"|[^",\n]*'
    line = re.compile(rf"(?:{cell})(?:,(?:{cell}))*\n")
    lines = line.findall(text)
    assert "".join(lines) == text
    found = [[each.startswith('"') for each in re.findall(rf"(?:^|,)({cell})", one[:-1])] for one in lines]
    assert all(len(each) == len(SCHEMA) for each in found)
    return found


@pytest.mark.parametrize("as_", ["csv", "jsonl"])
@settings(max_examples=size_of(8, 300), deadline=None)
@given(rows=ROWS)
def test_duckdb_reads_every_value(
    as_: TextFormat, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("duckdb") / "x"
    path.write_bytes(text_of(rows, as_))
    columns = {
        "text": "VARCHAR",
        "whole": "BIGINT",
        "small": "INTEGER",
        "number": "DOUBLE",
        "flag": "BOOLEAN",
        "at": "TIMESTAMPTZ",
        "day": "DATE",
        "agent": "VARCHAR" if as_ == "csv" else "STRUCT(id VARCHAR, name VARCHAR)",
    }
    asked = (
        "read_csv($1, header = true, columns = $2, allow_quoted_nulls = false, quote = '\"', escape = '\"', "
        "delim = ',', strict_mode = true)"
        if as_ == "csv"
        else "read_json($1, columns = $2, format = 'newline_delimited')"
    )
    asked = asked.replace("$1", f"'{path}'").replace("$2", str(columns))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        epoch = connection.execute(f'SELECT * REPLACE (epoch_us("at") AS "at") FROM {asked}').fetchall()
    found = [dict(zip(SCHEMA.names, row, strict=True)) for row in epoch]
    for row in found:
        row["at"] = None if row["at"] is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["at"])
        if as_ == "csv" and row["agent"] is not None:
            row["agent"] = json.loads(row["agent"])
    assert_equal(found, rows)
