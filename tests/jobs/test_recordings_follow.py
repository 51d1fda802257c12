"""Recordings follow their conversations: out of the export with them, and to the partition that they move to."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import DAY, HOUR, MINUTE, to_datetime
from exporter.encode.recordings import url_hash
from exporter.jobs.audit import audit
from exporter.jobs.audit_result import AuditResult
from exporter.jobs.reread import reread
from exporter.jobs.verify import verify
from exporter.log.recordings import partitions_to_look_at
from exporter.pipeline.recording_left import left_in
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from exporter.store.local.store import LocalStore
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
        assert not state_of(tmp_path).recordings
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
        after = recordings(tmp_path)
        assert after[later].pop("conversation_created_at") == to_datetime(day + 5 * HOUR)
        del before[later]["conversation_created_at"]
        assert after == before
        check_media(tmp_path)
        found = await verify(tmp_path, now=source.now)
        assert (found.problems, found.strays) == ((), 1), "it is in quarantine"
        source.delete(misfit)
        await run_audit(tmp_path, source, repair=True, delete=True)
        assert recordings(tmp_path).keys() == {later}
        await check_sound(tmp_path, source)


async def left(root: Path, source: Source) -> set[str]:
    """Returns the conversations whose recordings the next run would fetch."""
    state, store, found = state_of(root), LocalStore(root), set[str]()

    def identify(text: str) -> tuple[str | None, float | None]:
        details = json.loads(text)
        return url_hash(details["recording_url"].removeprefix("https://").partition("?")[0]), details["duration"]

    for partition in partitions_to_look_at(state, now=source.now, wait_seconds=0):
        pieces = left_in(store, state, partition, now=source.now, wait_seconds=0, identify=identify)
        found |= {name async for piece in pieces for name in piece.listed}
    return found


async def test_only_another_recording_is_fetched_again(tmp_path: Path) -> None:
    """The API signs each link again at every reading. A sync that sees another path, or another duration, lets the next
    run fetch what it has not."""

    def details(path: str, signature: int, duration: float = 7.5) -> dict[str, object]:
        return {"recording_url": f"https://rec.example.com/{path}?sig={signature}", "duration": duration}

    async with moving_source(7) as source:
        at = source.now - 3 * HOUR
        known = [source.insert(at + number, recording_details=details(f"{number}.ogg", 1)) for number in range(4)]
        await run_sync(tmp_path, source)
        assert await left(tmp_path, source) == {*known}
        for number, name in enumerate(known):
            hashed = url_hash(f"rec.example.com/{number}.ogg")
            record(tmp_path, {name: ""}, url_hash=hashed, duration=7.5)
        assert await left(tmp_path, source) == set()
        before = recordings(tmp_path)
        source.now += 5 * MINUTE
        source.update(known[0], at=source.now, recording_details=details("0.ogg", 2), summary="changed")
        source.update(known[1], recording_details=details("other.ogg", 2))
        source.update(known[2], recording_details=details("2.ogg", 2, 8.5))
        source.update(known[3], recording_details=details("3.ogg", 2), created_at=at + HOUR)
        await run_sync(tmp_path, source)
        assert await left(tmp_path, source) == {known[1], known[2]}
        assert {name: row["path"] for name, row in recordings(tmp_path).items()} == {
            name: row["path"] for name, row in before.items()
        }, "until then, what is there stays"
        record(tmp_path, {known[1]: "another"}, url_hash=url_hash("rec.example.com/other.ogg"), duration=7.5)
        record(tmp_path, {known[2]: "a longer one"}, url_hash=url_hash("rec.example.com/2.ogg"), duration=8.5)
        assert await left(tmp_path, source) == set()
        await check_sound(tmp_path, source)
