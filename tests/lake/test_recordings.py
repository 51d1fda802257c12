"""Recordings are a Delta or Iceberg table like the others, from the first run on that keeps some."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from anyio import to_thread
from deltalake import DeltaTable

from exporter.contract import END_OF_TIME, HOUR
from exporter.jobs.audit import audit
from exporter.jobs.compact import compact
from exporter.jobs.export import export
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import verify
from exporter.lake.follow import write_tables
from exporter.model import TableFormat
from exporter.progress import Quiet
from exporter.run.claim import Claim
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from tests.jobs.moving import moving_source, run_sync, settings_for
from tests.toolkit.lake import KINDS, Kind, delta_rows, iceberg, versions
from tests.toolkit.recorded import add_rows, check_media, conversations, recordings, row_of, state_of, with_claim

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def a_planner_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


def keep(root: Path, names: Mapping[str, str | None]) -> None:
    """Keeps recordings, as a run does that brings the tables into step in the end."""
    times = conversations(root)

    async def work(claim: Claim) -> None:
        await add_rows(claim, [(row_of(name, times[name], audio), audio) for name, audio in names.items()])
        await write_tables(claim.store, claim.log.state)

    with_claim(root, work)


def read(kind: Kind, root: Path, version: int | None = None) -> dict[str, dict[str, Any]]:
    """Returns the rows that a reader of the table finds, which must be those that another one finds."""
    if kind == "delta":
        found = [
            delta_rows(DeltaTable(root / "recordings", version=version)),
            pl.scan_delta(root / "recordings", version=version).collect().to_arrow(),
        ]
    else:
        with iceberg(root, "recordings") as table:
            found = [
                table.scan(snapshot_id=version).to_arrow(),
                pl.scan_iceberg(table, snapshot_id=version).collect().to_arrow(),
            ]
    one, other = map(_by_id, found)
    assert one == other
    return one


def _by_id(table: pa.Table) -> dict[str, dict[str, Any]]:
    rows = table.drop_columns([name for name in table.column_names if name == "created_date"]).to_pylist()
    found = {row["conversation_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def exists(kind: Kind, root: Path) -> bool:
    place = "recordings/_delta_log" if kind == "delta" else "_iceberg/recordings"
    return (root / place).exists()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_table_follows_from_the_first_recording_on(kind: Kind, tmp_path: Path) -> None:
    async with moving_source(1) as source:
        names = [source.insert(source.now - (2 + 11 * number) * HOUR) for number in range(6)]
        await run_sync(tmp_path, source, Selection(table_format=TableFormat(kind=kind)))
        assert not exists(kind, tmp_path), "nobody has asked for recordings"
        await to_thread.run_sync(keep, tmp_path, {names[0]: "", names[1]: None, names[2]: ""})
        assert await to_thread.run_sync(read, kind, tmp_path) == recordings(tmp_path)
        first, then = recordings(tmp_path), state_of(tmp_path).number
        await to_thread.run_sync(keep, tmp_path, {names[1]: "", names[3]: "", names[4]: None})
        assert await to_thread.run_sync(read, kind, tmp_path) == recordings(tmp_path)
        source.delete(names[2])
        context = RunContext(settings_for(source), Credentials(TOKEN), Quiet())
        await audit(tmp_path, Selection(), context, now=source.now, repair=True, delete=True)
        assert recordings(tmp_path).keys() == {names[0], names[1], names[3], names[4]}
        await compact(tmp_path, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())
        assert await to_thread.run_sync(read, kind, tmp_path) == recordings(tmp_path)
        # An older version still has its rows, though media that they name may be gone.
        version = versions(tmp_path, kind, "recordings")[then]
        assert await to_thread.run_sync(read, kind, tmp_path, version) == first
        check_media(tmp_path)
        assert (await verify(tmp_path, now=source.now, media=True)).problems == ()
        await vacuum(tmp_path, before=END_OF_TIME, now=source.now)
        assert await to_thread.run_sync(read, kind, tmp_path) == recordings(tmp_path)
        assert (await verify(tmp_path, now=source.now)).problems == ()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_export_with_recordings_becomes_a_table(kind: Kind, tmp_path: Path) -> None:
    async with moving_source(2) as source:
        names = [source.insert(source.now - (2 + 11 * number) * HOUR) for number in range(3)]
        await run_sync(tmp_path, source)
        await to_thread.run_sync(keep, tmp_path, dict.fromkeys(names, ""))
        asked = Selection(table_format=TableFormat(kind=kind))
        await export(tmp_path, asked, RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        assert await to_thread.run_sync(read, kind, tmp_path) == recordings(tmp_path)


async def test_a_table_that_lost_damaged_media_follows(tmp_path: Path) -> None:
    async with moving_source(3) as source:
        names = [source.insert(source.now - (2 + 11 * number) * HOUR) for number in range(3)]
        await run_sync(tmp_path, source, Selection(table_format=TableFormat(kind="delta")))
        await to_thread.run_sync(keep, tmp_path, dict.fromkeys(names, ""))
        (tmp_path / recordings(tmp_path)[names[1]]["path"]).unlink()
        assert (await verify(tmp_path, now=source.now, repair=True)).dropped_recordings == 1
        assert recordings(tmp_path).keys() == {names[0], names[2]}
        assert await to_thread.run_sync(read, "delta", tmp_path) == recordings(tmp_path)
        assert (await verify(tmp_path, now=source.now)).problems == ()
