"""Whatever an export holds, what has expired goes from every file of it, and a kill changes nothing of that."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from exporter.clock import wall_clock
from exporter.contract import DAY, HOUR, Instant, instant_of, parse_timestamp
from exporter.jobs.compact import compact
from exporter.jobs.expire import expire
from exporter.jobs.export import export
from exporter.jobs.sync import sync
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import verify
from exporter.model import TableFormat
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Row, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.records import conversation
from tests.jobs.damage import flip, parts
from tests.jobs.killed_expiry import AGES, FLOORS, let_expire
from tests.jobs.made import NOW, SINCE, UNTIL, make_export, misfit
from tests.toolkit.recorded import check_media, conversations, record, state_of
from tests.toolkit.sizes import size_of

SPOKEN = {"items": [{"type": "message", "role": "user", "content": ["hello"]}]}
FITTING = [
    conversation(at, at, f"c{number}", organization_id="org", summary=f"about {number}", conversation=SPOKEN)
    for number, at in enumerate(range(SINCE, UNTIL, HOUR + 1))
]
ROWS = [*FITTING, *map(misfit, range(24))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes an export with turns, quarantine and recordings."""
    root = make_export(tmp_path_factory.mktemp("expiry") / "whole", ROWS, tables=("conversations", "turns"))
    record(root, dict.fromkeys([*conversations(root)][::5], ""))
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "root"))


def rows_on_the_disk(root: Path) -> list[tuple[str, Instant, Mapping[str, Any]]]:
    """Returns every row of every file below the destination, whether the log names it or not."""
    found = []
    for path in sorted(root.rglob("*")):
        where = path.relative_to(root).as_posix()
        if ".parquet" in path.name and path.is_file():
            for row in pq.ParquetFile(path).read().to_pylist():
                created_at = row["created_at"] if "created_at" in row else row["conversation_created_at"]
                found.append((where, instant_of(created_at), row))
        elif where.startswith("_exporter/quarantine/"):
            for line in path.read_bytes().splitlines():
                row = json.loads(line)
                found.append((where, parse_timestamp(row["created_at"]), row))
    return found


def check_expired(root: Path, floors: Mapping[str, Instant] = FLOORS) -> None:
    """Checks that no file has anything below the floors, and everything above them."""
    there = {row.fields["id"]: row.created_at for row in FITTING}
    rows = rows_on_the_disk(root)
    assert all(at >= floors["conversations"] for _, at, _ in rows)
    ids = {row["id"] for where, _, row in rows if where.startswith("conversations/")}
    assert ids == {name for name, at in there.items() if at >= floors["conversations"]}
    assert all(at >= floors["recordings"] for where, at, _ in rows if where.startswith("recordings/"))
    assert not [at for _, at, row in rows if row.get("summary") and at < floors["summary"]]
    assert [at for _, at, row in rows if row.get("summary")]
    check_media(root)
    found = anyio.run(lambda: verify(root, now=NOW, media=True))
    assert (found.problems, found.state) == ((), "unproven" if state_of(root).quarantine else "complete")


def test_all_that_has_expired_goes(root: Path) -> None:
    found = anyio.run(let_expire, root)
    assert min(found.conversations, found.recordings, found.quarantined, found.values["summary"]) > 0
    check_expired(root)
    assert not anyio.run(let_expire, root).changed


def test_a_dry_run_says_what_goes_and_changes_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    async def dry() -> Any:
        return await expire(root, now=UNTIL, asked=AGES, dry_run=True, settings=RunSettings(), observer=Quiet())

    said = anyio.run(dry)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    done = anyio.run(let_expire, root)
    for name in ("rows", "conversations", "recordings", "quarantined", "values", "deleted", "rewritten", "retention"):
        assert getattr(said, name) == getattr(done, name), name
    assert said.expired_before == done.expired_before


