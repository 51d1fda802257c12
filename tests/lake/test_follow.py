"""Delta and Iceberg tables show other readers all that was committed, in every version."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from deltalake import DeltaTable
from pyiceberg.catalog.sql import SqlCatalog

from exporter.cli.upkeep_report import describe_verified
from exporter.contract import BASE_URL_VARIABLE, END_OF_TIME, TOKEN_VARIABLE
from exporter.errors import DestinationError, ForeignTableError, OvertakenError, UsageError
from exporter.jobs.compact import compact
from exporter.jobs.export import export
from exporter.jobs.status import status
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import verify
from exporter.lake import follow
from exporter.lake.kept import KeptTables
from exporter.layout import RUNS
from exporter.log.commits import load_state
from exporter.model import TABLES, TableFormat
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from exporter.store.local.store import LocalStore
from exporter.store.location import Location
from exporter.store.open import open_store
from exporter.words import install_command
from tests.end_to_end.export_directory import ExportDirectory, assert_same, check_private
from tests.end_to_end.records import Record
from tests.jobs.moving import Source, moving_source, run_sync, settings_for
from tests.toolkit.lake import KINDS, Kind, by_duckdb, delta_table, readers, versions
from tests.toolkit.sizes import some_of
from tests.toolkit.table_places import DELTA_PLACES, PLACES, TablePlace

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.anyio

#: Ends itself where a run is about to write the tables; everything before is committed, and in the manifest.
KILLED = """
import os, signal, sys
import exporter.run.finish
from exporter.cli import main

async def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

