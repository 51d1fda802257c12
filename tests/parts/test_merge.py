"""A part that is merged holds what a dictionary of rows would, and only real changes count as changes."""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.contract import OPEN_STATUSES
from exporter.errors import StoreError
from exporter.parts.ids import ids_in
from exporter.parts.merge import merge, plan_merge
from exporter.parts.versions import open_rows
from exporter.parts.writer import PartWriter
from tests.toolkit.sizes import size_of

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("status", pa.string()),
        ("created_at", pa.timestamp("us", "UTC")),
        ("updated_at", pa.timestamp("us", "UTC")),
        ("summary", pa.string()),
        ("recording_details", pa.string()),
    ]
)
URL = "https://recordings.invalid/one.mp3"

Row = dict[str, Any]
names = count()


def row(identity: str, updated_at: int | None, summary: str | None = "", **fields: Any) -> Row:
    """Makes a row whose `created_at` follows from its id, as it does at the source."""
    created_at = 1_000_000 - int(identity) // 2
    return {
        "id": identity,
        "status": "completed",
        "created_at": created_at,
        "updated_at": updated_at,
        "summary": summary,
        "recording_details": None,
        **fields,
    }


def write(directory: Path, rows: Iterable[Row], row_group_bytes: int = 1 << 20) -> Path:
    path = directory / f"{next(names)}.parquet"
    ordered = sorted(rows, key=lambda each: -each["created_at"])
    writer = PartWriter(path, SCHEMA, row_group_bytes)
    for each in ordered:
        writer.write(pa.RecordBatch.from_pylist([each], schema=SCHEMA))
    writer.close()
    return path


def read(path: Path) -> list[Row]:
    table = pq.ParquetFile(path).read()
    for name in ("created_at", "updated_at"):
        table = table.set_column(table.schema.get_field_index(name), name, table.column(name).cast(pa.int64()))
    rows: list[Row] = table.to_pylist()
    return rows


def merged(directory: Path, part: Path | None, plan: Any) -> list[Row]:
    path = directory / f"{next(names)}.parquet"
    writer = PartWriter(path, SCHEMA, 1 << 20)
    merge(plan, part, writer)
    try:
        writer.close()
    except ValueError:  # no row is left
        writer.abort()
        return []
    return read(path)


@pytest.mark.parametrize(
    ("there", "again", "changes"),
    [
        (row("1", 5, "old"), row("1", 6, "new"), True),
        (row("1", 5, "same"), row("1", 6, "same"), True),  # its `updated_at` is another
        (row("1", 6, "old"), row("1", 5, "new"), True),  # its `updated_at` was in the future, or has gone back
        (row("1", 5, "old"), row("1", 5, "moved", created_at=7), True),
        (row("1", 5, "same"), row("1", 5, "same"), False),
        (row("1", 5, "old"), row("1", 5, "new"), True),
        (row("1", 5, None), row("1", 5, ""), True),
        (row("1", None, "old"), row("1", 5, "new"), True),
        (row("1", 5, "old"), row("1", None, "new"), True),
        (row("1", None, "same"), row("1", None, "same"), False),
    ],
)
def test_what_was_read_later_counts_whatever_its_time_of_update_says(
    tmp_path: Path, there: Row, again: Row, changes: bool
) -> None:
    part = write(tmp_path, [there])
    plan = plan_merge(part, [[write(tmp_path, [again])]])
    assert plan.changes_nothing == (not changes)
    assert (len(plan.arriving), len(plan.updated), len(plan.left), plan.unchanged) == (0, changes, 0, not changes)
    assert merged(tmp_path, part, plan) == [again if changes else there]


