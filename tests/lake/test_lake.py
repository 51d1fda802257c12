"""Delta and Iceberg tables stay right beside other writers, and after a kill at any step."""

import json
import random
import string
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from exporter.contract import DAY, HOUR
from exporter.coverage import Interval
from exporter.errors import DestinationError, ForeignTableError, StoreError
from exporter.lake import catalogs, delta
from exporter.lake import place as lake_place
from exporter.lake.delta import DeltaLog
from exporter.lake.follow import check_place
from exporter.lake.iceberg import IcebergTable
from exporter.lake.place import LakePlace
from exporter.lake.table import LakeTable, Step, TableContents, files_of, next_step, readable
from exporter.layout import part_path
from exporter.log.fold import fold
from exporter.log.state import FORMAT_VERSION, Author, Commit, State
from exporter.model import Change, DataFile, TableFormat
from exporter.partitions import key_of, partition_of
from exporter.settings import PartitionBy, Request
from exporter.store.location import Url
from tests.end_to_end.export_directory import check_private
from tests.toolkit.engines import collected
from tests.toolkit.lake import KINDS, Kind, delta_rows, delta_table, scan_delta, scan_iceberg
from tests.toolkit.lake import iceberg as open_iceberg
from tests.toolkit.table_places import PLACES, TablePlace

T0 = 1_770_000_000_000_000 // DAY * DAY
SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("created_at", pa.timestamp("us", tz="UTC"))])
CHANGE = Step((), ())


def part(place: TablePlace, number: int, by: PartitionBy = "day", zone: str = "UTC", **more: list[Any]) -> DataFile:
    """Makes a part of two rows, the second of which is the newest of its partition, to the microsecond."""
    start = T0 + number * DAY
    partition, interval = partition_of(start, by, zone)
    newest = start + 1 if interval is None else interval.end - 1
    path = part_path("conversations", partition, f"r-{number:06d}")
    file = place.files / path
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    rows = {"id": [f"{number}b", f"{number}a"], "created_at": [newest, start], **more}
    schema = pa.schema([*SCHEMA, *(pa.field(name, pa.string()) for name in more)])
    pq.write_table(pa.table(rows, schema), file)
    file.chmod(0o600)
    place.put(path)
    return DataFile(
        path=path,
        table="conversations",
        partition=partition,
        rows=2,
        size_bytes=file.stat().st_size,
        sha256="",
        created_at_min=start,
        created_at_max=newest,
        window=Interval(start, newest + 1),
    )


def made(
    place: TablePlace,
    schema: pa.Schema = SCHEMA,
    by: PartitionBy = "day",
    export_id: str = "x",
    zone: str = "UTC",
) -> LakeTable:
    key = key_of(by)
    if place.kind == "delta":
        return DeltaLog(place.lake(), "conversations", export_id, schema, key)
    return IcebergTable(place.lake(), "conversations", export_id, schema, key, TableFormat(kind="iceberg"), zone)


@contextmanager
def opened(place: TablePlace, **options: Any) -> Iterator[tuple[LakeTable, TableContents | None]]:
    table = made(place, **options)
    try:
        yield table, table.read()
    finally:
        table.close()


def write(place: TablePlace, step: Step, generation: int, **options: Any) -> None:
    with opened(place, **options) as (table, _):
        table.write(step, generation)


def shown(place: TablePlace, **options: Any) -> TableContents | None:
    with opened(place, **options) as (_, found):
        return found


def state(number: int, files: list[DataFile]) -> State:
    return State(number=number, live={file.path: file for file in files})


def ids(place: TablePlace, after: int = T0) -> set[str]:
    """Returns what a reader finds, created at or after `after`."""
    at = pa.scalar(after, SCHEMA.field("created_at").type).as_py().isoformat()
    if place.kind == "delta":
        rows = delta_rows(delta_table(place), f"created_at >= '{at}'")
    else:
        with open_iceberg(place) as table:
            rows = table.scan(row_filter=f"created_at >= '{at}'").to_arrow()
    return set(rows["id"].to_pylist())


def check_modes(place: TablePlace) -> None:
    if place.bucket is None:
        check_private(place.files / ("conversations/_delta_log" if place.kind == "delta" else "_iceberg"))


