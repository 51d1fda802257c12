"""Iceberg tables in buckets are what they are on a disk, in each kind of catalog, whatever is lost, raced or killed."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.update import SetLocationUpdate

from exporter.errors import DestinationError, ForeignTableError, StoreError, UsageError
from exporter.lake import catalogs, iceberg
from exporter.lake.files import BUCKET, BucketFiles
from exporter.lake.follow import check_place
from exporter.lake.iceberg_metadata import list_metadata
from exporter.lake.pointer import ExportCatalog
from exporter.lake.table import Step, TableContents
from exporter.model import DataFile, TableFormat
from exporter.store.location import Location, Url, parse_location
from exporter.store.objects.bucket import Bucket
from tests.toolkit.clouds import S3, Answer, AskedRequest, Cloud
from tests.toolkit.engines import collected
from tests.toolkit.iceberg_places import (
    CATALOGS,
    METADATA,
    CatalogKind,
    IcebergPlacing,
    iceberg_places,
)
from tests.toolkit.lake import scan_iceberg
from tests.toolkit.sizes import size_of, some_of


@pytest.fixture(scope="module")
def placing(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IcebergPlacing]:
    with iceberg_places(s3, tmp_path_factory.mktemp("catalogs")) as place:
        yield place


@pytest.fixture(autouse=True)
def an_open_gate(s3: S3) -> None:
    s3.gate.asked.clear()


def sizes(files: list[DataFile]) -> dict[str, tuple[int, int | None]]:
    return {file.path: (file.size_bytes, 2) for file in files}


@pytest.mark.parametrize("kind", some_of(CATALOGS, "own", "rest"))
def test_a_table_in_a_bucket(kind: CatalogKind, placing: IcebergPlacing) -> None:
    place = placing(kind, "with space/ümläut/it's +1&2=3")
    assert place.shown() is None
    assert place.bucket.sizes("") == {}, "reading leaves nothing"
    parts = [place.part(number) for number in range(3)]
    place.write(parts[:2], [], 7)
    assert place.shown() == TableContents(7, sizes(parts[:2]))
    place.write(parts[2:], parts[:1], 9)
    assert place.shown() == TableContents(9, sizes(parts[1:]))
    table = place.by_reader()
    assert place.ids() == {"1a", "1b", "2a", "2b"}
    old, _ = table.snapshots()
    assert set(table.scan(snapshot_id=old.snapshot_id).to_arrow()["id"].to_pylist()) == {"0a", "0b", "1a", "1b"}
    newest = parts[2].created_at_max
    found = collected(scan_iceberg(table).filter(pl.col("created_at").dt.epoch("us") >= newest))
    assert found["id"].to_pylist() == ["2b"]
    by_path = collected(pl.scan_iceberg(table.metadata_location, storage_options=place.properties))
    assert set(by_path["id"].to_pylist()) == place.ids()
    assert table.location() == f"{place.url}/_iceberg/conversations"
    assert not [name for name in table.properties if "bucket" in name or "io" in name.split("-")]


def test_a_table_in_a_bucket_of_google(placing: IcebergPlacing, gcs: Cloud) -> None:
    place = placing("own", cloud=gcs)
    parts = [place.part(number) for number in range(3)]
    place.write(parts[:2], [], 7)
    place.write(parts[2:], parts[:1], 9)
    assert place.shown() == TableContents(9, sizes(parts[1:]))


# Lost answers.

LOST = [Answer(500, "InternalError", is_done=True), Answer(0, is_done=True)]
FAULTS: list[tuple[CatalogKind, Answer]] = [
    *(("own", one) for one in LOST),
    ("glue", Answer(400, '{"__type": "ConcurrentModificationException", "Message": "no"}', is_done=True)),
    ("glue", Answer(400, '{"__type": "AlreadyExistsException", "Message": "no"}', is_done=True)),
    *(("rest", one) for one in LOST),
    ("rest", Answer(409, '{"error": {"message": "no", "type": "CommitFailedException", "code": 409}}', is_done=True)),
]


class Loser:
    """Answers the `nth` commit that a catalog is asked for, or the `nth` write of a table without one."""

    def __init__(self, kind: CatalogKind, answer: Answer, nth: int) -> None:
        self.kind = kind
        self.answer = answer
        self.left = nth
        self.writes = 0

    def __call__(self, asked: AskedRequest) -> Answer | None:
        match self.kind:
            case "own":
                is_meant = asked.method == "PUT" and METADATA in asked.path
            case "glue":
                is_meant = asked.action in ("CreateTable", "UpdateTable")
            case _:
                is_meant = asked.method == "POST" and asked.path.endswith("/tables/conversations")
        if not is_meant:
            return None
        self.writes += 1
        return self.answer if self.writes == self.left else None


@pytest.mark.parametrize(("kind", "answer"), some_of(FAULTS, *FAULTS[1:4], *FAULTS[5:]))
def test_each_write_whose_answer_is_lost(
    kind: CatalogKind, answer: Answer, placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = placing(kind)
    assert place.gate is not None
    parts = [place.part(number) for number in range(18)]
    live: list[DataFile] = []
    most = 0
    # One write of a table without a catalog is up to seven, of which it loses another each time.
    for generation in range(1, 9 if kind == "own" else 3):
        fresh, removes = parts[2 * generation - 2 : 2 * generation], live[:1]
        loser = Loser(kind, answer, generation if kind == "own" else 1)
        with monkeypatch.context() as patch:
            patch.setattr(place.gate, "answers", loser)
            place.write(fresh, removes, generation)
        most = max(most, loser.writes)
        live = [*live[1:], *fresh]
        assert place.shown() == TableContents(generation, sizes(live))
    assert len(place.ids()) == 2 * len(live)
    assert most == (7 if kind == "own" else 1)


def test_otherwise_a_lost_answer_loses_the_table(placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what makes answers sure, the test above would fail."""
    place = placing("glue")
    assert place.gate is not None
    parts = [place.part(number) for number in range(2)]
    place.write(parts[:1], [], 1)
    monkeypatch.setattr(catalogs, "sure", lambda catalog: catalog)
    monkeypatch.setattr(place.gate, "answers", Loser("glue", FAULTS[2][1], 1))
    with pytest.raises(StoreError, match="at the same time"):
        place.write(parts[1:], [], 2)
    with pytest.raises(FileNotFoundError):
        place.ids()