@pytest.mark.parametrize(
    ("there", "again", "changes"),
    [
        ({"recording_url": URL + "?a=1"}, {"recording_url": URL + "?a=2"}, False),
        ({"recording_url": URL + "?a=1", "format": "mp3"}, {"recording_url": URL + "?a=2", "format": "wav"}, True),
        ({"recording_url": URL + "?a=1"}, {"recording_url": URL.replace("one", "two") + "?a=1"}, True),
        ({"recording_url": URL + "?a=1"}, {"recording_url": URL}, False),
        ({"recording_url": URL, "expires_at": 1}, {"recording_url": URL, "expires_at": 2}, False),
        ([{"recording_url": URL + "?a=1"}, None], [{"recording_url": URL + "?a=2", "expires_at": 2}, None], False),
        ([{"recording_url": URL + "?a=1"}], [{"recording_url": URL + "?a=2", "format": "wav"}], True),
        ({"recording_url": URL, "url_expires_at": "2026-01-31T12:00:00Z"}, {"recording_url": URL}, False),
        ({"recording_url": None, "expires_at": 1}, {"recording_url": None, "expires_at": 2}, True),
        ({"recording_url": URL + "?a=1"}, {"recording_url": None}, True),
        ({"recording_url": URL + "?a=1"}, {}, True),
        ({"url": URL + "?a=1"}, {"url": URL + "?a=2"}, True),
        ({"recording_url": URL}, None, True),
        ([URL + "?a=1"], [URL + "?a=2"], True),
    ],
)
def test_a_signature_alone_is_no_change(tmp_path: Path, there: object, again: object, changes: bool) -> None:
    parts = [
        write(tmp_path, [row("1", 5, recording_details=None if details is None else json.dumps(details))])
        for details in (there, again)
    ]
    assert plan_merge(parts[0], [[parts[1]]]).changes_nothing == (not changes)


def test_what_is_to_go_goes_from_the_part_and_from_what_was_read(tmp_path: Path) -> None:
    part = write(tmp_path, [row("1", 5), row("2", 5)])
    again = write(tmp_path, [row("1", 6), row("3", 6)])
    plan = plan_merge(part, [[again]], gone={"1", "3", "4"})
    assert (len(plan.arriving), len(plan.updated), len(plan.left)) == (0, 0, 1)
    assert merged(tmp_path, part, plan) == [row("2", 5)]


def test_without_a_part_all_that_was_read_is_new(tmp_path: Path) -> None:
    plan = plan_merge(None, [[write(tmp_path, [row("1", 5, "one")])], [write(tmp_path, [row("1", 5, "two")])]])
    assert (len(plan.arriving), len(plan.updated), len(plan.left)) == (1, 0, 0)
    assert merged(tmp_path, None, plan) == [row("1", 5, "two")]
    assert plan_merge(None, []).changes_nothing


def test_a_row_that_a_reading_has_shown_at_two_times_is_there_once(tmp_path: Path) -> None:
    part = write(tmp_path, [row("1", 5, "old"), row("2", 5)])
    before = write(tmp_path, [row("1", 6, "seen", created_at=1_000_000)])
    after = write(tmp_path, [row("1", 7, "moved", created_at=7)])
    for reading in ([before, after], [after, before]):
        plan = plan_merge(part, [sorted(reading, key=lambda path: path == after)])
        assert (len(plan.arriving), len(plan.updated), len(plan.left)) == (0, 1, 0)
        assert merged(tmp_path, part, plan) == [row("2", 5), row("1", 7, "moved", created_at=7)]


@pytest.mark.parametrize("again", [None, "kept", "new"])
def test_a_row_that_the_part_has_twice_is_there_once(tmp_path: Path, again: str | None) -> None:
    twice = [row("1", 5, "old", created_at=9), row("1", 6, "kept", created_at=7), row("2", 5)]
    part = write(tmp_path, twice)
    readings = [] if again is None else [[write(tmp_path, [row("1", 6, again, created_at=7)])]]
    assert plan_merge(part, []).changes_nothing
    plan = plan_merge(part, readings, repeated={"1", "2", "3"})
    assert (len(plan.arriving), len(plan.updated), len(plan.left)) == (0, again is not None, 0)
    assert merged(tmp_path, part, plan) == [row("2", 5), row("1", 6, again or "kept", created_at=7)]
    plan = plan_merge(part, readings, gone={"1"}, repeated={"1"})
    assert (len(plan.arriving), len(plan.updated), len(plan.left)) == (0, 0, 1)
    assert merged(tmp_path, part, plan) == [row("2", 5)]