@pytest.mark.parametrize(
    ("place", "by", "zone"),
    [
        (place, by, zone)
        for place, (_, cloud) in PLACES.items()
        for by in ("hour", "day", "week", "month", "none")
        for zone in ("UTC", "America/St_Johns")
        # Nothing of these depends on where the files are.
        if not cloud or (by in ("day", "none") and zone == "UTC")
    ],
    indirect=["place"],
)
def test_a_table_of_parts(place: TablePlace, by: PartitionBy, zone: str) -> None:
    where: dict[str, Any] = {"by": by, "zone": zone}
    assert shown(place, **where) is None
    assert place.paths() == set(), "reading leaves nothing"
    parts = [part(place, 40 * number, by, zone) for number in range(3)]
    write(place, Step(parts[:2], ()), 7, **where)
    assert shown(place, **where) == TableContents(7, {file.path: (file.size_bytes, 2) for file in parts[:2]})
    write(place, Step(parts[2:], parts[:1]), 9, **where)
    assert shown(place, **where) == TableContents(9, {file.path: (file.size_bytes, 2) for file in parts[1:]})
    assert ids(place) == {"40a", "40b", "80a", "80b"}
    # The bounds in the table must be those of the rows; otherwise a reader would skip the file.
    assert ids(place, parts[2].created_at_max) == {"80b"}
    check_modes(place)


@pytest.mark.parametrize(
    ("place", "by"),
    [
        (place, by)
        for place, (_, cloud) in PLACES.items()
        for by in ("hour", "day", "week", "month")
        if not cloud or by == "day"
    ],
    indirect=["place"],
)
def test_readers_find_rows_by_the_partition_of_a_time_zone(place: TablePlace, by: PartitionBy) -> None:
    parts = [part(place, 40 * number, by, "Asia/Kathmandu") for number in range(3)]
    write(place, Step(parts, ()), 1, by=by, zone="Asia/Kathmandu")
    ((key, text),) = parts[1].partition.items()
    value = date.fromisoformat(text) if by == "day" else text
    if place.kind == "delta":
        found = [
            delta_rows(delta_table(place), f"{key} = '{text}'"),
            collected(scan_delta(place).filter(pl.col(key) == value)),
        ]
    else:
        with open_iceberg(place) as table:
            found = [
                table.scan(row_filter=f"{key} = '{text}'").to_arrow(),
                collected(scan_iceberg(table).filter(pl.col(key) == value)),
            ]
    for rows in found:
        assert {(row["id"], row[key]) for row in rows.to_pylist()} == {("40a", value), ("40b", value)}


def test_a_table_without_a_row(place: TablePlace) -> None:
    write(place, CHANGE, 3)
    found = shown(place)
    assert found is not None
    assert found.files == {}
    assert next_step(made(place), found, State(), state(4, [])) is None
    write(place, Step([part(place, 0)], ()), 5)
    assert ids(place) == {"0a", "0b"}


def test_columns_that_were_added(place: TablePlace) -> None:
    write(place, Step([part(place, 0)], ()), 2)
    wider = pa.schema([*SCHEMA, pa.field("extra", pa.string())])
    write(place, Step([part(place, 1, extra=["x", None])], ()), 4, schema=wider)
    assert ids(place) == {"0a", "0b", "1a", "1b"}
    if place.kind == "delta":
        rows = delta_rows(delta_table(place))
    else:
        with open_iceberg(place) as table:
            rows = table.scan().to_arrow()
    assert {row["id"]: row["extra"] for row in rows.to_pylist()} == {"0a": None, "0b": None, "1a": None, "1b": "x"}
    found = shown(place, schema=wider)
    assert found is not None
    assert (found.generation, len(found.files)) == (4, 2)
    # An older exporter would take the new column for another writer's.
    with pytest.raises(ForeignTableError, match="columns"):
        shown(place)


# Other writers.


def appended_to_delta(place: TablePlace) -> None:
    rows = pa.table({"id": ["y"], "created_at": [T0]}, SCHEMA)
    deltalake.write_deltalake(delta_table(place), rows, mode="append")


def appended_to_iceberg(place: TablePlace) -> None:
    with open_iceberg(place) as table:
        table.append(pa.table({"id": ["y"], "created_at": [T0]}, SCHEMA))


def deleted_from_delta(place: TablePlace) -> None:
    delta_table(place).delete("id = '0a'")


