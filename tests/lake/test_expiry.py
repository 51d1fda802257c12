"""What has expired leaves Delta and Iceberg tables, and their versions, before its files go."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pyarrow.parquet as pq
import pytest

from exporter.clock import wall_clock
from exporter.contract import DAY, SECOND
from exporter.jobs.compact import compact
from exporter.jobs.expire import expire
from exporter.jobs.verify import verify
from exporter.model import TableFormat
from exporter.progress import Quiet
from exporter.sandbox import Row
from exporter.settings import RunSettings
from tests.end_to_end.records import conversation
from tests.jobs.made import NOW, SINCE, UNTIL, make_export
from tests.toolkit.lake import KINDS, Kind, iceberg
from tests.toolkit.recorded import state_of

ROWS: list[Row] = [
    conversation(at, at, f"c{number}", organization_id="org", summary=f"about {number}")
    for number, at in enumerate(range(SINCE, UNTIL, DAY // 8))
]
#: By this machine's clock, half of the rows are older.
AGE_SECONDS = (wall_clock() - UNTIL) // SECOND + 3 * 86_400

#: Ends itself after the commit, before anything else.
KILLED = """
import os, signal, sys
import exporter.run.expiry
from exporter.cli import main

async def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

exporter.run.expiry.settle_tables = die
main(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def a_planner_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


def shown(kind: Kind, root: Path) -> set[str]:
    """Returns the ids that a reader of the newest version finds."""
    if kind == "delta":
        from deltalake import DeltaTable

        return set(DeltaTable(root / "conversations").to_pyarrow_table()["id"].to_pylist())
    with iceberg(root, "conversations") as table:
        return set(table.scan().to_arrow()["id"].to_pylist())


def count_of_versions(kind: Kind, root: Path) -> int:
    """Returns how many versions of the table a reader can read."""
    readable = 0
    if kind == "delta":
        from deltalake import DeltaTable

        for version in range(DeltaTable(root / "conversations").version() + 1):
            try:
                DeltaTable(root / "conversations", version=version).to_pyarrow_table()
            except Exception:  # noqa: BLE001 - of whatever kind
                continue
            readable += 1
        return readable
    with iceberg(root, "conversations") as table:
        return len(table.snapshots())


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_versions_go_before_their_files(kind: Kind, is_killed: bool, tmp_path: Path) -> None:
    root = make_export(tmp_path / "out", ROWS, table_format=TableFormat(kind=kind))
    assert shown(kind, root) == {row.fields["id"] for row in ROWS}
    ages = {"conversations": AGE_SECONDS, "summary": AGE_SECONDS - 86_400}
    if is_killed:
        words = ["expire", str(root), ",".join(f"{name}={age}s" for name, age in ages.items())]
        ended = subprocess.run([sys.executable, "-c", KILLED, *words], env=dict(os.environ), check=False)
        assert ended.returncode == -signal.SIGKILL
        # Readers still find what the newest version names: no file has gone yet.
        assert shown(kind, root) == {row.fields["id"] for row in ROWS}
        anyio.run(lambda: compact(root, target_bytes=1 << 20, memory_bytes=1 << 28, observer=Quiet()))
    else:
        anyio.run(lambda: expire(root, now=wall_clock(), asked=ages, settings=RunSettings(), observer=Quiet()))
    floors = state_of(root).privacy.floors
    left = {row.fields["id"] for row in ROWS if row.created_at >= floors["conversations"]}
    assert 0 < len(left) < len(ROWS)
    assert shown(kind, root) == left
    assert count_of_versions(kind, root) == 1
    files = [*(root / "conversations").rglob("part-*.parquet")]
    assert {path.relative_to(root).as_posix() for path in files} == {file.path for file in state_of(root).conversations}
    rows = [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]
    assert {row["id"] for row in rows} == left
    assert anyio.run(lambda: verify(root, now=NOW)).sound
