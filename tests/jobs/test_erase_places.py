"""An erasure reaches older versions of tables, what repairs have put aside, what killed runs have left, and buckets."""

from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anyio import to_thread
from deltalake import DeltaTable

from exporter.contract import DAY, HOUR
from exporter.jobs.audit import audit
from exporter.jobs.export import export
from exporter.jobs.verify import verify
from exporter.lake.place import LakePlace
from exporter.log.commits import load_state
from exporter.model import TableFormat
from exporter.settings import Selection
from exporter.store.local.store import LocalStore
from exporter.store.location import Url
from exporter.store.open import open_store
from tests.jobs.erasing import ids, names, parts
from tests.jobs.made import NOW
from tests.jobs.moving import fill, moving_source
from tests.jobs.test_erase import ANN, context_of, erased, filled, put_ann, synced, verified
from tests.toolkit.clouds import S3
from tests.toolkit.lake import KINDS, Kind, delta_rows, iceberg, readers, versions

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]
SHUT: Final = ("conversations",)


@pytest.fixture(autouse=True)
def a_planner_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


@pytest.mark.parametrize("kind", KINDS)
async def test_no_version_of_a_table_holds_the_person(tmp_path: Path, kind: Kind) -> None:
    async with moving_source(9) as source:
        fill(source, 30, user_id="somebody")
        hers = put_ann(source)
        await synced(tmp_path, source, table_format=TableFormat(kind=kind))
        for identity in (*hers, "c3"):
            source.update(identity, summary="changed")
        await synced(tmp_path, source)
        before = versions(tmp_path, kind)
        assert len(before) == 2
        done = await erased(tmp_path, by="user_id", values=[ANN])
        assert (done.exit_status, done.erased.conversations, done.erased.table_versions) == (0, 3, 2)
        for name, read in readers(kind).items():
            shown = read(tmp_path, None)
            assert len(shown) == 30, name
            assert not {*hers} & shown.keys(), name
        if kind == "iceberg":
            assert not {*before.values()} & {*versions(tmp_path, kind).values()}
            with iceberg(tmp_path) as table:
                assert len(table.snapshots()) == 1
        else:
            for version in before.values():
                with pytest.raises(Exception, match=r"(?i)not found|no such file"):
                    delta_rows(DeltaTable(tmp_path / "conversations", version=version))
        assert (await verified(tmp_path)).problems == ()
        await synced(tmp_path, source)
        assert len(ids(tmp_path)) == 30


@pytest.mark.parametrize("kind", KINDS)
async def test_a_table_of_an_export_that_is_not_whole_also_lets_go(tmp_path: Path, kind: Kind) -> None:
    async with moving_source(9) as source:
        fill(source, 30, user_id="somebody")
        hers = put_ann(source, 1)
        await synced(tmp_path, source, table_format=TableFormat(kind=kind))
        state = await load_state(LocalStore(tmp_path))
        lost = next(file.path for file in state.conversations if file.path not in _holding(tmp_path, hers))
        (tmp_path / lost).write_bytes(b"damaged")
        await verify(tmp_path, now=NOW, repair=True)
        done = await erased(tmp_path, by="user_id", values=[ANN])
        assert (done.state, done.erased.conversations) == ("incomplete", 1)
        (name, read), *_ = readers(kind).items()
        assert not {*hers} & read(tmp_path, None).keys(), name


def _holding(root: Path, wanted: list[str]) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in parts(root)
        if {*wanted} & {*pq.ParquetFile(path).read(["id"])["id"].to_pylist()}
    }


async def test_what_a_repair_put_aside_goes_and_the_others_in_it_stay(tmp_path: Path) -> None:
    async with filled(tmp_path, tables=SHUT) as (source, hers):
        (path,) = _holding(tmp_path, hers[:1])
        others = {*pq.ParquetFile(tmp_path / path).read(["id"])["id"].to_pylist()} - {*hers}
        # Sound, but with a row that another part has as well: a repair takes it out with its bytes as they were.
        state = await load_state(LocalStore(tmp_path))
        (tmp_path / path).rename(tmp_path / "aside.parquet")
        await verify(tmp_path, now=NOW, repair=True)
        dropped = tmp_path / "_exporter" / "dropped" / "somebody" / f"{path}.dropped"
        dropped.parent.mkdir(parents=True)
        (tmp_path / "aside.parquet").rename(dropped)
        assert state.number
        done = await erased(tmp_path, by="user_id", values=[ANN])
        assert (done.exit_status, done.erased.dropped_files, done.left) == (0, 1, ())
        assert not dropped.exists()
        (rest,) = (tmp_path / "_exporter" / "dropped").rglob("*.parquet.dropped")
        assert {*pq.ParquetFile(rest).read(["id"])["id"].to_pylist()} == others
        await export(tmp_path, Selection(), context_of(source))
        assert not {*hers} & ids(tmp_path)