def deleted_from_iceberg(place: TablePlace) -> None:
    with open_iceberg(place) as table:
        table.delete("id = '0a'")


def masked_delta(place: TablePlace) -> None:
    """Deletes the first row as engines that rewrite no file do: by a vector of deleted rows."""
    (add,) = pa.table(delta_table(place).get_add_actions()).slice(0, 1).to_pylist()
    file = {"path": add["path"], "partitionValues": {}, "size": add["size_bytes"], "dataChange": True}
    # A bitmap of 64-bit row numbers: one bitmap of 32 bits, with one container of one row.
    deleted = struct.pack("<IQIIIHHIH2x", 1681511377, 1, 0, 12346, 1, 0, 0, 16, 0)
    vector = {"storageType": "i", "pathOrInlineDv": z85(deleted), "sizeInBytes": 34, "cardinality": 1}
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    commit = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"remove": {**file, "deletionTimestamp": 1}},
        {"add": {**file, "modificationTime": 1, "stats": '{"numRecords": 2}', "deletionVector": vector}},
    ]
    actions = "".join(json.dumps(action) + "\n" for action in commit)
    place.write("conversations/_delta_log/00000000000000000001.json", actions.encode())
    assert "0b" not in ids(place), "the vector has no effect"


def z85(data: bytes) -> str:
    """Encodes four bytes as five digits to the base 85."""
    numbers = struct.unpack(f">{len(data) // 4}I", data)
    return "".join(Z85[number // 85**place % 85] for number in numbers for place in (4, 3, 2, 1, 0))


Z85 = string.digits + string.ascii_lowercase + string.ascii_uppercase + ".-:+=^!/*?&<>()[]{}@%$#"


def emptied_delta(place: TablePlace) -> None:
    delta_table(place).delete()


def emptied_iceberg(place: TablePlace) -> None:
    with open_iceberg(place) as table:
        table.delete("id != ''")


def widened_delta(place: TablePlace) -> None:
    delta_table(place).alter.add_columns([deltalake.Field("theirs", "string")])  # type: ignore[arg-type]


def widened_iceberg(place: TablePlace) -> None:
    with open_iceberg(place) as table, table.update_schema() as update:
        update.union_by_name(pa.schema([pa.field("theirs", pa.string())]))


def repeated_in_iceberg(place: TablePlace) -> None:
    """Adds the files that are there once more, so that readers find their rows twice."""
    with open_iceberg(place) as table:
        again = [task.file for task in table.scan().plan_files()]
        with table.transaction() as transaction, transaction.update_snapshot().fast_append() as snapshot:
            for file in again:
                snapshot.append_data_file(file)


FOREIGN: list[tuple[Kind, Callable[[TablePlace], None], str]] = [
    ("delta", appended_to_delta, "1 files that the exporter did not put there"),
    ("iceberg", appended_to_iceberg, "1 files that the exporter did not put there"),
    ("iceberg", repeated_in_iceberg, "2 of its files were added to it a second time"),
    ("delta", deleted_from_delta, "files"),
    ("iceberg", deleted_from_iceberg, "files"),
    ("delta", masked_delta, "rows were deleted"),
    ("delta", emptied_delta, "2 files were taken out"),
    ("iceberg", emptied_iceberg, "2 files were taken out"),
    ("delta", widened_delta, "columns"),
    ("iceberg", widened_iceberg, "columns"),
]


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [(name, *rest) for of, *rest in FOREIGN for name, (kind, _) in PLACES.items() if kind == of],
    indirect=["place"],
)
def test_what_others_have_written_is_seen(place: TablePlace, change: Callable[[TablePlace], None], said: str) -> None:
    parts = [part(place, number, "none") for number in range(3)]
    then, now = state(5, parts[:2]), state(6, parts)
    write(place, Step(parts[:2], ()), 5, by="none")
    change(place)
    with pytest.raises(ForeignTableError, match=said), opened(place, by="none") as (table, found):
        next_step(table, found, then, now)


def test_what_others_have_taken_back_is_forgiven(place: TablePlace) -> None:
    parts = [part(place, number, "none") for number in range(3)]
    then, now = state(5, parts[:2]), state(6, parts)
    write(place, Step(parts[:2], ()), 5, by="none")
    if place.kind == "delta":
        appended_to_delta(place)
        delta_table(place).restore(0)
        delta_table(place).alter.set_table_description("ours")
    else:
        with open_iceberg(place) as table:
            made_by_us = table.current_snapshot()
            assert made_by_us is not None
            appended_to_iceberg(place)
            table.refresh().manage_snapshots().rollback_to_snapshot(made_by_us.snapshot_id).commit()
    with opened(place, by="none") as (table, found):
        step = next_step(table, found, then, now)
        assert step == Step((parts[2],), ())
        table.write(step, 6)
    assert ids(place) == {f"{number}{which}" for number in range(3) for which in "ab"}


def test_who_writes_at_the_same_time_is_not_overwritten(place: TablePlace) -> None:
    parts = [part(place, number, "none") for number in range(2)]
    write(place, Step(parts[:1], ()), 5, by="none")
    with opened(place, by="none") as (table, _):
        (appended_to_delta if place.kind == "delta" else appended_to_iceberg)(place)
        with pytest.raises(StoreError, match="at the same time"):
            table.write(Step(parts[1:], parts[:1]), 6)
    assert ids(place) == {"0a", "0b", "y"}


def test_a_table_of_another_export(place: TablePlace) -> None:
    write(place, Step([part(place, 0)], ()), 5)
    with pytest.raises(ForeignTableError, match="another export"):
        shown(place, export_id="another")
    with pytest.raises(ForeignTableError, match=r"columns|partitions"):
        shown(place, by="hour")


def test_a_moved_export(tmp_path: Path) -> None:
    here, there = (
        {kind: TablePlace(kind, tmp_path / name, tmp_path / name) for kind in KINDS} for name in ("here", "there")
    )
    for place in here.values():
        write(place, Step([part(place, 0)], ()), 5)
    (tmp_path / "here").rename(tmp_path / "there")
    assert ids(there["delta"]) == {"0a", "0b"}
    assert shown(there["delta"]) is not None
    # The catalog of a copy leads to the table of the original.
    with pytest.raises(StoreError):
        shown(there["iceberg"])
    (tmp_path / "there").rename(tmp_path / "here")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/_iceberg").symlink_to(tmp_path / "here/_iceberg")
    with pytest.raises(ForeignTableError, match="moved or copied"):
        shown(TablePlace("iceberg", tmp_path / "copy", tmp_path / "copy"))


def test_a_path_that_a_uri_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="#"):
        check_place(TableFormat(kind="iceberg"), tmp_path / "no#1")


