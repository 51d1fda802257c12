"""Doubts that somebody has accepted end with status 0, through every command, and a new one with 3 again."""

from pathlib import Path
from typing import Any

import pytest

from exporter.cli.accept_report import accepted_figures, describe_accepted
from exporter.cli.audit_report import describe_audited
from exporter.cli.report import describe_synced
from exporter.cli.status_report import describe_status
from exporter.cli.upkeep_report import describe_verified
from exporter.contract import DAY, END_OF_TIME, HOUR, SECOND, to_datetime
from exporter.errors import DamagedLogError, DamagedPartError, DestinationError, DestinationLockedError, UsageError
from exporter.jobs.accept import AcceptResult, accept
from exporter.jobs.audit import audit
from exporter.jobs.audit_result import AuditResult
from exporter.jobs.compact import compact
from exporter.jobs.export import export
from exporter.jobs.reread import reread
from exporter.jobs.status import judge, status
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import VerifyResult, verify
from exporter.log.commits import load_state
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour
from exporter.sandbox.gate import TOKEN_NOSENSITIVE
from exporter.settings import Credentials, Selection
from exporter.store.local.lock import acquire, release
from exporter.store.local.store import LocalStore
from tests.end_to_end.export_directory import ExportDirectory, snapshot
from tests.jobs.damage import flip
from tests.jobs.moving import Source, fill, moving_source, run_sync, settings_for

pytestmark = pytest.mark.anyio

MISFIT: dict[str, Any] = {"duration": "a while"}


async def run_accept(root: Path, source: Source, **options: object) -> AcceptResult:
    return await accept(root, now=source.now, **{"by": "ann@here", "note": "seen", **options})  # type: ignore[arg-type]


def kinds(done: AcceptResult) -> list[tuple[str, int]]:
    return [(doubt.kind, doubt.rows) for doubt in done.doubts]


def context(source: Source, token: str = TOKEN) -> RunContext:
    return RunContext(settings_for(source), Credentials(token), Quiet())


async def run_audit(root: Path, source: Source, *, repair: bool = False) -> AuditResult:
    return await audit(root, Selection(), context(source), now=source.now, repair=repair)


async def run_verify(root: Path, *, repair: bool = False) -> VerifyResult:
    return await verify(root, now=END_OF_TIME - SECOND, repair=repair)


async def statuses(root: Path, source: Source) -> list[int]:
    """Returns the exit statuses of a sync, a verification and a check."""
    synced = await run_sync(root, source)
    return [synced.exit_status, (await run_verify(root)).exit_status, judge(await status(root)).exit_status]


async def test_only_what_is_new_ends_with_three(tmp_path: Path) -> None:
    async with moving_source(1) as source:
        ids = fill(source, 30)
        first, second = ids[3], ids[4]
        for identity in (first, second):
            source.update(identity, **MISFIT)
        assert await statuses(tmp_path, source) == [3, 3, 3]
        done = await run_accept(tmp_path, source)
        assert (done.number, done.state, done.exit_status) == (2, "unproven", 0)
        assert await statuses(tmp_path, source) == [0, 0, 0]
        manifest = ExportDirectory(tmp_path).manifest
        (entry,) = manifest["accepted"]
        assert (manifest["state"], entry["by"], entry["note"], entry["doubts"]) == ("unproven", "ann@here", "seen", 2)
        assert entry["quarantine"] == [file["path"] for file in manifest["quarantine"]["files"]]
        assert not (tmp_path / "_SUCCESS").exists()
        # One of the two leaves, and the file of the other is written again.
        source.update(first, duration=5)
        assert await statuses(tmp_path, source) == [0, 0, 0]
        # It comes back, and is new, though the interval and the number of rows are the accepted ones.
        source.update(first, **MISFIT)
        assert await statuses(tmp_path, source) == [3, 3, 3]
        assert kinds(await run_accept(tmp_path, source)) == [("quarantine", 1)]
        assert await statuses(tmp_path, source) == [0, 0, 0]
        # The other one changes, and fits no better.
        source.update(second, summary="another", **MISFIT)
        assert await statuses(tmp_path, source) == [3, 3, 3]
        for identity in (first, second):
            source.update(identity, duration=5)
        assert await statuses(tmp_path, source) == [0, 0, 0]
        assert ExportDirectory(tmp_path).manifest["accepted"] == []
        assert (tmp_path / "_SUCCESS").exists()


async def test_a_row_that_is_read_again_beside_a_new_one_stays_known(tmp_path: Path) -> None:
    async with moving_source(2) as source:
        ids = fill(source, 30)
        source.update(ids[3], **MISFIT)
        await run_sync(tmp_path, source)
        await run_accept(tmp_path, source)
        source.update(ids[4], **MISFIT)
        assert (await reread(tmp_path, Selection(), context(source))).exit_status == 3
        assert len(ExportDirectory(tmp_path).quarantined()) == 2
        source.update(ids[4], duration=5)
        assert await statuses(tmp_path, source) == [0, 0, 0]
        assert len(ExportDirectory(tmp_path).quarantined()) == 1


