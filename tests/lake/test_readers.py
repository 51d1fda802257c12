"""Other programs read every row of an export where it lies: on a disk, in S3, in Azure and in Google's store."""

import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog

import exporter
from exporter import blocking
from exporter.contract import DAY, format_instant
from exporter.lake import catalogs
from exporter.lake.files import BUCKET, BucketFiles
from exporter.lake.follow import open_tables
from exporter.lake.table import Step, files_of
from exporter.layout import delta_log
from exporter.log.commits import load_state
from exporter.sandbox import TOKEN, make_conversations
from exporter.store.location import Url, parse_location
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from exporter.store.open import open_store
from tests.end_to_end.export_directory import assert_same
from tests.end_to_end.records import SINCE, Record, microseconds, records
from tests.toolkit.clouds import AZURE_ACCOUNT, Cloud
from tests.toolkit.clouds import serving as serving_application
from tests.toolkit.engines import clickhouse_engine, collected, duckdb_engine
from tests.toolkit.lake import Kind, records_of, scan_iceberg
from tests.toolkit.manual import serving
from tests.toolkit.readers import DELTA, FILES, ICEBERG, ICEBERG_IN_GOOGLE, Place, Read, Readers, iceberg_table
from tests.toolkit.rest_catalog import RestCatalog
from tests.toolkit.sizes import some_of

DAYS = 5
#: Makes pyiceberg's own catalog read and write by the exporter's bucket.
FILE_IO = f"{BucketFiles.__module__}.{BucketFiles.__qualname__}"
#: In a bucket, this version of a Delta table has a checkpoint.
CHECKPOINT = 25
#: Half of the last day.
LATE = datetime(2024, 1, 5, 12, tzinfo=UTC)
ROWS = make_conversations(120, SINCE, SINCE + DAYS * DAY, seed=3, density="flat")


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def places(
    s3_process: Cloud,
    azure_tables: Cloud,
    gcs: Cloud,
    tmp_path_factory: pytest.TempPathFactory,
    environment: pytest.MonkeyPatch,
) -> dict[str, Place]:
    """Returns an empty place on a disk and in each cloud, by its scheme; the environment leads there."""
    found = {"file": Place(str(tmp_path_factory.mktemp("readers")))}
    # A process that takes tests over from another may come here twice, to the same clouds.
    bucket = f"readers-{secrets.token_hex(4)}"
    for cloud in (s3_process, azure_tables, gcs):
        cloud.make_bucket(bucket)
        for name, value in cloud.environment.items():
            environment.setenv(name, value)
        found[cloud.scheme] = Place(f"{cloud.scheme}://{bucket}", cloud)
    return found


@pytest.fixture(scope="module")
def readers(places: dict[str, Place]) -> Iterator[Readers]:
    # The library that reads Delta for DuckDB looks for the account of the emulators at this address.
    emulator = {"AZURITE_BLOB_STORAGE_URL": places["az"].endpoint.removesuffix(f"/{AZURE_ACCOUNT}")}
    disk = Path(places["file"].uri)
    with duckdb_engine(environment=emulator) as duckdb, clickhouse_engine(disk) as clickhouse:
        for place in places.values():
            if place.cloud is not None:
                duckdb.ask(place.secret)
        yield Readers(duckdb, clickhouse)


def late(expected: dict[str, Record]) -> dict[str, Record]:
    return {identity: record for identity, record in expected.items() if record["created_at"] >= LATE}


def export_to(
    place: Place, *ends: int, table_format: Kind | None = None, iceberg_catalog: str | None = None
) -> list[dict[str, Record]]:
    """Makes an export that grows to these days, and returns what it held each time."""
    with serving(ROWS) as url:
        for days in ends:
            until = format_instant(SINCE + days * DAY)
            spec = exporter.ExportSpec(
                destination=place.uri,
                base_url=url,
                token=TOKEN,
                until=until,
                table_format=table_format,
                iceberg_catalog=iceberg_catalog,
            )
            assert blocking.export(spec).state == "complete"
    return [records(ROWS, until=SINCE + days * DAY) for days in ends]


def check(
    reads: Mapping[str, Read],
    place: Place,
    expected: dict[str, Record],
    version: int | None = None,
    filtered: bool = False,
) -> None:
    for name, read in reads.items():
        for since in (None, LATE) if filtered else (None,):
            try:
                assert_same(records_of(read(place, version, since)), late(expected) if since else expected)
            except Exception as error:
                error.add_note(f"{name}, version {version}, since {since}")
                raise


@pytest.mark.parametrize("scheme", FILES)
def test_the_files(scheme: str, places: dict[str, Place], readers: Readers) -> None:
    place = places[scheme] / "files"
    (expected,) = export_to(place, DAYS)
    assert 0 < len(late(expected)) < len(expected)
    check(readers.of_files(), place, expected, filtered=True)