def test_a_path_with_a_part_that_is_a_log_to_delta(tmp_path: Path) -> None:
    for place in (tmp_path / "_delta_log", tmp_path / "_delta_log/a", Url("s3", "bucket", "a/_delta_log/b")):
        with pytest.raises(DestinationError, match="_delta_log"):
            check_place(TableFormat(kind="delta"), place)
        check_place(TableFormat(kind="iceberg"), place)
    check_place(TableFormat(kind="delta"), tmp_path / "my_delta_log")


@pytest.mark.parametrize("name", ["with space", "ümläut", "it's !&$@=;:+,.()-"])
def test_an_odd_path(place: TablePlace, name: str) -> None:
    odd = place.beside(name)
    write(odd, Step([part(odd, 0)], ()), 5)
    write(odd, Step([part(odd, 1)], ()), 6)
    assert shown(odd) is not None
    assert ids(odd) == {"0a", "0b", "1a", "1b"}


def test_a_log_that_cannot_be_read(place: TablePlace) -> None:
    write(place, Step([part(place, 0)], ()), 5)
    for path in place.paths():
        if path.endswith(".json"):
            place.write(path, b"{")
    with pytest.raises(ForeignTableError, match="damaged"):
        shown(place)


@pytest.mark.parametrize(
    ("kind", "pattern", "left"),
    [
        ("delta", "*_delta_log/*0.json", None),
        ("delta", "*_delta_log/*1.json", b'{"add": {"pa'),
        ("delta", "*_delta_log/*1.json", b"<html>"),
        ("delta", "*_delta_log/*1.json", None),
        ("delta", "*_delta_log/_last_checkpoint", b'{"version": 2, "size": 4}'),
        ("iceberg", "*.metadata.json", None),
        ("iceberg", "*.metadata.json", b""),
        ("iceberg", "*.metadata.json", b'{"format-version": 2, "loc'),
        ("iceberg", "*/snap-*.avro", None),
        ("iceberg", "*/snap-*.avro", b""),
        ("iceberg", "*/snap-*.avro", b"Obj"),
        ("iceberg", "*-m0.avro", None),
        ("iceberg", "*-m0.avro", 900),
    ],
)
def test_a_damaged_log(kind: Kind, pattern: str, left: bytes | int | None, tmp_path: Path) -> None:
    """No later run could read it either, so that its user is told to delete it."""
    place = TablePlace(kind, tmp_path, tmp_path)
    for number in range(3):
        write(place, Step([part(place, number)], ()), number + 1)
    (tmp_path / "conversations/_delta_log").mkdir(exist_ok=True)
    (tmp_path / "conversations/_delta_log/_last_checkpoint").touch()
    for file in [one for one in tmp_path.rglob("*") if one.match(pattern)]:
        if left is None:
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:left] if isinstance(left, int) else left)
    with pytest.raises(ForeignTableError, match="damaged"):
        shown(place)