def test_kills(whole: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed_expiry.py")
    command = [sys.executable, str(script), str(whole), str(tmp_path), str(size_of(41, 3))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert len(printed) > 5
    for number, path in enumerate(map(Path, printed)):
        # Any command sweeps; a kill before the commit has changed nothing.
        floors = state_of(path).privacy.floors
        if floors and number % 3 == 0:
            anyio.run(partial(vacuum, path, before=SINCE, now=NOW))
        elif floors and number % 3 == 1:
            anyio.run(partial(compact, path, target_bytes=1 << 20, memory_bytes=1 << 28, observer=Quiet()))
        else:
            anyio.run(let_expire, path)
        check_expired(path)


def test_what_was_kept_for_readers_goes(whole: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(whole, tmp_path / "kept"))

    async def change() -> None:
        async with serve(ROWS) as server:
            for row in FITTING[::9]:
                server.delete(str(row.fields["id"]))
                server.insert(Row(row.created_at, wall_clock(), {**row.fields, "summary": "changed"}))
            context = RunContext(RunSettings(base_url=server.url, concurrency=2), Credentials(TOKEN), Quiet())
            await sync(root, Selection(), context, keep_generations=3)

    anyio.run(change)
    kept = len(state_of(root).kept)
    assert kept
    found = anyio.run(let_expire, root)
    assert 0 < found.unkept <= kept
    rows = rows_on_the_disk(root)
    assert all(at >= FLOORS["conversations"] for _, at, _ in rows)
    assert not [at for _, at, row in rows if row.get("summary") and at < FLOORS["summary"]]
    assert not anyio.run(let_expire, root).changed
    assert anyio.run(lambda: verify(root, now=NOW)).problems == ()


def test_versions_of_tables_that_need_it_go(tmp_path: Path) -> None:
    delta = TableFormat(kind="delta")
    root = make_export(tmp_path / "out", ROWS, tables=("conversations", "turns"), table_format=delta)
    anyio.run(let_expire, root)
    check_expired(root)
    table = DeltaTable(root / "conversations")
    there = {row.fields["id"] for row in FITTING if row.created_at >= FLOORS["conversations"]}
    assert set(table.to_pyarrow_table()["id"].to_pylist()) == there
    for version in range(table.version()):
        with pytest.raises(Exception, match=r"."):
            DeltaTable(root / "conversations", version=version).to_pyarrow_table()


def test_dropped_files_go(root: Path) -> None:
    first, *_ = parts(root)
    flip(root, first)
    dropped = anyio.run(lambda: verify(root, now=NOW, repair=True))
    assert dropped.dropped
    assert [*(root / "_exporter/dropped").rglob("*.parquet.dropped")]

    async def read_again() -> None:
        async with serve(ROWS) as server:
            context = RunContext(RunSettings(base_url=server.url, concurrency=2), Credentials(TOKEN), Quiet())
            await export(root, Selection(), context)

    found = anyio.run(let_expire, root)
    assert found.conversations
    assert not [*(root / "_exporter/dropped").rglob("*.dropped")]
    # From now on nothing expires, and what has expired stays away.
    assert anyio.run(lambda: let_expire(root, {})).changed
    anyio.run(read_again)
    check_expired(root)
    assert anyio.run(lambda: vacuum(root, before=NOW, now=NOW)).dropped_waiting == 0


def test_a_clock_that_is_ahead_deletes_nothing_too_early(root: Path) -> None:
    """The API has borne out its time when the export was read; beyond that, this machine's counts a day late."""
    read_at = max(instant for instant, _ in state_of(root).reads)
    ages = {"conversations": (read_at - UNTIL) // 1_000_000 + 2 * 86_400}

    async def at(now: Instant) -> Any:
        return await expire(root, now=now, asked=ages, settings=RunSettings(), observer=Quiet())

    anyio.run(at, read_at)
    floor = state_of(root).privacy.floors["conversations"]
    assert read_at - floor >= ages["conversations"] * 1_000_000
    assert not anyio.run(at, read_at + DAY - 1).conversations
    anyio.run(at, read_at + 2 * DAY)
    assert state_of(root).privacy.floors["conversations"] > floor
