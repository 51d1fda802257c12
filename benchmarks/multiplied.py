"""Multiplies an export: gives a small one that was really made as many conversations as wanted, by day.

Each new conversation is one of the small export, with an id and times of its own, and so are its turns. Texts, which a
report does not read, are left out. The log is written by the project's own types.

    python -m benchmarks.multiplied FROM TO ROWS
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import DAY, parse_timestamp, to_datetime
from exporter.coverage import Interval
from exporter.encode.schema import arrow_schema, turns_schema
from exporter.encode.tables import Tables
from exporter.jobs.dataset import open_dataset
from exporter.layout import CONVERSATIONS, TURNS, part_path
from exporter.log.commits import CommitLog
from exporter.log.publish import publish
from exporter.model import Change, DataFile
from exporter.partitions import partition_of
from exporter.parts.writer import PartWriter
from exporter.run.record import author_of
from exporter.settings import Request
from exporter.store.local.store import LocalStore

_FIRST: Final = parse_timestamp("2026-01-01")
_MOST_ROWS_A_DAY: Final = 100_000
_ROW_GROUP_BYTES: Final = 32 * 1024 * 1024
_LEFT_OUT: Final = {
    CONVERSATIONS: ("conversation", "initial_context", "custom_metadata", "summary", "recording_details"),
    TURNS: ("text", "content", "arguments", "output", "other_metrics", "extra"),
}
_ID_CHARACTERS: Final = 8


class _Pattern(NamedTuple):
    """Holds the rows that are repeated; each of the turns says which conversation it belongs to."""

    conversations: pa.Table
    turns: pa.Table
    owners: pa.Array


async def multiply(source: Path, root: Path, rows: int) -> None:
    """Makes an export of `rows` conversations at `root`, about, from the one at `source`."""
    pattern = _read_pattern(source)
    repeats = max(1, rows // pattern.conversations.num_rows)
    a_day = max(1, min(repeats, _MOST_ROWS_A_DAY // pattern.conversations.num_rows))
    days = -(-repeats // a_day)
    store, request = LocalStore(root), Request(tables=(CONVERSATIONS, TURNS))
    await store.prepare()
    log, range_ = CommitLog(store, author_of("multiplied")), Interval(_FIRST, _FIRST + days * DAY)
    await log.append(committed_at=range_.end, kind="begin", request=request, range=range_)
    for day in range(days):
        window = Interval(_FIRST + day * DAY, _FIRST + (day + 1) * DAY)
        adds = tuple(_write_day(root, pattern, window, min(a_day, repeats - day * a_day)))
        await log.append(committed_at=range_.end, change=Change(covers=(window,), adds=adds, read_since=range_.end))
    await log.end()
    await publish(store, log.state, schemas=Tables.of(request).schemas)


def _read_pattern(source: Path) -> _Pattern:
    tables = {}
    for name, schema in ((CONVERSATIONS, arrow_schema(None)), (TURNS, turns_schema())):
        table = open_dataset(source, name).to_table(columns=schema.names)
        columns = [
            pa.nulls(table.num_rows, field.type) if field.name in _LEFT_OUT[name] else table[field.name]
            for field in schema
        ]
        tables[name] = pa.table(columns, schema=schema).combine_chunks()
    conversations, turns = tables[CONVERSATIONS], tables[TURNS]
    return _Pattern(conversations, turns, pc.index_in(turns["conversation_id"], conversations["id"]))


def _write_day(root: Path, pattern: _Pattern, window: Interval, repeats: int) -> Iterator[DataFile]:
    name = f"{to_datetime(window.start):%Y%m%d}"
    partition, _ = partition_of(window.start, "day")
    writers = {
        table: PartWriter(_place(root, part_path(table, partition, name)), schema, _ROW_GROUP_BYTES, table)
        for table, schema in ((CONVERSATIONS, arrow_schema(None)), (TURNS, turns_schema()))
    }
    length = DAY // repeats
    for repeat in range(repeats):
        # From new to old.
        start = window.end - (repeat + 1) * length
        conversations, turns = _repeat(pattern, Interval(start, start + length), repeat)
        writers[CONVERSATIONS].write(conversations)
        writers[TURNS].write(turns)
    for table, writer in writers.items():
        written = writer.close()
        yield DataFile(
            path=part_path(table, partition, name),
            table=table,
            partition=partition,
            rows=written.rows,
            size_bytes=written.size_bytes,
            sha256=written.sha256,
            created_at_min=written.created_at_min,
            created_at_max=written.created_at_max,
            window=window,
        )


def _repeat(pattern: _Pattern, window: Interval, repeat: int) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Returns all rows of the pattern, spread over a window."""
    conversations, turns, owners = pattern
    count = conversations.num_rows
    moments = np.linspace(window.end - 1, window.start, count).astype(np.int64)
    times = pa.array(moments).cast(pa.timestamp("us", tz="UTC"))
    prefix = f"{window.start // DAY:x}{repeat:03x}"[-_ID_CHARACTERS:].rjust(_ID_CHARACTERS, "0")
    ids = pc.binary_join_element_wise(prefix, pc.utf8_slice_codeunits(conversations["id"], _ID_CHARACTERS), "")
    before = conversations["created_at"].cast(pa.int64()).take(owners)
    item_times = pc.add(turns["item_created_at"].cast(pa.int64()), pc.subtract(pa.array(moments).take(owners), before))
    changed = conversations.set_column(conversations.schema.get_field_index("id"), "id", ids)
    for column in ("created_at", "updated_at"):
        changed = changed.set_column(changed.schema.get_field_index(column), column, times)
    spoken = turns
    for column, values in (
        ("conversation_id", ids.take(owners)),
        ("conversation_created_at", times.take(owners)),
        ("item_created_at", item_times.cast(pa.timestamp("us", tz="UTC"))),
    ):
        spoken = spoken.set_column(spoken.schema.get_field_index(column), column, values)
    return _batch(changed), _batch(spoken)


def _batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def _place(root: Path, path: str) -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


if __name__ == "__main__":
    anyio.run(multiply, Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