def test_what_a_catalog_says_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        raise ValueError(f"{name}: wrong password hunter2")

    monkeypatch.setattr(catalogs, "load_catalog", load)
    table = IcebergTable(
        LakePlace.on_disk(tmp_path), "conversations", "x", SCHEMA, None, TableFormat(kind="iceberg", catalog="prod")
    )
    with pytest.raises(StoreError, match=r"^prod: conversations: cannot be read or written \(ValueError\)$"):
        table.read()


# Kills.


class KillError(BaseException):
    """Ends a run as a kill ends a process: nothing catches it."""


#: These do nothing in a bucket.
ON_A_DISK = {"make_directories", "keep_modes"}
#: A write does these in order, each of which leaves something behind.
STEPS: Mapping[str, list[tuple[object, str]]] = {
    "delta": [
        (lake_place, "make_directories"),
        (delta, "create_table_with_add_actions"),
        (deltalake.DeltaTable, "create_write_transaction"),
        (lake_place, "keep_modes"),
    ],
    "iceberg": [
        (lake_place, "make_directories"),
        (SqlCatalog, "create_namespace"),
        (SqlCatalog, "_write_metadata"),
        (SqlCatalog, "commit_table"),
        (lake_place, "keep_modes"),
    ],
}


def die_at(patch: pytest.MonkeyPatch, where: object, name: str, after: bool) -> None:
    real = getattr(where, name)

    def die(*arguments: Any, **options: Any) -> Any:
        if after:
            real(*arguments, **options)
        raise KillError

    patch.setattr(where, name, staticmethod(die) if name == "_write_metadata" else die)


@pytest.mark.parametrize(
    ("place", "where", "name", "after"),
    [
        (place, where, name, after)
        for place, (kind, cloud) in PLACES.items()
        for where, name in STEPS[kind]
        for after in (False, True)
        if not cloud or (name not in ON_A_DISK and where is not SqlCatalog)
    ],
    indirect=["place"],
)
def test_killed_while_it_writes(place: TablePlace, where: object, name: str, after: bool) -> None:
    """Wherever it is killed, the table shows its old state or the new one; the next run makes it the new one."""
    parts = [part(place, number) for number in range(3)]
    states = {0: State(), 5: state(5, parts[:2]), 6: state(6, parts[1:])}
    for generation in (5, 6):
        with opened(place) as (table, found), pytest.MonkeyPatch.context() as patch:
            step = next_step(table, found, states[found.generation if found else 0], states[generation])
            assert step is not None
            die_at(patch, where, name, after)
            try:
                table.write(step, generation)
            except KillError:
                pass
            else:
                assert generation == 6 if name in CREATING else generation == 5, "nobody has passed here"
        for _ in range(2):  # the second one has nothing to do
            with opened(place) as (table, found):
                at = found.generation if found else 0
                assert at in (0 if generation == 5 else 5, generation)
                step = next_step(table, found, states[at], states[generation])
                if step is not None:
                    table.write(step, generation)
        assert step is None
        present = {file.rpartition("-")[2] for file in states[generation].files}
        assert len(ids(place)) == 2 * len(present)
    # Files over which a library was killed may stay as it made them, in private directories, until more is written.
    write(place, Step(parts[:1], ()), 7)
    check_modes(place)


