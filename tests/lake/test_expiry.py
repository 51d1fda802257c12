"""What has expired leaves Delta and Iceberg tables, and their versions, before its files go."""

import os
import signal
import subprocess
import sys
from itertools import product

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
from tests.toolkit.lake import delta_rows, delta_table, iceberg
from tests.toolkit.sizes import some_of
from tests.toolkit.table_places import PLACES, TablePlace

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


def shown(place: TablePlace) -> set[str]:
    """Returns the ids that a reader of the newest version finds."""
    if place.kind == "delta":
        return set(delta_rows(delta_table(place))["id"].to_pylist())
    with iceberg(place) as table:
        return set(table.scan().to_arrow()["id"].to_pylist())


def count_of_versions(place: TablePlace) -> int:
    """Returns how many versions of the table a reader can read."""
    readable = 0
    if place.kind == "delta":
        for version in range(delta_table(place).version() + 1):
            try:
                delta_rows(delta_table(place, version=version))
            except Exception:  # noqa: BLE001 - of whatever kind
                continue
            readable += 1
        return readable
    with iceberg(place) as table:
        return len(table.snapshots())


@pytest.mark.parametrize(
    ("place", "is_killed"),
    some_of(
        product(PLACES, [False, True]),
        ("delta on a disk", True),
        ("iceberg on a disk", True),
        ("iceberg on S3", False),
    ),
    indirect=["place"],
)
def test_versions_go_before_their_files(place: TablePlace, is_killed: bool) -> None:
    where = place.location
    make_export(where, ROWS, table_format=TableFormat(kind=place.kind))
    assert shown(place) == {row.fields["id"] for row in ROWS}
    ages = {"conversations": AGE_SECONDS, "summary": AGE_SECONDS - 86_400}
    if is_killed:
        words = ["expire", str(where), ",".join(f"{name}={age}s" for name, age in ages.items())]
        ended = subprocess.run([sys.executable, "-c", KILLED, *words], env=dict(os.environ), check=False)
        assert ended.returncode == -signal.SIGKILL
        # Readers still find what the newest version names: no file has gone yet.
        assert shown(place) == {row.fields["id"] for row in ROWS}
        anyio.run(lambda: compact(where, target_bytes=1 << 20, memory_bytes=1 << 28, observer=Quiet()))
    else:
        anyio.run(lambda: expire(where, now=wall_clock(), asked=ages, settings=RunSettings(), observer=Quiet()))
    state = anyio.run(place.state)
    floors = state.privacy.floors
    left = {row.fields["id"] for row in ROWS if row.created_at >= floors["conversations"]}
    assert 0 < len(left) < len(ROWS)
    assert shown(place) == left
    assert count_of_versions(place) == 1
    root = place.mirror()
    files = [*(root / "conversations").rglob("part-*.parquet")]
    assert {path.relative_to(root).as_posix() for path in files} == {file.path for file in state.conversations}
    rows = [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]
    assert {row["id"] for row in rows} == left
    assert anyio.run(lambda: verify(where, now=NOW)).sound