async def test_every_command_keeps_what_was_accepted(tmp_path: Path) -> None:
    async with moving_source(3) as source:
        ids = fill(source, 60)
        for identity in ids[3:20:4]:
            source.update(identity, **MISFIT)
        await run_sync(tmp_path, source)
        await run_accept(tmp_path, source)

        async def is_known() -> bool:
            state = await load_state(LocalStore(tmp_path))
            return state.is_accepted and len(state.acceptances) == 1

        source.update(ids[0], summary="new")
        assert (await run_audit(tmp_path, source, repair=True)).exit_status == 0
        assert await is_known()
        await compact(tmp_path, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())
        assert await is_known()
        await vacuum(tmp_path, before=source.now, now=source.now)
        assert await is_known()
        assert (await reread(tmp_path, Selection(), context(source))).exit_status == 0
        assert await is_known()
        assert (await export(tmp_path, Selection(until=source.now), context(source))).exit_status == 0
        assert await is_known()
        part = min(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet"))
        flip(tmp_path, part)
        assert (await run_verify(tmp_path)).exit_status == 6
        assert (await run_verify(tmp_path, repair=True)).exit_status == 1
        await export(tmp_path, Selection(), context(source))
        assert (await run_verify(tmp_path)).problems == ()


async def test_a_repair_that_leaves_a_new_doubt_ends_with_three(tmp_path: Path) -> None:
    async with moving_source(6) as source:
        ids = fill(source, 30)
        source.update(ids[3], **MISFIT)
        await run_sync(tmp_path, source)
        assert (await run_audit(tmp_path, source)).exit_status == 0
        await run_accept(tmp_path, source)
        assert (await run_audit(tmp_path, source, repair=True)).exit_status == 0
        source.update(ids[3], summary="another", **MISFIT)
        found = await run_audit(tmp_path, source, repair=True)
        assert found.repaired is not None
        assert (found.exit_status, found.repaired.new_doubts) == (3, 1)
        assert f"  in doubt: 1 doubt not accepted; exporter accept {tmp_path} --dry-run lists what" in list(
            describe_audited(found, tmp_path)
        )
        assert await statuses(tmp_path, source) == [3, 3, 3]
        await run_accept(tmp_path, source)
        assert (await run_audit(tmp_path, source, repair=True)).exit_status == 0


async def test_a_time_that_cannot_be_read_whole(tmp_path: Path) -> None:
    async with moving_source(4, Behaviour(page_cap=9)) as source:
        fill(source, 30)
        at = source.now - 2 * DAY
        for number in range(12):
            source.update(source.insert(at), at=at, status=("completed", "failed", "cancelled")[number % 3])
        assert (await run_sync(tmp_path, source)).exit_status == 3
        assert (await run_audit(tmp_path, source)).exit_status == 3
        done = await run_accept(tmp_path, source)
        assert kinds(done) == [("unproven", 12)]
        assert await statuses(tmp_path, source) == [0, 0, 0]
        found = await run_audit(tmp_path, source)
        assert (len(found.unproven) > 0, found.accepted, found.exit_status) == (True, len(found.unproven), 0)
        source.sandbox.behaviour = Behaviour()
        done_again = await reread(tmp_path, Selection(), context(source))
        assert (done_again.summary.state, done_again.summary.acceptances) == ("complete", ())


async def test_rows_without_sensitive_fields(tmp_path: Path) -> None:
    async with moving_source(5) as source:
        rows = fill(source, 60, summary="said")
        middle = source.rows[rows[30]].created_at
        oldest = source.rows[rows[50]].created_at
        await run_sync(tmp_path, source, Selection(since=middle))
        narrow = context(source, TOKEN_NOSENSITIVE)
        assert (await export(tmp_path, Selection(since=oldest), narrow)).exit_status == 3
        done = await run_accept(tmp_path, source)
        assert kinds(done) == [("withheld", 20)]
        assert await statuses(tmp_path, source) == [0, 0, 0]
        await compact(tmp_path, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())
        assert await statuses(tmp_path, source) == [0, 0, 0]
        assert (await export(tmp_path, Selection(since=0), narrow)).exit_status == 3
        assert kinds(await run_accept(tmp_path, source)) == [("withheld", 9)]
        done_again = await reread(tmp_path, Selection(), context(source), withheld=True)
        assert (done_again.exit_status, done_again.summary.state) == (0, "complete")
        assert ExportDirectory(tmp_path).manifest["accepted"] == []


async def test_what_it_says(tmp_path: Path) -> None:
    async with moving_source(6) as source:
        ids = fill(source, 30)
        source.update(ids[3], **MISFIT)
        synced = await run_sync(tmp_path, source)
        assert f"      exporter accept {tmp_path}" in list(describe_synced(synced))
        assert list(describe_status(await status(tmp_path), tmp_path))[-2:] == [
            "  in doubt  1 row in quarantine",
            f"    1 doubt not accepted: exporter accept {tmp_path} --dry-run lists them",
        ]
        would = await run_accept(tmp_path, source, dry_run=True)
        said = list(describe_accepted(would, tmp_path, dry_run=True))
        (path,) = (await load_state(LocalStore(tmp_path))).quarantine
        assert said == ["would accept 1 doubt:", f"  quarantine: 1 row in {path}"]
        done = await run_accept(tmp_path, source)
        by = "  accepted: 1 doubt on 2026-02-12 by ann@here (seen)"
        assert list(describe_accepted(done, tmp_path, dry_run=False)) == [
            "accepted 1 doubt:",
            said[1],
            by,
            "  The manifest still names what is in doubt. From now on, exit status 3 means another doubt.",
        ]
        assert accepted_figures(done)["quarantine"] == [{"path": path, "rows": 1}]
        again = await run_accept(tmp_path, source)
        assert list(describe_accepted(again, tmp_path, dry_run=False)) == [
            "nothing more to accept: the export is unproven",
            by,
        ]
        told = list(describe_status(await status(tmp_path), tmp_path))
        assert told[-2:] == ["  in doubt  1 row in quarantine; all of it is accepted", by]
        assert by in list(describe_verified(await run_verify(tmp_path), tmp_path))
        assert by in list(describe_synced(await run_sync(tmp_path, source)))


async def test_what_changes_nothing(tmp_path: Path) -> None:
    async with moving_source(7) as source:
        with pytest.raises(DestinationError, match="no export"):
            await run_accept(tmp_path, source)
        ids = fill(source, 30)
        await run_sync(tmp_path, source)
        before = snapshot(tmp_path)
        done = await run_accept(tmp_path, source)
        assert (len(done.doubts), done.accepted) == (0, ())
        assert snapshot(tmp_path) == before
        source.update(ids[3], **MISFIT)
        await run_sync(tmp_path, source)
        before = snapshot(tmp_path)
        assert len((await run_accept(tmp_path, source, dry_run=True)).doubts) == 1
        for note in ("x" * 501, "two\nlines", "\x1b[31m"):
            with pytest.raises(UsageError, match="must be one line of at most 500 characters"):
                await run_accept(tmp_path, source, note=note)
        assert snapshot(tmp_path) == before
        held = acquire(tmp_path / "_exporter/lock", "another", 0)
        try:
            with pytest.raises(DestinationLockedError):
                await run_accept(tmp_path, source)
        finally:
            release(held)
        done = await run_accept(tmp_path, source, by=None, note=None)
        assert "@" in done.accepted[0].by


async def test_commits_that_are_lost_are_not_written_over(tmp_path: Path) -> None:
    async with moving_source(8) as source:
        ids = fill(source, 30)
        source.update(ids[3], **MISFIT)
        await run_sync(tmp_path, source)
        max((tmp_path / "_exporter/commits").iterdir()).unlink()
        with pytest.raises(DamagedLogError, match="missing") as raised:
            await run_accept(tmp_path, source)
        assert raised.value.exit_status == 6
        with pytest.raises(DamagedLogError, match="missing"):
            await status(tmp_path, check=True)


async def test_the_check_of_a_status(tmp_path: Path) -> None:
    async with moving_source(9) as source:
        fill(source, 30)
        await run_sync(tmp_path, source)
        found = await status(tmp_path, check=True)
        assert judge(found) == (0, "")
        assert judge(found, updated_after=to_datetime(source.now - HOUR)) == (0, "")
        late = judge(found, updated_after=to_datetime(source.now))
        assert (late.exit_status, late.reason[:8]) == (1, "too old:")
        path = min(tmp_path.rglob("*.parquet"))
        data = path.read_bytes()
        path.unlink()
        source.insert(source.now - HOUR)
        with pytest.raises(DamagedPartError, match=path.name):
            await run_sync(tmp_path, source)
        assert judge(await status(tmp_path)) == (6, "the last run, sync, found damage or a difference")
        path.write_bytes(data)
        await run_sync(tmp_path, source)
        assert judge(await status(tmp_path)) == (0, "")
        path.unlink()
        await run_verify(tmp_path, repair=True)
        assert judge(await status(tmp_path)).exit_status == 1


async def test_a_run_that_left_no_line_did_not_end(tmp_path: Path) -> None:
    async with moving_source(10) as source:
        fill(source, 30)
        await run_sync(tmp_path, source)
        journal = tmp_path / "_exporter/runs.jsonl"
        lines = journal.read_bytes()
        source.insert(source.now - HOUR)
        await run_sync(tmp_path, source)
        assert (await status(tmp_path)).unended_run is None
        journal.write_bytes(lines)
        found = await status(tmp_path)
        assert found.unended_run is not None
        assert found.unended_run.run == (await load_state(LocalStore(tmp_path))).runs[-1]
        said = [line for line in describe_status(found, tmp_path) if line.startswith("  cut short a run begun at ")]
        assert len(said) == 1
        held = acquire(tmp_path / "_exporter/lock", "another", 0)
        try:
            assert (await status(tmp_path)).unended_run is None
        finally:
            release(held)
        journal.unlink()
        assert (await status(tmp_path)).unended_run is None