#: Only a new table goes through these.
CREATING = {"create_table_with_add_actions", "create_namespace"}


# Expiry.


@pytest.mark.parametrize("place", ["iceberg on a disk", "iceberg on S3"], indirect=True)
def test_snapshots_that_need_what_is_gone(place: TablePlace) -> None:
    parts = [part(place, number) for number in range(4)]
    for number in range(4):
        write(
            place,
            Step(parts[number : number + 1], parts[number - 1 : number] if number else ()),
            number + 1,
        )
    with opened(place) as (table, _):
        assert set(table.generations()) == {1, 2, 3, 4}
        before = manifests(place)
        table.expire({1, 2, 3, 4})
        assert manifests(place) == before
        table.expire({3})
    with opened(place) as (table, _):
        assert set(table.generations()) == {3, 4}, "the newest stays, whatever it needs"
    assert manifests(place) < before
    with open_iceberg(place) as found:
        assert [found.scan(snapshot_id=one.snapshot_id).count() for one in found.snapshots()] == [2, 2]
    check_modes(place)


def manifests(place: TablePlace) -> set[str]:
    return {path for path in place.paths() if path.endswith(".avro")}


# Steps, without a table.


class Anything:
    """Stands in for a table of which only the names matter."""

    name = "conversations"
    where = "there"


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.booleans(), st.booleans())
def test_a_step_leads_from_one_state_to_the_other(then: set[int], now: set[int], new: bool, touched: bool) -> None:
    def numbered(number: int, table: str) -> DataFile:
        return DataFile(
            path=f"{table}/part-{number}.parquet",
            table=table,
            partition={},
            rows=number,
            size_bytes=number,
            sha256="",
            created_at_min=0,
            created_at_max=0,
            window=Interval(0, 1),
        )

    before = state(1, [numbered(number, table) for number in then for table in ("conversations", "turns")])
    after = state(2, [numbered(number, table) for number in now for table in ("conversations", "turns")])
    made_ = {file.path: (file.size_bytes, file.rows) for file in files_of(before, "conversations").values()}
    found = None if new else TableContents(1, {**made_, "conversations/theirs.parquet": (1, 1)} if touched else made_)
    table: Any = Anything()
    if touched and not new:
        with pytest.raises(ForeignTableError, match="theirs"):
            next_step(table, found, before, after)
        return
    step = next_step(table, found, before, after)
    if step is None:
        assert not new
        assert then == now
        return
    files = {} if new else dict(files_of(before, "conversations"))
    for file in step.removes:
        del files[file.path]
    for file in step.adds:
        assert file.path not in files
        files[file.path] = file
    assert files == files_of(after, "conversations")


def log(count: int, seed: int) -> list[Commit]:
    chance = random.Random(seed)
    author = Author(run="r", host="h", pid=1)
    commits: list[Commit] = []
    live: list[DataFile] = []
    for number in range(1, count + 1):
        start = number * HOUR
        adds = [
            DataFile(
                path=f"conversations/part-r-{number:06d}.parquet",
                table="conversations",
                partition={},
                rows=1,
                size_bytes=1,
                sha256="",
                created_at_min=start,
                created_at_max=start,
                window=Interval(start, start + HOUR),
            )
        ]
        removes = [chance.choice(live)] if live and chance.random() < 0.5 else []
        live = [file for file in [*live, *adds] if file not in removes]
        commits.append(
            Commit(
                format_version=FORMAT_VERSION,
                number=number,
                export_id="x",
                author=author,
                committed_at=number,
                kind="begin" if number == 1 else "export",
                request=Request() if number == 1 else None,
                range=Interval(0, 100 * HOUR) if number == 1 else None,
                change=Change(covers=(adds[0].window,), adds=tuple(adds), removes=tuple(file.path for file in removes)),
            )
        )
    return commits


@given(st.integers(1, 12), st.sets(st.integers(1, 12)), st.integers(0, 1000))
def test_a_generation_is_readable_while_all_its_parts_are_there(count: int, generations: set[int], seed: int) -> None:
    commits = log(count, seed)
    found = {number: fold(commits[:number]) for number in generations if number <= count}
    there = set(fold(commits).files)
    assert readable(found, there) == {number for number, one in found.items() if set(one.files) <= there}
