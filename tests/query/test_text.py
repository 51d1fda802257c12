"""What is written can be read back as it was: text by text, and a whole answer in each format."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import UsageError
from exporter.query.connection import Answer
from exporter.query.output import write_answer
from exporter.settings import QueryFormat


def quoted(text: str) -> tuple[str, str]:
    """Returns a text, and how JSON spells it."""
    return text, f'"{text}"'


#: A value of SQL as CSV spells it and, if that is another text, as JSON does.
SPELLED: dict[str, tuple[str | None, str] | str] = {
    "NULL": (None, "null"),
    "''": ("", '""'),
    "'a\"b,\n c'": ('a"b,\n c', '"a\\"b,\\n c"'),
    "true": "true",
    "9223372036854775807": "9223372036854775807",
    "170141183460469231731687303715884105727::HUGEINT": "170141183460469231731687303715884105727",
    "1.10::DECIMAL(10, 2)": "1.10",
    "0.1::DOUBLE + 0.2::DOUBLE": "0.30000000000000004",
    "'nan'::DOUBLE": ("nan", "null"),
    "TIMESTAMPTZ '2026-02-10 06:07:08.000009+01'": quoted("2026-02-10T05:07:08.000009Z"),
    "TIMESTAMP '2026-02-10 06:07:08'": quoted("2026-02-10T06:07:08.000000"),
    "TIMESTAMP_NS '2026-02-10 06:07:08.123456789'": quoted("2026-02-10T06:07:08.123456789"),
    "DATE '0001-01-01'": quoted("0001-01-01"),
    "TIME '01:02:03.000004'": quoted("01:02:03.000004"),
    "INTERVAL '1 year 2 months -3 days 4.000005 seconds'": quoted("P14M-3DT4.000005S"),
    "-INTERVAL '90 seconds'": quoted("P0M0DT-90S"),
    "'\\x00\\xFF'::BLOB": quoted("AP8="),
    "'b'::ENUM('a', 'b')": quoted("b"),
    "uuid '00000000-0000-0000-0000-00000000002a'": quoted("00000000-0000-0000-0000-00000000002a"),
    "[1, NULL]": "[1,null]",
    "{'a': 1, 'at': TIMESTAMPTZ '2026-02-10 00:00:00Z'}": '{"a":1,"at":"2026-02-10T00:00:00Z"}',
    "MAP {'k': [1.50::DECIMAL(4, 2)]}": '{"k":[1.50]}',
    "'{\"a\": [1,  2]}'::JSON": ('{"a": [1,  2]}', '"{\\"a\\": [1,  2]}"'),
}


def asked(sql: str) -> Answer:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.sql(sql).to_arrow_table()
    return Answer(found.schema, iter(found.to_batches()))


def written(answer: Answer, as_: QueryFormat) -> bytes:
    file = io.BytesIO()
    write_answer(answer, file, Path("there"), as_)
    return file.getvalue()


@pytest.mark.parametrize("sql", SPELLED)
def test_how_a_value_is_spelled(sql: str) -> None:
    expected = SPELLED[sql]
    in_csv, in_json = (expected, expected) if isinstance(expected, str) else expected
    cell = _Cell(written(asked(f"SELECT {sql} AS x"), "csv").decode().removeprefix('"x"\n').removesuffix("\n"))
    assert (None if cell.is_null else cell.text) == in_csv
    # The text counts: a reader of JSON may have fewer digits.
    assert written(asked(f"SELECT {sql} AS x"), "json").decode() == f'[\n{{"x":{in_json}}}\n]\n'


@pytest.mark.parametrize(
    "kind", ["TIMESTAMP 'infinity'", "TIMESTAMPTZ '-infinity'", "DATE '20000-01-01'", "[DATE 'infinity']"]
)
@pytest.mark.parametrize("as_", ["csv", "json"])
def test_a_time_that_iso_8601_has_not_is_refused(kind: str, as_: QueryFormat) -> None:
    with pytest.raises(UsageError, match=r"^column x: .*Cast it to VARCHAR$"):
        written(asked(f"SELECT {kind} AS x"), as_)


instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
numbers = st.decimals(-(10**30), 10**30, places=6, allow_nan=False)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
rows = st.tuples(*map(st.none().__or__, (texts, st.integers(-(2**63), 2**63 - 1), instants, numbers, st.booleans())))
SCHEMA = pa.schema(
    [
        *(("text", pa.string()), ("integer", pa.int64()), ("instant", pa.timestamp("us", "UTC"))),
        *(("number", pa.decimal128(38, 6)), ("is_true", pa.bool_())),
    ]
)


@given(st.lists(rows, max_size=5))
def test_an_answer_can_be_read_back(held: list[tuple[Any, ...]]) -> None:
    columns = list(zip(*held, strict=True)) or [()] * len(SCHEMA)
    batch = pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )

    def answer() -> Answer:
        return Answer(SCHEMA, iter([batch, batch]))

    expected = [tuple(row.values()) for row in [*batch.to_pylist(), *batch.to_pylist()]]
    read = json.loads(written(answer(), "json"), parse_float=Decimal)
    assert [tuple(row) for row in read] == [tuple(SCHEMA.names)] * len(read)
    assert [_from_json(row) for row in read] == expected
    assert (
        pq.read_table(io.BytesIO(written(answer(), "parquet"))).to_batches()[:1]
        == (pa.Table.from_batches([batch, batch]).combine_chunks().to_batches()[:1])
    )
    assert _from_csv(written(answer(), "csv").decode()) == expected


def _from_json(row: dict[str, Any]) -> tuple[Any, ...]:
    number = None if row["number"] is None else Decimal(row["number"])
    return row["text"], row["integer"], _instant(row["instant"]), number, row["is_true"]


def _from_csv(text: str) -> list[tuple[Any, ...]]:
    cells = [[_Cell(cell) for cell in row] for row in _csv_rows(text)]
    assert [cell.text for cell in cells[0]] == SCHEMA.names
    kinds: tuple[Callable[[str], Any], ...] = (
        str,
        int,
        _instant,
        Decimal,
        "true".__eq__,
    )
    return [
        tuple(None if cell.is_null else kind(cell.text) for cell, kind in zip(row, kinds, strict=True))
        for row in cells[1:]
    ]


class _Cell:
    def __init__(self, written: str) -> None:
        self.is_null = not written
        self.text = written[1:-1].replace('""', '"') if written.startswith('"') else written


def _csv_rows(text: str) -> list[list[str]]:
    """Returns the cells as they are written: Python's `csv` tells no null from an empty text."""
    found: list[list[str]] = [[""]]
    is_quoted = False
    for sign in text:
        is_quoted ^= sign == '"'
        if sign == "\n" and not is_quoted:
            found.append([""])
        elif sign == "," and not is_quoted:
            found[-1].append("")
        else:
            found[-1][-1] += sign
    assert found.pop() == [""], "the last line ends"
    return found


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def test_columns_of_one_name() -> None:
    for as_ in ("json", "parquet"):
        with pytest.raises(UsageError, match="2 columns are called a: give them names of their own, with AS"):
            written(asked("SELECT 1 AS a, 2 AS a"), as_)
    assert written(asked("SELECT 1 AS a, 2 AS a"), "csv") == b'"a","a"\n1,2\n'


def test_what_parquet_has_no_type_for() -> None:
    with pytest.raises(UsageError, match="Parquet has no type for a column"):
        written(asked("SELECT INTERVAL '1 day' AS x"), "parquet")


def test_an_answer_without_rows() -> None:
    assert written(asked("SELECT 1 AS a WHERE false"), "csv") == b'"a"\n'
    assert json.loads(written(asked("SELECT 1 AS a WHERE false"), "json")) == []
    assert pq.read_table(io.BytesIO(written(asked("SELECT 1 AS a WHERE false"), "parquet"))).column_names == ["a"]
