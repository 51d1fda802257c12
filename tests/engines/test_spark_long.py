"""Exports 200,000 conversations by two executors, of which one is killed and one is stopped for a minute.

    EXPORTER_THOROUGH=1 pytest -n0 -m spark -rP tests/engines/test_spark_long.py

It prints how long a plain run takes with as many requests at once, and an engine with one slot and with two.
"""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from anyio.from_thread import start_blocking_portal

import exporter
from exporter import ExportSpec, blocking
from exporter.jobs.summary import Summary
from exporter.sandbox import TOKEN, Behaviour, Sandbox, make_conversations, serve
from exporter.schedule import shares
from tests.end_to_end.records import SINCE, UNTIL
from tests.engines.spark_session import Accidents, Cluster, CountingEngine, cluster
from tests.engines.test_spark import on_spark
from tests.toolkit.clouds import S3
from tests.toolkit.sizes import size_of

pytestmark = [*on_spark, pytest.mark.thorough]

ROWS = size_of(20_000, 200_000, "EXPORTER_SPARK_ROWS")
#: An API that takes as long to answer holds up everybody alike, whatever this machine has to do.
LATENCY_SECONDS = 0.3
#: Each of two slots asks this many questions at once, and a plain run twice as many.
AT_ONCE = 2


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets tasks read it though it is sparse where it ends, and end after a tenth of what they do in a long run."""
    monkeypatch.setattr(shares, "_LEAST_PAGES", 0)
    for name in ("_MOST_SECONDS", "_FIRST_SECONDS"):
        monkeypatch.setattr(shares, name, 10.0)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("spark"), {**s3.environment, "ANYREACH_TOKEN": TOKEN}) as session:
        yield session


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    rows = make_conversations(ROWS, SINCE, UNTIL, density="one-burst")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(rows, Behaviour(latency=LATENCY_SECONDS))) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def plain(session: Cluster, server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, float]:
    """Returns what a plain run has written, and the seconds that it took."""
    root, began = tmp_path_factory.mktemp("plain") / "calls", time.monotonic()
    options = ["--since", "2024-01-01", "--until", "2024-03-01", "--fields", "duration,channel,agent"]
    command = [sys.executable, "-m", "exporter", "export", str(root), *options, "--concurrency", str(2 * AT_ONCE)]
    environment = {**os.environ, "ANYREACH_BASE_URL": server.url}
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[2])
    return rows_of(root), time.monotonic() - began


def rows_of(place: Path | str) -> pa.Table:
    return exporter.open_dataset(place).to_table().sort_by("id")


def hash_of(rows: pa.Table) -> str:
    """Returns a hash of each value of each row, in the order of ids."""
    columns = rows.select(sorted(rows.column_names)).combine_chunks().to_batches()
    digest = hashlib.sha256()
    for batch in columns:
        for row in batch.to_pylist():
            digest.update(repr(sorted(row.items())).encode())
    return digest.hexdigest()


def export(session: Cluster, server: Sandbox, place: Path | str, slots: int) -> Summary:
    spec = ExportSpec(
        destination=place, base_url=server.url, since="2024-01-01", until="2024-03-01",
        fields=["duration", "channel", "agent"], concurrency=AT_ONCE,
    )  # fmt: skip
    with closing(CountingEngine(session.spark, slots)) as on_spark:
        found = blocking.export(spec, engine=on_spark)
    print(f"{on_spark.tasks} tasks")
    assert on_spark.tasks >= 4
    return found


@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_it_equals_a_plain_run_whatever_becomes_of_executors(
    where: str, session: Cluster, server: Sandbox, plain: tuple[pa.Table, float], s3: S3, tmp_path: Path
) -> None:
    place: Any = tmp_path / "calls"
    if where == "bucket":
        s3.make_bucket("long")
        place = "s3://long/calls"
    before, began = len(server.requests), time.monotonic()
    with Accidents(session, server, kill_at=ROWS // 4000, stop_at=ROWS // 1800, stopped_seconds=60) as accidents:
        accidents.begin()
        found = export(session, server, place, 2)
    print(f"{where}: {time.monotonic() - began:.1f} s, {len(server.requests) - before} requests, {accidents.happened}")
    assert accidents.happened == ["killed", "stopped"]
    assert (found.state, found.rows) == ("complete", ROWS)
    rows, wanted = rows_of(place), plain[0]
    assert rows.column("id").equals(wanted.column("id"))
    assert hash_of(rows) == hash_of(wanted)
    assert blocking.verify(place).exit_status == 0


def test_how_long_it_takes(session: Cluster, server: Sandbox, plain: tuple[pa.Table, float], tmp_path: Path) -> None:
    seconds: dict[int, float] = {}
    for slots in (2, 1, 2, 1):
        before, began = len(server.requests), time.monotonic()
        assert export(session, server, tmp_path / f"{slots}-{began}", slots).rows == ROWS
        took = time.monotonic() - began
        seconds[slots] = min(took, seconds.get(slots, took))
        print(f"{slots} slots: {took:.1f} s, {len(server.requests) - before} requests")
    ratios = f"2 slots / plain: {seconds[2] / plain[1]:.2f}, 1 slot / 2 slots: {seconds[1] / seconds[2]:.2f}"
    print(f"plain: {plain[1]:.1f} s, {ratios}")