async def test_a_dropped_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    async with filled(tmp_path, tables=SHUT) as (_, hers):
        dropped = tmp_path / "_exporter" / "dropped" / "r1" / "conversations" / "part-x.parquet.dropped"
        dropped.parent.mkdir(parents=True)
        dropped.write_bytes(b"PAR1 nobody knows PAR1")
        done = await erased(tmp_path, ids=hers)
        assert (done.exit_status, done.finished) == (3, ())
        assert done.left == (f"{dropped.relative_to(tmp_path)}: cannot be read, so that nobody knows what it holds",)
        assert (await verified(tmp_path)).exit_status == 1
        dropped.unlink()
        again = await erased(tmp_path)
        assert (again.exit_status, len(again.finished)) == (0, 1)


async def test_a_copy_beside_the_parts_is_named(tmp_path: Path) -> None:
    async with filled(tmp_path, tables=SHUT) as (_, hers):
        pq.write_table(
            pa.table({"id": hers, "user_id": [ANN] * len(hers)}), tmp_path / "conversations" / "copy.parquet"
        )
        done = await erased(tmp_path, ids=hers)
        assert done.exit_status == 3
        assert done.left == ("conversations/copy.parquet: still holds rows of what was erased",)


async def test_what_killed_runs_have_left_goes_first(tmp_path: Path) -> None:
    async with filled(tmp_path, tables=SHUT) as (_, hers):
        (path,) = _holding(tmp_path, hers[:1])
        data = (tmp_path / path).read_bytes()
        (tmp_path / path).with_name("part-killed-000001.parquet").write_bytes(data)
        (tmp_path / "_exporter" / "staging" / "killed-000002.partial").write_bytes(data)
        done = await erased(tmp_path, ids=hers)
        assert (done.exit_status, len(done.finished)) == (0, 1)
        assert not {*hers} & ids(tmp_path)
        assert not [*(tmp_path / "_exporter" / "staging").iterdir()]


async def test_in_a_bucket(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    s3.make_bucket("erasing")
    place = Url(s3.scheme, "erasing", "some/where")
    async with moving_source(10) as source:
        fill(source, 20, user_id="somebody")
        hers = put_ann(source)
        source.now += HOUR
        asked = Selection(tables=("conversations", "turns"), table_format=TableFormat(kind="delta"))
        await export(place, asked, context_of(source))
        done = await erased(place, by="user_id", values=[ANN])  # type: ignore[arg-type]
        assert (done.exit_status, done.erased.conversations, len(done.finished)) == (0, 3, 1)
        assert done.erased.table_versions == 2
        async with open_store(place) as store:
            options = LakePlace.of(store).options()
            for name, column in (("conversations", "id"), ("turns", "conversation_id")):
                table = await to_thread.run_sync(partial(DeltaTable, f"{place}/{name}", storage_options={**options}))
                rows = await to_thread.run_sync(delta_rows, table)
                assert {*hers}.isdisjoint(rows[column].to_pylist())
            for path in await store.list(""):
                async with store.fetched(path) as there:
                    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / path).write_bytes(there.read_bytes())
            state = await load_state(store)
        assert len(ids(tmp_path)) == 20
        assert not {*hers} & (ids(tmp_path) | ids(tmp_path, "turns"))
        assert not names(tmp_path, [ANN, *(f'"{name}"' for name in hers)])
        certificate = (tmp_path / state.privacy.erasures[0].certificate).read_text()
        assert "soft-deleted objects of the bucket" in certificate
        found = await verify(place, now=NOW)
        assert (found.problems, found.exit_status) == ((), 0)
        source.now += DAY
        compared = await audit(place, Selection(), context_of(source), now=source.now)
        assert (compared.exit_status, compared.erased) == (0, 3)


async def test_a_kept_file_that_is_gone_holds_nobody(tmp_path: Path) -> None:
    async with moving_source(9) as source:
        fill(source, 30, user_id="somebody")
        hers = put_ann(source)
        await synced(tmp_path, source, table_format=TableFormat(kind="delta"))
        (lost, *_) = _holding(tmp_path, hers[:1])
        (tmp_path / lost).unlink()
        await verify(tmp_path, now=NOW, repair=True)
        assert lost in (await load_state(LocalStore(tmp_path))).kept
        done = await erased(tmp_path, ids=hers)
        assert (done.exit_status, done.erased.conversations) == (0, 2)
        assert lost not in (await load_state(LocalStore(tmp_path))).kept
        await synced(tmp_path, source)
        assert not {*hers} & ids(tmp_path)