@pytest.mark.parametrize("scheme", some_of(DELTA, "file"))
def test_delta_tables(scheme: str, places: dict[str, Place], readers: Readers) -> None:
    """This holds for each version, and for the newest one before, at and after a checkpoint."""
    place, reads = places[scheme] / "delta", readers.of_delta()
    before, expected = export_to(place, 2, DAYS, table_format="delta")
    check(reads, place, expected, filtered=True)
    check(reads, place, before, version=0, filtered=True)
    found = {}
    for version in (CHECKPOINT - 1, CHECKPOINT, CHECKPOINT + 1):
        found[version] = anyio.run(write_version, place, version, expected)
        check(reads, place, found[version], filtered=version > CHECKPOINT)
    for version in (CHECKPOINT - 1, CHECKPOINT):
        check(reads, place, found[version], version)


@pytest.mark.parametrize("scheme", some_of(ICEBERG, "file"))
def test_iceberg_tables(scheme: str, places: dict[str, Place], readers: Readers) -> None:
    place, reads = places[scheme] / "iceberg", readers.of_iceberg()
    before, expected = export_to(place, 2, DAYS, table_format="iceberg")
    check(reads, place, expected, filtered=True)
    with iceberg_table(place) as table:
        first = table.snapshots()[0].snapshot_id
    check(reads, place, before, first, filtered=True)


def test_iceberg_tables_in_googles_store(places: dict[str, Place], readers: Readers) -> None:
    place = places["gs"] / "iceberg"
    (expected,) = export_to(place, DAYS, table_format="iceberg")
    reads = {name: read for name, read in readers.of_iceberg().items() if name in ICEBERG_IN_GOOGLE}
    check(reads, place, expected, filtered=True)


def test_a_rest_catalog(
    places: dict[str, Place], readers: Readers, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pyiceberg, Polars and DuckDB read by it what the exporter has registered there."""
    place = places["s3"] / "listed"
    url = Url("s3", urlsplit(place.uri).netloc)
    sql = SqlCatalog("server", uri=f"sqlite:///{tmp_path}/server.db", **{"py-io-impl": FILE_IO})
    with sql:
        sql.properties = {**sql.properties, BUCKET: Bucket(url, open_bucket(url))}
        with serving_application(RestCatalog(sql)) as address:
            # pyiceberg has read its configuration already.
            known = {"type": "rest", "uri": address, **place.properties}
            environment.setattr(catalogs, "load_catalog", lambda name: load_catalog(name, **known))
            before, expected = export_to(place, 2, DAYS, table_format="iceberg", iceberg_catalog="listed/calls")
            table = load_catalog("listed", **known).load_table("calls.conversations")
            first = table.snapshots()[0].snapshot_id
            readers.duckdb.ask(
                f"ATTACH 'w' AS listed (TYPE iceberg, ENDPOINT '{address}', AUTHORIZATION_TYPE 'none', "
                "ACCESS_DELEGATION_MODE 'none')"
            )
            for version, wanted in ((None, expected), (first, before)):
                at = "" if version is None else f" AT (VERSION => {version})"
                assert_same(records_of(table.scan(snapshot_id=version).to_arrow()), wanted)
                assert_same(records_of(collected(scan_iceberg(table, version))), wanted)
                assert_same(records_of(readers.duckdb.ask(f"SELECT * FROM listed.calls.conversations{at}")), wanted)


async def write_version(place: Place, version: int, expected: dict[str, Record]) -> dict[str, Record]:
    """Takes a file out of the table, or puts it back, in this version. Versions before it change nothing.

    Returns the rows of the table.
    """
    async with open_store(parse_location(place.uri)) as store:
        state = await load_state(store)
        with open_tables(store, state) as (table,):
            file = max(files_of(state, table.name).values(), key=lambda file: file.rows)
            shown = table.read()
            assert shown is not None
            last = DeltaTable(f"{place.uri}/conversations", storage_options=place.options).version()
            for number in range(last + 1, version):
                path = f"{delta_log(table.name)}/{number:020}.json"
                assert await store.create(path, b'{"commitInfo": {"timestamp": 0, "operation": "WRITE"}}\n')
            table.read()
            is_there = file.path in shown.files
            table.write(Step((), (file,)) if is_there else Step((file,), ()), shown.generation + 1)
            table.maintain()
        last_checkpoint = await store.read(f"{delta_log(table.name)}/_last_checkpoint")
        assert (last_checkpoint is not None) == (place.cloud is not None and version >= CHECKPOINT)
    window = range(file.created_at_min, file.created_at_max + 1)
    return {key: row for key, row in expected.items() if not is_there or microseconds(row["created_at"]) not in window}
