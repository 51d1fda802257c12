"""Recordings follow their conversations: out of the export with them, and to the partition that they move to."""

from pathlib import Path
from typing import Any

import pytest

from exporter.contract import DAY, HOUR, MINUTE
from exporter.jobs.audit import AuditResult, audit
from exporter.jobs.reread import reread
from exporter.jobs.verify import verify
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from tests.jobs.damage import flip
from tests.jobs.moving import Source, fill, moving_source, run_sync, settings_for
from tests.toolkit.recorded import audio, check_media, media, record, recordings, state_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]


def context(source: Source) -> RunContext:
    return RunContext(settings_for(source), Credentials(TOKEN), Quiet())


async def run_audit(root: Path, source: Source, **options: Any) -> AuditResult:
    return await audit(root, Selection(), context(source), now=source.now, **options)


async def check_sound(root: Path, source: Source) -> None:
    check_media(root)
    found = await verify(root, now=source.now, media=True)
    assert (found.problems, found.strays) == ((), 0)


async def run_reread(root: Path, source: Source) -> None:
    await reread(root, Selection(), context(source))


@pytest.mark.parametrize("by", ["audit", "reread"])
async def test_a_conversation_that_is_deleted_takes_its_recording_along(by: str, tmp_path: Path) -> None:
    async with moving_source(2) as source:
        fill(source)
        day = (source.now - 2 * DAY) // DAY * DAY
        one, twin, other = (source.insert(day + hour * HOUR) for hour in (1, 2, 3))
        await run_sync(tmp_path, source)
        record(tmp_path, {one: "the same", twin: "the same", other: ""})
        assert len(media(tmp_path)) == 2
        source.now += MINUTE
        source.delete(one)
        if by == "audit":
            assert recordings(tmp_path).keys() == {one, twin, other}
            found = await run_audit(tmp_path, source)
            assert (found.deleted, found.recordings_left) == (1, 0)
            await run_audit(tmp_path, source, repair=True, delete=True)
        else:
            await run_reread(tmp_path, source)
        assert recordings(tmp_path).keys() == {twin, other}
        await check_sound(tmp_path, source)
        assert len(media(tmp_path)) == 2, "another row names the same media"
        source.delete(twin)
        await run_audit(tmp_path, source, repair=True, delete=True)
        assert recordings(tmp_path).keys() == {other}
        await check_sound(tmp_path, source)
        source.delete(other)
        await run_audit(tmp_path, source, repair=True, delete=True)
        assert state_of(tmp_path).recordings == []
        await check_sound(tmp_path, source)


async def test_a_conversation_that_no_longer_matches_takes_its_recording_along(tmp_path: Path) -> None:
    async with moving_source(3) as source:
        identity = source.insert(source.now - 3 * HOUR, status="completed")
        stays = source.insert(source.now - 2 * HOUR, status="completed")
        asked = Selection(filters={"status": "completed"})
        await run_sync(tmp_path, source, asked, refilter=True)
        record(tmp_path, {identity: "", stays: ""})
        source.now += 5 * MINUTE
        source.update(identity, status="failed")
        await run_sync(tmp_path, source, asked, refilter=True)
        assert recordings(tmp_path).keys() == {stays}
        await check_sound(tmp_path, source)


@pytest.mark.parametrize("has_media", [True, False])
async def test_a_recording_moves_along_to_another_partition(has_media: bool, tmp_path: Path) -> None:
    async with moving_source(4) as source:
        fill(source)
        day = (source.now - 2 * DAY) // DAY * DAY
        moves, twin = source.insert(day + HOUR), source.insert(day + 2 * HOUR)
        await run_sync(tmp_path, source)
        record(tmp_path, {moves: "the same" if has_media else None, twin: "the same"}, duration=7.25)
        before = recordings(tmp_path)
        source.now += 5 * MINUTE
        source.update(moves, created_at=day - DAY + HOUR)
        await run_sync(tmp_path, source)
        after = recordings(tmp_path)
        assert after.keys() == {moves, twin}
        moved = {"conversation_created_at", "path"}
        assert {key: value for key, value in after[moves].items() if key not in moved} == {
            key: value for key, value in before[moves].items() if key not in moved
        }
        assert after[twin] == before[twin]
        await check_sound(tmp_path, source)
        if has_media:
            assert after[moves]["path"] != before[moves]["path"]
            assert (tmp_path / after[moves]["path"]).read_bytes() == audio("the same")
        source.now += 5 * MINUTE
        source.update(moves, created_at=day + 3 * HOUR)
        await run_sync(tmp_path, source)
        assert recordings(tmp_path)[moves]["path"] == before[moves]["path"]
        assert len(media(tmp_path)) == 1
        await check_sound(tmp_path, source)


async def test_a_recording_with_damaged_media_does_not_move(tmp_path: Path) -> None:
    async with moving_source(5) as source:
        fill(source)
        moves = source.insert((source.now - 2 * DAY) // DAY * DAY + HOUR)
        await run_sync(tmp_path, source)
        record(tmp_path, {moves: ""})
        flip(tmp_path, recordings(tmp_path)[moves]["path"])
        source.now += 5 * MINUTE
        source.update(moves, created_at=source.now - 10 * DAY)
        await run_sync(tmp_path, source)
        assert recordings(tmp_path) == {}
        await check_sound(tmp_path, source)


async def test_a_recording_stays_where_its_conversation_does(tmp_path: Path) -> None:
    """Neither another time on the same day nor values that fit no column make a recording go."""
    async with moving_source(6) as source:
        fill(source)
        day = (source.now - 2 * DAY) // DAY * DAY
        later, misfit = source.insert(day + HOUR), source.insert(day + 2 * HOUR)
        await run_sync(tmp_path, source)
        record(tmp_path, {later: "", misfit: ""})
        before = recordings(tmp_path)
        source.now += 5 * MINUTE
        source.update(later, created_at=day + 5 * HOUR)
        source.update(misfit, duration="a while")
        await run_sync(tmp_path, source)
        assert recordings(tmp_path) == before
        check_media(tmp_path)
        found = await verify(tmp_path, now=source.now)
        assert (found.problems, found.strays) == ((), 1), "it is in quarantine"
        source.delete(misfit)
        await run_audit(tmp_path, source, repair=True, delete=True)
        assert recordings(tmp_path).keys() == {later}
        await check_sound(tmp_path, source)