@pytest.mark.parametrize("kind", ["own", "rest"])
def test_a_write_that_was_refused_changes_nothing(
    kind: CatalogKind, placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = placing(kind)
    assert place.gate is not None
    parts = [place.part(number) for number in range(2)]
    place.write(parts[:1], [], 1)
    with monkeypatch.context() as patch:
        patch.setattr(place.gate, "answers", lambda asked: Loser(kind, Answer(403, "AccessDenied"), 1)(asked))
        with pytest.raises(StoreError, match="AccessDenied" if kind == "own" else "ForbiddenError"):
            place.write(parts[1:], parts[:1], 2)
    assert place.shown() == TableContents(1, sizes(parts[:1]))
    assert place.ids() == {"0a", "0b"}
    place.write(parts[1:], parts[:1], 2)
    assert place.ids() == {"1a", "1b"}


# Others.


@pytest.mark.parametrize(
    ("kind", "at_the_very_write"), [("own", False), ("own", True), ("rest", False), ("sql", False)]
)
def test_of_two_writers_one_fails(
    kind: CatalogKind, at_the_very_write: bool, placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = placing(kind)
    parts = [place.part(number) for number in range(3)]
    place.write(parts[:1], [], 1)
    with place.opened() as table:
        if at_the_very_write:
            swap = Bucket.swap

            def later(bucket: Bucket, path: str, *more: Any) -> Any:
                monkeypatch.setattr(Bucket, "swap", swap)
                place.write(parts[1:2], [], 2)
                return swap(bucket, path, *more)

            monkeypatch.setattr(Bucket, "swap", later)
        else:
            place.write(parts[1:2], [], 2)
        with pytest.raises(StoreError, match="at the same time"):
            table.write(Step(parts[2:], ()), 2)
    assert place.shown() == TableContents(2, sizes(parts[:2]))
    assert place.ids() == {"0a", "0b", "1a", "1b"}


def test_what_others_have_written_is_seen(placing: IcebergPlacing) -> None:
    place = placing("own")
    parts = [place.part(0)]
    place.write(parts, [], 1)
    theirs = ExportCatalog(place.bucket).load_table("n.conversations")
    added = place.open()._file(place.part(1), theirs.metadata)
    with theirs.transaction() as transaction, transaction.update_snapshot().fast_append() as snapshot:
        snapshot.append_data_file(added)
    found = place.shown()
    assert found is not None
    assert (found.generation, len(found.files)) == (1, 2)


def test_a_vacuum_spares_what_was_written_meanwhile(placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placing("own")
    parts = [place.part(number) for number in range(2)]
    place.write(parts[:1], [], 1)
    listed = list_metadata

    def later(*arguments: Any) -> set[str]:
        place.write(parts[1:], [], 2)
        return listed(*arguments)

    with place.opened() as table:
        monkeypatch.setattr(iceberg, "list_metadata", later)
        table.expire({1, 2})
    assert place.ids() == {"0a", "0b", "1a", "1b"}


@pytest.mark.parametrize("kind", ["own", "glue"])
def test_a_table_that_was_copied_elsewhere(kind: CatalogKind, placing: IcebergPlacing) -> None:
    place, other = placing(kind), placing("own", "other/prefix")
    place.write([place.part(0)], [], 1)
    if kind == "own":
        for path in place.bucket.sizes(""):
            stored = place.bucket.get(path)
            assert stored is not None
            other.bucket.put(path, stored.data, "overwrite")
    else:
        other = replace(other, format=place.format)
    with pytest.raises(ForeignTableError, match="moved or copied") as caught:
        other.shown()
    assert str(place.url) in str(caught.value)
    assert "delete the table's log" in str(caught.value)


# Kills.


class KillError(BaseException):
    """Ends a run as a kill ends a process: nothing catches it."""


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_each_write(after: bool, placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placing("own")
    parts = [place.part(number) for number in range(2)]
    put, counted, last = Bucket.put, itertools.count(1), 0

    def die(bucket: Bucket, *arguments: Any) -> Any:
        is_last = next(counted) == last
        if is_last and not after:
            raise KillError
        done = put(bucket, *arguments)
        if is_last:
            raise KillError
        return done

    shown: list[DataFile] = []
    last_generation = size_of(2, 4)
    for generation in range(1, last_generation + 1):
        wanted = [parts[generation % 2]]
        for kill in range(1, 9):
            counted, last = itertools.count(1), kill
            with monkeypatch.context() as patch:
                patch.setattr(Bucket, "put", die)
                try:
                    place.write(wanted, shown, generation)
                except KillError:
                    pass
                else:
                    break
            found = place.shown()
            if found is not None and found.generation == generation:
                break
            assert found == (TableContents(generation - 1, sizes(shown)) if shown else None)
        shown = wanted
        assert place.shown() == TableContents(generation, sizes(shown))
        assert last >= 3
    # What kills have left behind, a vacuum sweeps.
    before = len(place.bucket.sizes(METADATA))
    with place.opened() as table:
        table.expire({last_generation})
    assert len(place.bucket.sizes(METADATA)) < before
    assert place.ids() == {"0a", "0b"}


# What does not grow.


def test_requests_and_files_are_bounded(placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placing("own")
    assert place.gate is not None
    monkeypatch.setattr(iceberg, "_PROPERTIES", {**iceberg._PROPERTIES, "write.metadata.previous-versions-max": "5"})
    parts = [place.part(number) for number in range(60)]
    live: list[DataFile] = []
    reads, writes, puts = 0, 0, 0
    for generation in range(1, 20):
        fresh, removes = parts[3 * generation - 3 : 3 * generation], live[:2]
        with place.opened() as table:
            place.gate.asked.clear()
            table.read()
            reads = max(reads, len(place.gate.asked))
            table.write(Step(fresh, removes), generation)
            writes = max(writes, sum(one.method == "GET" for one in place.gate.asked))
            puts = max(puts, sum(one.method == "PUT" for one in place.gate.asked))
        live = [*live[2:], *fresh]
    assert reads <= 25
    assert writes <= 40
    assert puts <= 10
    names = {path.rpartition("/")[2] for path in place.bucket.sizes(METADATA)}
    assert {name for name in names if name.startswith("v")} == {
        "version-hint.text",
        *(f"v{version}.metadata.json" for version in range(14, 20)),
    }
    with place.opened() as table:
        table.expire({19})
        assert table.generations() == {19}
    swept = {path.rpartition("/")[2] for path in place.bucket.sizes(METADATA)}
    assert len([name for name in swept if name.endswith(".avro")]) <= 22
    assert place.shown() == TableContents(19, sizes(live))


def test_a_hint_that_was_not_written(placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placing("own")
    assert place.gate is not None
    monkeypatch.setattr(iceberg, "_PROPERTIES", {**iceberg._PROPERTIES, "write.metadata.previous-versions-max": "1"})
    parts = [place.part(number) for number in range(6)]
    hint, hidden = f"{METADATA}/version-hint.text", Answer(403, "AccessDenied")
    place.write(parts[:1], [], 1)
    with monkeypatch.context() as patch:
        patch.setattr(place.gate, "answers", lambda one: hidden if one.method == "PUT" and hint in one.path else None)
        for generation in (2, 3, 4):
            place.write(parts[generation - 1 : generation], [], generation)
    found = place.bucket.get(hint)
    assert found is not None
    assert found.data == b"1"
    # A reader of the hint still finds the old version whole, and the exporter the new one.
    assert place.ids() == {"0a", "0b"}
    shown = place.shown()
    assert shown == TableContents(4, sizes(parts[:4]))
    assert not shown.is_found
    # A run that has nothing to write still helps that reader.
    with place.opened() as table:
        table.maintain()
    assert place.ids() == {f"{number}{which}" for number in range(4) for which in "ab"}
    shown = place.shown()
    assert shown is not None
    assert shown.is_found
    for garbage in (b"", b"0", b"x", b"\xff", b"7" * 20, b"9" * 5000):
        place.bucket.put(hint, garbage, "overwrite")
        shown = place.shown()
        assert shown == TableContents(4, sizes(parts[:4])), garbage
        assert not shown.is_found
    place.write(parts[4:5], [], 5)
    assert place.ids() == {f"{number}{which}" for number in range(5) for which in "ab"}
    place.bucket.delete([hint])
    assert place.shown() == TableContents(5, sizes(parts[:5]))
    place.write(parts[5:], [], 6)
    assert len(place.ids()) == 12
    found = place.bucket.get(hint)
    assert found is not None
    assert found.data == b"6"


def test_a_vacuum_deletes_versions_that_were_left(placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placing("own")
    monkeypatch.setattr(iceberg, "_PROPERTIES", {**iceberg._PROPERTIES, "write.metadata.previous-versions-max": "1"})
    with monkeypatch.context() as patch:
        patch.setattr(ExportCatalog, "_delete_dropped", lambda *_: None)
        for generation in range(1, 5):
            place.write([place.part(generation)], [], generation)

    def versions() -> list[str]:
        names = [path.rpartition("/")[2] for path in place.bucket.sizes(METADATA)]
        return sorted(name for name in names if name.endswith(".metadata.json"))

    assert len(versions()) == 4
    hint = f"{METADATA}/version-hint.text"
    for said in (b"2", b"4"):
        place.bucket.put(hint, said, "overwrite")
        with place.opened() as table:
            table.expire({1, 2, 3, 4})
        assert len(versions()) == (4 if said == b"2" else 2), "what a hint names stays"
    assert versions() == ["v3.metadata.json", "v4.metadata.json"]
    assert len(place.ids()) == 8


# Refusals.


def test_a_catalog_that_assigns_another_place(placing: IcebergPlacing, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placing("rest")
    assert place.server is not None
    with monkeypatch.context() as patch:
        patch.setattr(place.server, "assigns", lambda location: f"{location}-5f3a")
        with pytest.raises(DestinationError, match=r"-5f3a.*Allow the namespace"):
            place.write([place.part(0)], [], 1)
    assert place.shown() is None
    # One that tells it only afterwards has the table dropped again.
    commit = SqlCatalog.commit_table

    def elsewhere(catalog: SqlCatalog, table: Any, requirements: Any, updates: Any) -> Any:
        moved = SetLocationUpdate(location=f"{place.url}/elsewhere")
        return commit(catalog, table, requirements, (*updates, moved))

    monkeypatch.setattr(SqlCatalog, "commit_table", elsewhere)
    with pytest.raises(DestinationError, match="elsewhere"):
        place.write([place.part(0)], [], 1)
    assert place.shown() is None


@pytest.mark.parametrize(
    ("location", "settings", "said"),
    [
        (Url("az", "container", "a"), {}, "no az://"),
        (Url("s3", "bucket", "a"), {"WAREHOUSE": "arn:aws:s3tables:us-east-1:1:bucket/b"}, "S3 Tables"),
        (Path("here"), {"URI": "https://s3tables.us-east-1.amazonaws.com/iceberg"}, "S3 Tables"),
        (Path("here"), {"GLUE__ID": "111122223333:s3tablescatalog/b"}, "S3 Tables"),
    ],
)
def test_places_that_cannot_be(
    location: Location, settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"PYICEBERG_CATALOG__PROD__{name}", value)
    format_ = TableFormat(kind="iceberg", catalog="prod" if settings else None)
    with pytest.raises(DestinationError, match=said):
        check_place(format_, location)
    # An export that is there, too, is refused before anything is asked of a catalog.
    check_place(TableFormat(kind="iceberg", catalog="other"), Url("s3", "bucket", "a"))


@pytest.mark.parametrize("letter", "#?%")
def test_no_url_holds_what_readers_misunderstand(letter: str) -> None:
    for text in (f"s3://bucket/a{letter}b", f"s3://buc{letter}ket/a"):
        with pytest.raises(UsageError):
            parse_location(text)


def test_files_outside_the_export(placing: IcebergPlacing) -> None:
    place = placing("own")
    files = BucketFiles({BUCKET: place.bucket})
    for location in (f"{place.url}-more/x", f"{place.url}/../x", "s3://another/x", "/etc/passwd"):
        with pytest.raises(StoreError, match="inside"):
            files.new_input(location).exists()
        with pytest.raises(StoreError, match="inside"), files.new_output(location).create():
            pass
        with pytest.raises(StoreError, match="inside"):
            files.delete(location)
