"""An export in a time zone has its partitions, and every later command keeps to it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import msgspec
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

import exporter
from exporter.contract import DAY, parse_timestamp
from exporter.errors import DestinationError, UsageError
from exporter.jobs.audit import audit
from exporter.jobs.compact import compact
from exporter.jobs.export import export
from exporter.jobs.reread import reread
from exporter.jobs.sync import sync
from exporter.jobs.verify import verify
from exporter.layout import commit_path
from exporter.log.commits import load_state
from exporter.options.spec import ExportSpec
from exporter.partitions import partition_of
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import make_conversations
from exporter.sandbox.clock import system_clock
from exporter.sandbox.service import serve
from exporter.settings import Credentials, PartitionBy, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.export_directory import ExportDirectory, assert_same
from tests.end_to_end.records import SINCE, UNTIL, records

pytestmark = pytest.mark.anyio

ZONE = "Asia/Kathmandu"
ROWS = make_conversations(120, SINCE, UNTIL)
KEYS = {"day": "created_date", "hour": "created_hour", "week": "created_week", "month": "created_month"}
FORMATS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H%z", "week": "%G-W%V", "month": "%Y-%m"}


def context(source: Any) -> RunContext:
    return RunContext(RunSettings(base_url=source.url), Credentials(source.token), Quiet())


def asked(by: PartitionBy = "day", zone: str | None = ZONE, **more: Any) -> Selection:
    return Selection(since=SINCE, until=UNTIL, partition_by=by, timezone=zone, **more)


def spec_in(**options: Any) -> Selection:
    return ExportSpec(token="ak_x", **options).resolve({}).asked


def by_duckdb(root: Path, key: str) -> list[tuple[datetime, Any]]:
    files = f"read_parquet('{root}/conversations/**/part-*.parquet', hive_partitioning = true)"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT created_at, {key} FROM {files}").fetchall()


def by_polars(root: Path, key: str) -> list[tuple[datetime, Any]]:
    rows = pl.scan_parquet(root / "conversations/**/part-*.parquet", hive_partitioning=True)
    return rows.select("created_at", key).collect().rows()


def by_pandas(root: Path, key: str) -> list[tuple[datetime, Any]]:
    rows = pd.read_parquet(root / "conversations", columns=["created_at", key])
    return list(zip(rows["created_at"].dt.to_pydatetime(), rows[key].astype(str), strict=True))


def by_pyarrow(root: Path, key: str) -> list[tuple[datetime, Any]]:
    rows = ds.dataset(root / "conversations", partitioning="hive").to_table(columns=["created_at", key])
    return [(row["created_at"], row[key]) for row in rows.to_pylist()]


def by_open_dataset(root: Path, key: str) -> list[tuple[datetime, Any]]:
    rows = exporter.open_dataset(root).to_table(columns=["created_at", key])
    return [(row["created_at"], row[key]) for row in rows.to_pylist()]


READERS: list[Callable[[Path, str], list[tuple[datetime, Any]]]] = [
    by_duckdb,
    by_polars,
    by_pandas,
    by_pyarrow,
    by_open_dataset,
]


@pytest.mark.parametrize("zone", ["UTC", ZONE])
@pytest.mark.parametrize("by", ["day", "hour", "week", "month"])
async def test_every_reader_finds_the_local_time_as_the_partition(by: PartitionBy, zone: str, tmp_path: Path) -> None:
    async with serve(ROWS) as source:
        await export(tmp_path, asked(by, zone), context(source))
    format_ = FORMATS[by].removesuffix("%z") if zone == "UTC" else FORMATS[by]
    for read in READERS:
        found = read(tmp_path, KEYS[by])
        assert len(found) == len(ROWS), read
        for created_at, value in found:
            assert str(value) == created_at.astimezone(ZoneInfo(zone)).strftime(format_), read
    assert_same(ExportDirectory(tmp_path).records(), records(ROWS))


async def test_duckdb_reads_the_key_of_an_hour_as_the_instant_at_which_it_begins(tmp_path: Path) -> None:
    async with serve(ROWS) as source:
        await export(tmp_path, asked("hour"), context(source))
    for created_at, begins in by_duckdb(tmp_path, "strptime(created_hour, '%Y-%m-%dT%H%z')"):
        assert timedelta(0) <= created_at - begins < timedelta(hours=1)


async def test_it_is_stored_and_kept_by_every_command(tmp_path: Path) -> None:
    root = tmp_path / "out"
    async with serve(ROWS) as source:
        await export(root, asked("week"), context(source))
        source.update(str(ROWS[3].facts()["id"]), system_clock(), summary="new")
        await sync(root, Selection(), context(source))
        await reread(root, Selection(since=SINCE, until=SINCE + 20 * DAY), context(source))
        await compact(root, target_bytes=1 << 26, memory_bytes=RunSettings().memory_bytes, observer=Quiet())
        found = await audit(root, Selection(), context(source), now=system_clock())
        assert found.same
    assert not (await verify(root, now=system_clock())).problems
    state = await load_state(LocalStore(root))
    assert state.request is not None
    assert (state.request.timezone, state.request.partition_by) == (ZONE, "week")
    for file in state.files.values():
        ends = [partition_of(instant, "week", ZONE)[0] for instant in (file.created_at_min, file.created_at_max)]
        assert ends == [file.partition, file.partition]
    assert ExportDirectory(root).manifest["request"]["timezone"] == ZONE


async def test_another_one_is_refused_with_the_difference(tmp_path: Path) -> None:
    async with serve(ROWS) as source:
        await export(tmp_path / "local", asked(), context(source))
        with pytest.raises(DestinationError, match=f"time zone: {ZONE} stored, Europe/Berlin asked for"):
            await export(tmp_path / "local", asked(zone="Europe/Berlin"), context(source))
        with pytest.raises(DestinationError, match=f"time zone: {ZONE} stored, UTC asked for"):
            await export(tmp_path / "local", asked(zone="UTC"), context(source))
        await export(tmp_path / "utc", asked(zone=None), context(source))
        with pytest.raises(DestinationError, match=f"time zone: UTC stored, {ZONE} asked for"):
            await export(tmp_path / "utc", asked(), context(source))
        assert not (await export(tmp_path / "utc", asked(zone="UTC"), context(source))).changed


@pytest.mark.parametrize(
    ("by", "zone", "version"), [("day", None, 1), ("day", "UTC", 1), ("week", None, 3), ("day", ZONE, 3)]
)
async def test_only_what_older_exporters_do_not_know_has_a_newer_format(
    by: PartitionBy, zone: str | None, version: int, tmp_path: Path
) -> None:
    async with serve(ROWS) as source:
        await export(tmp_path, asked(by, zone), context(source))
    first = msgspec.json.decode((tmp_path / commit_path(1)).read_bytes())
    assert first["format_version"] == version
    assert first["request"]["timezone"] == ExportDirectory(tmp_path).manifest["request"]["timezone"] == (zone or "UTC")


async def test_times_without_an_offset_are_in_the_stored_zone(tmp_path: Path) -> None:
    async with serve(ROWS) as source:
        await export(tmp_path, spec_in(since="2024-01-10", until="2024-01-12", timezone=ZONE), context(source))
        await export(tmp_path, spec_in(since="2024-01-09"), context(source))
        range_ = ExportDirectory(tmp_path).manifest["range"]
        assert range_ == {"start": "2024-01-08T18:15:00Z", "end": "2024-01-11T18:15:00Z"}
        day = await audit(
            tmp_path, spec_in(since="2024-01-10", until="2024-01-11"), context(source), now=system_clock()
        )
        assert day.audited.start == datetime(2024, 1, 9, 18, 15, tzinfo=UTC)
        again = await reread(tmp_path, spec_in(since="2024-01-11"), context(source))
        assert [period.start for period in again.intervals] == [datetime(2024, 1, 10, 18, 15, tzinfo=UTC)]
        # An offset of its own needs no zone.
        await export(tmp_path, spec_in(since="2024-01-08T00:00:00Z"), context(source))
        assert ExportDirectory(tmp_path).manifest["range"]["start"] == "2024-01-08T00:00:00Z"


def local(zone: str, ago: timedelta) -> str:
    """Returns the local time of a while ago, as a person types it."""
    return (datetime.now(ZoneInfo(zone)) - ago).strftime("%Y-%m-%dT%H:%M:%S")


#: Local times there are in the future, or long past, if they are read in UTC.
AHEAD, BEHIND = "Asia/Kathmandu", "America/Los_Angeles"


async def test_a_time_near_now_is_judged_in_the_stored_zone(tmp_path: Path) -> None:
    async with serve(ROWS) as source:
        await export(tmp_path, spec_in(since="2024-01-10", timezone=AHEAD), context(source))
        recently = local(AHEAD, timedelta(hours=1))
        assert not (await export(tmp_path, spec_in(since=recently), context(source))).changed
        assert (await export(tmp_path, spec_in(until=recently), context(source))).end_ahead is None
        assert len((await reread(tmp_path, spec_in(since=recently), context(source))).intervals) == 1
        assert (await audit(tmp_path, spec_in(since=recently), context(source), now=system_clock())).same
        await sync(tmp_path, spec_in(since=recently), context(source))


async def test_a_time_to_come_in_the_stored_zone_is_refused_by_every_command(tmp_path: Path) -> None:
    async with serve(ROWS) as source:
        await export(tmp_path, spec_in(since="2024-01-10", timezone=BEHIND), context(source))
        before, soon = len(source.requests), local(BEHIND, timedelta(hours=-1))
        wanted, said = spec_in(since=soon), set[str]()
        for run in (export, sync, reread, partial(audit, now=system_clock())):
            with pytest.raises(UsageError, match="nothing to export: the range starts at") as raised:
                await run(tmp_path, wanted, context(source))
            said.add(str(raised.value))
        assert len(said) == 1
        assert len(source.requests) == before


async def test_an_audit_counts_by_local_day(tmp_path: Path) -> None:
    root = tmp_path / "out"
    async with serve(ROWS) as source:
        await export(root, asked(), context(source))
        found = await audit(root, Selection(), context(source), now=system_clock())
    days = [record["created_at"].astimezone(ZoneInfo(ZONE)).date() for record in records(ROWS).values()]
    assert {day: counts["kept"] for day, counts in found.findings.days.items()} == {
        day: days.count(day) for day in set(days)
    }


def test_times_of_a_program_are_in_the_zone_that_it_names() -> None:
    selected = spec_in(since=datetime(2026, 2, 10), until=datetime(2026, 2, 11), timezone="europe/berlin")
    assert selected.timezone == "Europe/Berlin"
    assert selected.in_zone is None
    assert (selected.since, selected.until) == (
        parse_timestamp("2026-02-09T23:00:00Z"),
        parse_timestamp("2026-02-10T23:00:00Z"),
    )
