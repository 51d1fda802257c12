from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

from exporter.contract import FIELD_NAMES, FIELDS
from exporter.encode.batch import EncodedBatch, Encoder
from exporter.encode.decode import Decoder
from exporter.encode.schema import arrow_schema
from exporter.model import Rows

Convert: TypeAlias = Callable[[str], EncodedBatch]


def test_the_schema_follows_the_order_of_the_api_and_ends_with_extra() -> None:
    assert arrow_schema(None).names == [*FIELD_NAMES, "extra"]
    narrow = arrow_schema(("created_at", "agent", "id"))
    assert narrow.names == ["id", "created_at", "agent", "extra"]
    assert narrow.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert narrow.field("agent").type == pa.struct({"id": pa.string(), "name": pa.string()})
    assert arrow_schema(None).field("duration").type == pa.int64()
    assert Encoder(("id",)).schema == arrow_schema(("id",))


def test_no_rows_make_an_empty_batch() -> None:
    encoded = Encoder(None).encode(Rows())
    assert encoded.batch.num_rows == 0
    assert encoded.batch.schema == arrow_schema(None)
    assert (encoded.absent, encoded.quarantined) == ({}, [])


def test_absent_is_counted_and_null_is_not(convert: Convert, row_text: Callable[..., str]) -> None:
    nulls = {field.name: "null" for field in FIELDS if field.name not in ("id", "created_at")}
    encoded = convert(f"[{row_text('a', **nulls)}, {row_text('b', summary='null')}, {row_text('c', x='NaN')}]")
    assert encoded.absent == {name: 1 if name == "summary" else 2 for name in nulls}
    assert all(encoded.batch[name].null_count == 3 for name in nulls)


def test_misfits_are_not_counted_as_absent(convert: Convert, row_text: Callable[..., str]) -> None:
    full = {field.name: "null" for field in FIELDS if field.name not in ("id", "created_at")}
    encoded = convert(f"[{row_text('a', **full)}, {row_text('b', status='5')}]")
    assert encoded.absent == {}
    assert len(encoded.quarantined) == 1
    assert encoded.batch["created_at"].cast(pa.int64()).to_pylist() == [1_770_699_600_000_000]


def test_parquet_readers_read_what_was_encoded(row_text: Callable[..., str], tmp_path: Path) -> None:
    row = row_text("a", duration="5", agent='{"id":"g","name":"Bot"}', conversation='{"items": []}', new="1")
    rows = Decoder(None).decode(f"[{row}, {row_text('b', updated_at='null')}]".encode()).page.rows
    path = tmp_path / "part.parquet"
    pq.write_table(pa.Table.from_batches([Encoder(None).encode(rows).batch]), path)
    query = (
        "select id, epoch_us(created_at), duration, agent.name, conversation->>'$.items', extra from read_parquet(?)"
    )
    with duckdb.connect() as connection:
        assert connection.execute(query, [str(path)]).fetchall() == [
            ("a", 1_770_699_600_000_000, 5, "Bot", "[]", '{"new":1}'),
            ("b", 1_770_699_600_000_000, None, None, None, None),
        ]
    frame = polars.read_parquet(path)
    assert frame["created_at"].dt.epoch("us").to_list() == [1_770_699_600_000_000] * 2
    assert frame["agent"].to_list() == [{"id": "g", "name": "Bot"}, None]