exporter.run.finish.write_tables = die
main(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def a_planner_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


def move(source: Source, times: int) -> None:
    for _ in range(times):
        source.move()


async def killed(destination: Location, source: Source) -> None:
    environment = {**os.environ, BASE_URL_VARIABLE: source.sandbox.url, TOKEN_VARIABLE: TOKEN}
    options = ["--page-size", "7", "--part-size", "20kB", "--trust-clock", "server"]
    command = [sys.executable, "-c", KILLED, "sync", str(destination), *options]
    done = await anyio.run_process(command, env=environment, check=False, stderr=subprocess.STDOUT)
    assert done.returncode == -signal.SIGKILL, done.stdout.decode()


@pytest.mark.parametrize("place", some_of(PLACES, "iceberg on a disk", "delta on S3"), indirect=True)
async def test_each_version_reads_back_exact(place: TablePlace) -> None:
    """This holds after an export, two syncs, and a third that is killed when everything except the table is written."""
    destination, kind = place.location, place.kind
    expected: dict[int, dict[str, Record]] = {}

    def note() -> None:
        exported = ExportDirectory(place.mirror())
        expected[exported.manifest["generation"]] = exported.records()

    async def check(newest: int) -> None:
        named = versions(place, kind)
        assert named.keys() == expected.keys()
        all_readers = {**readers(kind), **({"DuckDB": by_duckdb} if kind == "delta" and place.bucket is None else {})}
        for read in all_readers.values():
            assert_same(await anyio.to_thread.run_sync(read, place, None), expected[newest])
            before = max({*expected} - {newest})
            assert_same(await anyio.to_thread.run_sync(read, place, named[before]), expected[before])

    async with moving_source(5) as source:
        move(source, 60)
        await run_sync(destination, source, Selection(table_format=TableFormat(kind=kind)))
        note()
        for _ in range(2):
            move(source, 40)
            await run_sync(destination, source)
            note()
        assert len(expected) == 3
        await check(max(expected))

        move(source, 40)
        source.now += 120_000_000
        synced = max(expected)
        await killed(destination, source)
        named = versions(place, kind)
        assert max(named) == synced, "the table has got ahead of the run"
        for read in readers(kind).values():
            assert_same(await anyio.to_thread.run_sync(read, place, None), expected[synced])
        found = await verify(destination, now=source.now)
        assert [problem.what for problem in found.problems] == ["behind"]

        asked = Selection()
        summary = await export(destination, asked, RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        assert summary.requests == 0
        assert summary.changed
        note()
        await check(max(expected))
        assert (await verify(destination, now=source.now)).sound
        again = await export(destination, asked, RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        assert not again.changed
    check_private(place.mirror())


@asynccontextmanager
async def grown(place: TablePlace, syncs: int) -> AsyncIterator[Source]:
    """Makes an export with a table, and this many syncs that each replaced files."""
    async with moving_source(7) as source:
        move(source, 60)
        await run_sync(place.location, source, Selection(table_format=TableFormat(kind=place.kind)))
        for _ in range(syncs):
            move(source, 40)
            await run_sync(place.location, source)
        yield source


@pytest.mark.parametrize("place", some_of(PLACES, "iceberg on a disk", "delta on a disk"), indirect=True)
async def test_a_vacuum_deletes_what_only_old_versions_need(place: TablePlace) -> None:
    destination, kind = place.location, place.kind
    async with grown(place, 2) as source:
        whole = await anyio.to_thread.run_sync(next(iter(readers(kind).values())), place, None)
        before = await place.state()
        assert len(before.replaced) == 2
        assert place.parts() == before.files.keys() | before.kept
        # This is what the first sync has replaced, but not what the second has.
        cut = before.replaced[1].at
        told = await vacuum(destination, before=cut, now=source.now, dry_run=True)
        assert (await place.state(), place.parts()) == (before, before.files.keys() | before.kept)
        assert await vacuum(destination, before=cut, now=source.now) == told
        after = await place.state()
        assert after.kept == before.replaced[1].paths - before.files.keys()
        assert told.files == len(before.kept) - len(after.kept) > 0
        assert place.parts() == after.files.keys() | after.kept
        named = versions(place, kind)
        # Iceberg has forgotten the first version; of Delta's, the files are gone.
        *gone, second, _ = sorted(named)
        assert len(gone) == (kind == "delta")
        for read in readers(kind).values():
            assert await anyio.to_thread.run_sync(read, place, named[second])
            assert_same(await anyio.to_thread.run_sync(read, place, None), whole)
            for first in gone:
                with pytest.raises(Exception, match=r"(?i)no such file|not found|nosuchkey|blobnotfound"):
                    await anyio.to_thread.run_sync(read, place, named[first])
        assert (await vacuum(destination, before=cut, now=source.now)).files == 0
        assert (await vacuum(destination, before=END_OF_TIME, now=source.now)).kept_files == 0
        assert place.parts() == after.files.keys()
        assert (await verify(destination, now=source.now)).sound
        move(source, 20)
        await run_sync(destination, source)
        read = next(iter(readers(kind).values()))
        assert_same(await anyio.to_thread.run_sync(read, place, None), ExportDirectory(place.mirror()).records())


@pytest.mark.parametrize("place", some_of(DELTA_PLACES, "delta on a disk"), indirect=True)
async def test_a_vacuum_spares_what_a_table_shows_that_has_fallen_behind(place: TablePlace) -> None:
    destination = place.location
    async with grown(place, 1) as source:
        shown = shown_by_delta(place)
        move(source, 40)
        source.now += 120_000_000
        await killed(destination, source)
        # It would be brought into step first, if all of the range were there.
        path = min((await place.state()).files)
        place.delete(path)
        await verify(destination, now=source.now, repair=True)
        assert (await place.state()).left
        assert shown - {path} <= place.parts()
        await vacuum(destination, before=END_OF_TIME, now=source.now)
        assert shown - {path} <= place.parts()
        await export(destination, Selection(), RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        await vacuum(destination, before=END_OF_TIME, now=source.now)
        assert place.parts() == (await place.state()).files.keys() == shown_by_delta(place)


def shown_by_delta(place: TablePlace) -> set[str]:
    uris = delta_table(place).file_uris()
    return {f"conversations/{uri.partition('/conversations/')[2]}" for uri in uris}


async def test_a_vacuum_without_a_table_deletes_what_generations_keep(tmp_path: Path) -> None:
    async with moving_source(7) as source:
        move(source, 60)
        await run_sync(tmp_path, source, keep_generations=5)
        move(source, 40)
        await run_sync(tmp_path, source)
        kept = (await load_state(LocalStore(tmp_path))).kept
        assert kept
        assert (await vacuum(tmp_path, before=END_OF_TIME, now=source.now)).files == len(kept)
        ExportDirectory(tmp_path).check_sound()


@pytest.mark.parametrize("place", some_of(PLACES, "iceberg on a disk", "delta on Azure"), indirect=True)
async def test_an_export_that_is_there_becomes_a_table(place: TablePlace) -> None:
    destination, kind = place.location, place.kind
    async with moving_source(3) as source:
        move(source, 60)
        await run_sync(destination, source)
        before = place.parts()
        asked = Selection(table_format=TableFormat(kind=kind))
        summary = await export(destination, asked, RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        assert (summary.requests, summary.changed, summary.table_kind) == (0, True, kind)
        assert place.parts() == before
        for read in readers(kind).values():
            assert_same(await anyio.to_thread.run_sync(read, place, None), ExportDirectory(place.mirror()).records())
        kept, found = (await status(destination)).table_format, await verify(destination, now=source.now)
        assert kept is not None
        own = kind == "iceberg" and place.bucket is None
        above = "_iceberg/" if kind == "iceberg" else ""
        assert kept == KeptTables(
            kind=kind,
            catalog=f"{destination}/_iceberg/catalog.db" if own else None,
            namespace="exporter" if own else None,
            places={"conversations": f"{destination}/{above}conversations"},
        )
        assert (found.sound, found.tables) == (True, ("conversations",))
        assert "compared with the log, as tables that others read: conver" in "".join(
            describe_verified(found, destination)
        )
        other = Selection(table_format=TableFormat(kind="iceberg" if kind == "delta" else "delta"))
        # In Azure there can be no Iceberg tables, whatever is stored.
        nowhere = str(destination).startswith("az:")
        why = "no place for Iceberg tables" if nowhere else f"kept as {kind}, and cannot become"
        with pytest.raises(DestinationError, match=why):
            await export(destination, other, RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        with pytest.raises(UsageError, match="--keep-generations"):
            await run_sync(destination, source, keep_generations=2)


@pytest.mark.parametrize("place", some_of(DELTA_PLACES, "delta on a disk"), indirect=True)
async def test_a_table_that_others_have_written_to_is_left_alone(place: TablePlace) -> None:
    destination = place.location
    async with grown(place, 0) as source:
        delta_table(place).delete("status = 'completed'")
        version = delta_table(place).version()
        move(source, 40)
        with pytest.raises(ForeignTableError, match=r"not as the exporter left it(?s:.*)verify names them"):
            await run_sync(destination, source)
        assert delta_table(place).version() == version
        # Everything else is done.
        exported = ExportDirectory(place.mirror())
        assert exported.state == "complete"
        found = await verify(destination, now=source.now)
        # The file that the other writer made also lies there.
        assert ({problem.what for problem in found.problems}, found.exit_status) == ({"table", "stranger"}, 6)
        assert found.tables == ("conversations",)
        with pytest.raises(ForeignTableError):
            await vacuum(destination, before=END_OF_TIME, now=source.now)
        # Once the table is restored, the export goes on.
        delta_table(place).restore(0)
        for problem in found.problems:
            if problem.what == "stranger":
                place.delete(problem.file)
        await export(destination, Selection(), RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        assert (await verify(destination, now=source.now)).sound
        read = readers("delta")["deltalake"]
        assert_same(await anyio.to_thread.run_sync(read, place, None), exported.records())


@pytest.mark.parametrize("altered", TABLES)
async def test_a_table_that_others_have_written_to_keeps_no_other_from_its_step(altered: str, tmp_path: Path) -> None:
    (other,) = set(TABLES) - {altered}
    async with moving_source(3) as source:
        move(source, 20)
        await run_sync(tmp_path, source, Selection(table_format=TableFormat(kind="delta"), tables=TABLES))
        DeltaTable(tmp_path / altered).delete("true")
        versions = {table: DeltaTable(tmp_path / table).version() for table in TABLES}
        move(source, 20)
        with pytest.raises(ForeignTableError, match=altered):
            await run_sync(tmp_path, source)
        after = {table: DeltaTable(tmp_path / table).version() for table in TABLES}
        assert after == versions | {other: versions[other] + 1}


async def test_a_place_that_cannot_be_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    misread = tmp_path / "100%"
    async with moving_source(3) as source:
        move(source, 20)
        await run_sync(tmp_path / "calls", source, Selection(table_format=TableFormat(kind="delta")))
    (tmp_path / "calls").rename(misread)
    journal = (misread / RUNS).read_bytes()
    # The source is gone.
    with pytest.raises(DestinationError, match="100%: no place for Delta tables"):
        await run_sync(misread, source)
    with pytest.raises(DestinationError, match="100%: no place for Delta tables"):
        await vacuum(misread, before=END_OF_TIME, now=source.now)
    assert (misread / RUNS).read_bytes() == journal


async def test_a_damaged_table_can_be_made_again(tmp_path: Path) -> None:
    async with grown(TablePlace("delta", tmp_path, tmp_path), 0) as source:
        log = tmp_path / "conversations/_delta_log"
        next(log.glob("*.json")).write_bytes(b'{"add": {"pa')
        found = await verify(tmp_path, now=source.now)
        assert ([problem.what for problem in found.problems], found.exit_status) == (["table"], 6)
        move(source, 5)
        with pytest.raises(ForeignTableError, match=r"damaged[\s\S]*delete the table's log"):
            await run_sync(tmp_path, source)
        shutil.rmtree(log)
        await export(tmp_path, Selection(), RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        assert (await verify(tmp_path, now=source.now)).sound


async def test_a_table_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    async with grown(TablePlace("iceberg", tmp_path, tmp_path), 1) as source:
        shutil.rmtree(tmp_path / "_iceberg")
        found = await verify(tmp_path, now=source.now)
        assert [problem.what for problem in found.problems] == ["behind"]
        await export(tmp_path, Selection(), RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        read = readers("iceberg")["pyiceberg"]
        assert_same(await anyio.to_thread.run_sync(read, tmp_path, None), ExportDirectory(tmp_path).records())


@pytest.mark.parametrize("place", some_of(DELTA_PLACES, "delta on a disk"), indirect=True)
async def test_a_repair_brings_a_table_into_step(place: TablePlace) -> None:
    async with grown(place, 1) as source:
        place.delete("conversations/_delta_log")
        found = await verify(place.location, now=source.now, repair=True)
        assert [(problem.what, problem.mended) for problem in found.problems] == [("behind", True)]
        assert shown_by_delta(place) == (await place.state()).files.keys()
        # So does a vacuum that has nothing to delete.
        place.delete("conversations/_delta_log")
        assert (await vacuum(place.location, before=0, now=source.now)).files == 0
        assert shown_by_delta(place) == (await place.state()).files.keys()


@pytest.mark.parametrize("place", some_of(DELTA_PLACES, "delta on a disk"), indirect=True)
async def test_a_run_that_was_overtaken_says_so(place: TablePlace) -> None:
    async with grown(place, 0) as source:
        before = await place.state()
        move(source, 40)
        await run_sync(place.location, source)
        shown = shown_by_delta(place)
        async with open_store(place.location) as store:
            with pytest.raises(OvertakenError):
                await follow.write_tables(store, before)
        assert shown_by_delta(place) == shown == (await place.state()).files.keys()


async def test_a_log_beside_no_table_is_a_stranger(tmp_path: Path) -> None:
    async with grown(TablePlace("iceberg", tmp_path, tmp_path), 0) as source:
        (tmp_path / "conversations/_delta_log").mkdir()
        (tmp_path / "conversations/_delta_log/00000000000000000000.json").touch()
        found = await verify(tmp_path, now=source.now)
        assert [problem.what for problem in found.problems] == ["stranger"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_not_installed(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with moving_source(3) as source:
        move(source, 10)
        monkeypatch.setattr(follow, "find_spec", lambda _: None)
        with pytest.raises(UsageError, match=re.escape(install_command(follow._PACKAGES[kind]))):
            await run_sync(tmp_path / "new", source, Selection(table_format=TableFormat(kind=kind)))
        assert not (tmp_path / "new").exists()
        monkeypatch.undo()
        await run_sync(tmp_path / "there", source, Selection(table_format=TableFormat(kind=kind)))
        monkeypatch.setattr(follow, "find_spec", lambda _: None)
        with pytest.raises(UsageError, match="is not installed"):
            await compact(tmp_path / "there", target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())


def test_the_extras_are_what_is_asked_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {kind: [package] for kind, package in follow._PACKAGES.items()} == {
        kind: [requirement.partition(">=")[0] for requirement in extras[kind]] for kind in KINDS
    }


def test_the_floor_of_deltalake_has_what_is_used() -> None:
    """Files are added and removed in one transaction by `RemoveAction`, which came with 1.6.4."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (floor,) = re.findall(r"^deltalake>=([\d.]+)$", "\n".join(extras["delta"]), re.MULTILINE)
    assert tuple(map(int, floor.split("."))) >= (1, 6, 4)


async def test_a_catalog_of_the_users_own(tmp_path: Path) -> None:
    """The catalog is named by pyiceberg's configuration, which this process has read long ago."""
    async with moving_source(3) as source:
        move(source, 60)
        source.now += 120_000_000
        environment = {
            **os.environ,
            BASE_URL_VARIABLE: source.sandbox.url,
            TOKEN_VARIABLE: TOKEN,
            "PYICEBERG_CATALOG__PROD__TYPE": "sql",
            "PYICEBERG_CATALOG__PROD__URI": f"sqlite:///{tmp_path}/prod.db",
        }
        options = ["--table-format", "iceberg", "--iceberg-catalog", "prod/calls"]
        command = [sys.executable, "-m", "exporter", "sync", str(tmp_path / "export"), "--trust-clock", "server"]
        for arguments in (options, []):
            done = await anyio.run_process([*command, *arguments], env=environment, check=False)
            assert done.returncode == 0, done.stderr.decode()
        exported = ExportDirectory(tmp_path / "export")
        assert exported.manifest["table_format"] == {"kind": "iceberg", "catalog": "prod", "namespace": "calls"}
        assert not (tmp_path / "export/_iceberg/catalog.db").exists()
        with SqlCatalog("prod", uri=f"sqlite:///{tmp_path}/prod.db") as catalog:
            rows = catalog.load_table("calls.conversations").scan().to_arrow().to_pylist()
        assert_same({row["id"]: row for row in rows}, exported.records())
        exported.check_sound()
        # Elsewhere the catalog may have another name, or none.
        nameless = {name: value for name, value in environment.items() if "ICEBERG" not in name}
        done = await anyio.run_process([*command], env=nameless, check=False)
        assert (done.returncode, done.stderr.decode().count("prod: conversations: cannot be read")) == (1, 1)


@pytest.mark.parametrize("place", some_of(["iceberg on a disk", "iceberg on S3"], "iceberg on a disk"), indirect=True)
async def test_an_erasure_that_was_overtaken_takes_no_version_out(place: TablePlace) -> None:
    async with moving_source(6) as source:
        move(source, 20)
        await run_sync(place.location, source, Selection(table_format=TableFormat(kind="iceberg")))
        stale = await place.state()
        for _ in range(2):
            move(source, 15)
            await run_sync(place.location, source)
    before = versions(place, "iceberg")
    assert len(before) == 3
    async with open_store(place.location) as store:
        with pytest.raises(OvertakenError):
            await follow.let_go(store, stale)
    assert versions(place, "iceberg") == before


@pytest.mark.parametrize("place", ["iceberg on S3"], indirect=True)
async def test_a_run_with_nothing_to_do_writes_the_hint(place: TablePlace) -> None:
    hint = "_iceberg/conversations/metadata/version-hint.text"
    async with moving_source(6) as source:
        move(source, 10)
        await run_sync(place.location, source, Selection(table_format=TableFormat(kind="iceberg")))
        newest = place.read(hint)
        place.write(hint, b"x")
        found = await verify(place.location, now=source.now)
        assert [problem.what for problem in found.problems] == ["behind"]
        await export(place.location, Selection(), RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        assert place.read(hint) == newest
        assert (await verify(place.location, now=source.now)).sound
