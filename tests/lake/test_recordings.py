"""Recordings are a table of the table format, from the first run that keeps some."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from exporter.lake.follow import are_written, write_tables
from exporter.model import TableFormat
from exporter.store.local.store import LocalStore
from tests.pipeline.recorded import T0, Recorded
from tests.toolkit.lake import KINDS, Kind, iceberg

pytestmark = pytest.mark.anyio


def shown(root: Path, kind: Kind) -> dict[str, str]:
    if kind == "delta":
        rows = pa.table(DeltaTable(root / "recordings").to_pyarrow_table()).to_pylist()
    else:
        with iceberg(root, "recordings") as table:
            rows = table.scan().to_arrow().to_pylist()
    return {row["conversation_id"]: row["status"] for row in rows}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_table_follows_rows_that_are_added_and_replaced(tmp_path: Path, kind: Kind) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    await run.log.append(committed_at=20, kind="resume", table_format=TableFormat(kind=kind))
    await write_tables(run.store, run.state)
    assert not (tmp_path / "recordings").exists()
    assert not (tmp_path / "_iceberg" / "recordings").exists()
    await run.add("c0", T0)
    await run.add("c1", T0 + 1, "failed")
    await run.rows.finish()
    assert not await are_written(run.store, run.state)
    await write_tables(run.store, run.state)
    assert shown(tmp_path, kind) == {"c0": "stored", "c1": "failed"}
    run = await Recorded.open(LocalStore(tmp_path))
    await run.add("c1", T0 + 1)
    await run.rows.finish()
    await write_tables(run.store, run.state)
    assert await are_written(run.store, run.state)
    assert shown(tmp_path, kind) == {"c0": "stored", "c1": "stored"}