def test_what_was_null_in_rows_that_go_and_come_is_counted(tmp_path: Path) -> None:
    part = write(tmp_path, [row("1", 5, None), row("2", 5, "x"), row("3", 5, None)])
    again = write(tmp_path, [row("1", 6, "y"), row("2", 6, None), row("4", 6, None)])
    plan = plan_merge(part, [[again]])
    writer = PartWriter(tmp_path / "merged.parquet", SCHEMA, 1 << 20)
    lost, gained = merge(plan, part, writer)
    writer.close()
    assert (lost.by_column["summary"], gained.by_column["summary"]) == (1, 2)
    # These are the sensitive columns that are there: `summary` and `recording_details`.
    assert (lost.withheld_rows, gained.withheld_rows) == (1, 2)


def test_open_conversations_are_found_by_their_status(tmp_path: Path) -> None:
    statuses = (*OPEN_STATUSES, "completed", None, "another")
    part = write(tmp_path, [row(str(number), 5, status=status) for number, status in enumerate(statuses)])
    assert open_rows(part) == {str(number): 1_000_000 - number // 2 for number in range(len(OPEN_STATUSES))}
    assert ids_in([part, part]) == {str(number) for number in range(len(statuses))}


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    part = tmp_path / "damaged.parquet"
    part.write_bytes(b"PAR1 and no more")
    for look in (lambda: plan_merge(part, []), lambda: open_rows(part), lambda: ids_in([part])):
        with pytest.raises(StoreError, match=r"damaged\.parquet"):
            look()


identities = st.integers(0, 30).map(str)
versions = st.dictionaries(
    identities,
    st.tuples(st.sampled_from((None, 1, 2, 3)), st.sampled_from(("a", "b", None)), st.sampled_from(("?1", "?2"))),
    max_size=20,
)


@settings(max_examples=size_of(40, 100), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    there=versions,
    readings=st.lists(versions, max_size=3),
    gone=st.sets(identities, max_size=4),
    cuts=st.integers(1, 7),
    row_group_bytes=st.sampled_from((1, 300, 1 << 20)),
)
def test_any_merge_is_what_a_dictionary_would_be(
    there: Mapping[str, Any], readings: Sequence[Mapping[str, Any]], gone: set[str], cuts: int, row_group_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        mine = rows_of(there)
        part = write(directory, mine.values(), row_group_bytes) if mine else None
        plan = plan_merge(part, [in_parts(directory, rows_of(reading), cuts) for reading in readings], gone)
        latest: dict[str, Row] = {}
        for reading in readings:
            latest |= rows_of(reading)
        expected = {identity: kept for identity, kept in mine.items() if identity not in gone}
        changed = mine.keys() & gone
        for identity, again in latest.items():
            kept = expected.get(identity)
            if identity in gone or (kept and is_alike(again, kept)):
                continue
            expected[identity] = again
            changed |= {identity}
        assert plan.changes_nothing == (not changed)
        assert len(plan.arriving) == len(expected.keys() - mine.keys())
        assert plan.left == mine.keys() - expected.keys()
        assert plan.updated == changed & mine.keys() & expected.keys()
        assert plan.unchanged == len((latest.keys() & mine.keys()) - changed)
        found = merged(directory, part, plan)
        assert {each["id"]: each for each in found} == expected
        assert len(found) == len(expected)
        times = [each["created_at"] for each in found]
        assert times == sorted(times, reverse=True)


def rows_of(of: Mapping[str, Any]) -> dict[str, Row]:
    return {
        identity: row(identity, at, summary, recording_details=json.dumps({"recording_url": URL + signature}))
        for identity, (at, summary, signature) in of.items()
    }


def in_parts(directory: Path, rows: Mapping[str, Row], size: int) -> list[Path]:
    """Writes several parts from new to old, none of which shares a time with the next."""
    ordered = sorted(rows.values(), key=lambda each: -each["created_at"])
    parts: list[list[Row]] = []
    for each in ordered:
        if parts and (len(parts[-1]) < size or parts[-1][-1]["created_at"] == each["created_at"]):
            parts[-1].append(each)
        else:
            parts.append([each])
    return [write(directory, part) for part in parts]


def is_alike(one: Row, other: Row) -> bool:
    return all(one[name] == other[name] for name in ("updated_at", "summary", "status"))
