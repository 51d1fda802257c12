"""A run that goes on with an export first checks its files: damage that was copied could never be found again."""

import errno
from pathlib import Path

import pytest

from exporter.contract import DAY
from exporter.errors import DamagedLogError, DamagedPartError, UnreadableFileError
from exporter.jobs.compact import compact
from exporter.jobs.export import export
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import verify
from exporter.model import TABLES
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from exporter.store import disk
from tests.end_to_end.export_directory import snapshot
from tests.jobs.damage import failing, flip
from tests.jobs.moving import Source, check, fill, moving_source, run_sync, settings_for

pytestmark = pytest.mark.anyio


def part_with(root: Path, day: str) -> str:
    (path,) = (path.relative_to(root).as_posix() for path in root.glob(f"conversations/created_date={day}/*"))
    return path


async def repair(root: Path, source: Source) -> None:
    assert (await verify(root, now=source.now, repair=True)).dropped == 1
    await run_sync(root, source)
    check(root, source)
    assert (await verify(root, now=source.now)).sound


async def test_a_sync_rewrites_no_part_that_has_changed_since_it_was_written(tmp_path: Path) -> None:
    async with moving_source(1) as source:
        ids = fill(source, 60)
        await run_sync(tmp_path, source)
        path = part_with(tmp_path, "2026-02-11")
        flip(tmp_path, path)
        source.now += DAY
        (changed,) = [
            one for one in ids if source.rows[one].created_at // DAY * DAY == source.now // DAY * DAY - 2 * DAY
        ][:1]
        source.update(changed, summary="new")
        with pytest.raises(DamagedPartError, match=r"--repair") as raised:
            await run_sync(tmp_path, source)
        assert raised.value.exit_status == 6
        assert path in str(raised.value)
        await repair(tmp_path, source)


async def test_nor_does_a_merge(tmp_path: Path) -> None:
    async with moving_source(2) as source:
        fill(source, 200, summary="many words " * 50)
        settings = settings_for(source, target_part_bytes=3000, concurrency=1)
        await export(tmp_path, Selection(), RunContext(settings, Credentials(TOKEN), Quiet()))
        parts = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet"))
        assert len(parts) > 4
        flip(tmp_path, parts[1])
        with pytest.raises(DamagedPartError, match=parts[1]):
            await compact(tmp_path, target_bytes=10**9, memory_bytes=1 << 29, observer=Quiet())
        found = await verify(tmp_path, now=source.now)
        assert [problem.file for problem in found.problems if problem.spoils_rows] == [parts[1]]
        await repair(tmp_path, source)


async def test_what_cannot_be_read_is_not_merged_and_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with moving_source(2) as source:
        fill(source, 200, summary="many words " * 50)
        settings = settings_for(source, target_part_bytes=3000, concurrency=1)
        await export(tmp_path, Selection(), RunContext(settings, Credentials(TOKEN), Quiet()))
        part = sorted(tmp_path.rglob("*.parquet"))[1].name
        monkeypatch.setattr("exporter.store.disk.time.sleep", lambda _: None)
        monkeypatch.setattr(disk, "read_once", failing(errno.EIO, 10**9, lambda name: name.endswith(part)))
        with pytest.raises(UnreadableFileError, match=f"{part}: cannot be read here and now") as raised:
            await compact(tmp_path, target_bytes=10**9, memory_bytes=1 << 29, observer=Quiet())
        assert raised.value.exit_status == 1
        monkeypatch.undo()
        await compact(tmp_path, target_bytes=10**9, memory_bytes=1 << 29, observer=Quiet())
        await run_sync(tmp_path, source)
        check(tmp_path, source)


@pytest.mark.parametrize("damage", ["missing", "cut"])
@pytest.mark.parametrize("of", ["a part", "quarantine", "a part of turns"])
async def test_nor_does_compact_or_vacuum(damage: str, of: str, tmp_path: Path) -> None:
    async with moving_source(3) as source:
        fill(source, 60, conversation={"items": [{"type": "message", "role": "user", "content": ["Hello"]}]})
        source.update(min(source.rows), duration="a while")
        await run_sync(tmp_path, source, Selection(tables=TABLES))
        pattern = {
            "a part": "conversations/*/*",
            "quarantine": "_exporter/quarantine/*",
            "a part of turns": "turns/*/*",
        }
        path = min(tmp_path.glob(pattern[of]))
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:100])
        before = snapshot(tmp_path)
        with pytest.raises(DamagedPartError, match=path.name) as raised:
            await compact(tmp_path, target_bytes=1 << 20, memory_bytes=1 << 29, observer=Quiet())
        assert raised.value.exit_status == 6
        assert f"exporter verify {tmp_path} --repair takes it out" in str(raised.value)
        for dry_run in (True, False):
            with pytest.raises(DamagedPartError, match=path.name):
                await vacuum(tmp_path, before=source.now, now=source.now, dry_run=dry_run)
        changed = {name for name, kept in snapshot(tmp_path).items() if before.get(name) != kept}
        assert changed <= {"_exporter/runs.jsonl", "_exporter/lock"}


@pytest.mark.parametrize("damage", ["missing", "cut"])
async def test_no_run_goes_on_where_a_part_is_missing_or_cut(tmp_path: Path, damage: str) -> None:
    async with moving_source(3) as source:
        fill(source, 60)
        await run_sync(tmp_path, source)
        path = tmp_path / part_with(tmp_path, "2026-02-11")
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:100])
        before = snapshot(tmp_path)
        with pytest.raises(DamagedPartError, match=path.name):
            await export(tmp_path, Selection(), RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        with pytest.raises(DamagedPartError, match=path.name):
            await run_sync(tmp_path, source)
        # Not even `_SUCCESS` is touched, nor a commit made.
        changed = {name for name, kept in snapshot(tmp_path).items() if before.get(name) != kept}
        assert changed <= {"_exporter/runs.jsonl", "_exporter/lock"}
        await repair(tmp_path, source)


async def test_no_run_goes_on_where_the_last_commits_are_lost(tmp_path: Path) -> None:
    async with moving_source(4) as source:
        fill(source, 60)
        await run_sync(tmp_path, source)
        last = max((tmp_path / "_exporter/commits").iterdir())
        kept = last.read_bytes()
        last.unlink()
        with pytest.raises(DamagedLogError, match="the manifest rests on"):
            await run_sync(tmp_path, source)
        last.write_bytes(kept)
        last.chmod(0o600)
        await run_sync(tmp_path, source)
        check(tmp_path, source)
