"""Other programs read every row of an export where it lies: on a disk, in S3, in Azure and in Google's store."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

import exporter
from exporter import blocking
from exporter.contract import DAY
from exporter.sandbox import TOKEN, make_conversations
from tests.end_to_end.export_directory import assert_same
from tests.end_to_end.records import SINCE, Record, records
from tests.toolkit.clouds import S3, Cloud
from tests.toolkit.engines import clickhouse_engine, duckdb_engine
from tests.toolkit.lake import records_of
from tests.toolkit.manual import serving
from tests.toolkit.readers import Place, Readers

#: Half of the last day.
LATE = datetime(2024, 1, 5, 12, tzinfo=UTC)
ROWS = make_conversations(120, SINCE, SINCE + 5 * DAY, seed=3, density="flat")


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def places(
    s3: S3, azure: Cloud, gcs: Cloud, tmp_path_factory: pytest.TempPathFactory, environment: pytest.MonkeyPatch
) -> dict[str, Place]:
    """Returns an empty place on a disk and in each cloud, by its scheme; the environment leads there."""
    found = {"file": Place(str(tmp_path_factory.mktemp("readers")))}
    for cloud in (s3, azure, gcs):
        cloud.make_bucket("readers")
        for name, value in cloud.environment.items():
            environment.setenv(name, value)
        found[cloud.scheme] = Place(f"{cloud.scheme}://readers", cloud)
    return found


@pytest.fixture(scope="module")
def readers(places: dict[str, Place]) -> Iterator[Readers]:
    with duckdb_engine() as duckdb, clickhouse_engine() as clickhouse:
        for place in places.values():
            if place.cloud is not None:
                duckdb.ask(place.secret)
        yield Readers(duckdb, clickhouse)


def late(expected: dict[str, Record]) -> dict[str, Record]:
    return {identity: record for identity, record in expected.items() if record["created_at"] >= LATE}


@pytest.mark.parametrize("scheme", ["file", "s3", "az", "gs"])
def test_the_files(scheme: str, places: dict[str, Place], readers: Readers) -> None:
    place = places[scheme] / "files"
    with serving(ROWS) as url:
        blocking.export(exporter.ExportSpec(destination=place.uri, base_url=url, token=TOKEN, until="2024-02-01"))
    expected = records(ROWS)
    assert 0 < len(late(expected)) < len(expected)
    for name, read in readers.of_files().items():
        print(name)
        assert_same(records_of(read(place, None, None)), expected)
        assert_same(records_of(read(place, None, LATE)), late(expected))
