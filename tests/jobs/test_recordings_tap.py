"""Recordings are fetched while the rows of their conversations are read, and neither waits for the other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from exporter.clock import wall_clock
from exporter.contract import DAY, HOUR
from exporter.errors import StoreError
from exporter.fetch.media.link import link_of
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.jobs import export_steps as export_job
from exporter.jobs import sync_steps as sync_job
from exporter.jobs.export import export
from exporter.jobs.sync import sync
from exporter.jobs.verify import verify
from exporter.log.commits import load_commits, load_state
from exporter.model import Counters
from exporter.pipeline import upsert
from exporter.pipeline.download import Downloader, Result, Wanted
from exporter.pipeline.part_sink import WindowWriter
from exporter.pipeline.recording_rows import RecordingRows
from exporter.pipeline.recordings import Downloads
from exporter.pipeline.report import Report
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import Behaviour
from exporter.settings import Selection
from exporter.store.local.store import LocalStore
from tests.jobs.test_recordings import World, world
from tests.toolkit.recordings import SMALL, call, outcomes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

HASTY = RetryPolicy(known=Patience(attempts=5, seconds=0, throttled_seconds=1), base_seconds=0.001)
SLOW = Behaviour(latency=0.03)
KEPT = Selection(recordings=True)


@pytest.fixture(autouse=True)
def hasty_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("recordings", "recordings_tap"):
        monkeypatch.setattr(f"exporter.run.{module}.POLICY", HASTY)


def paged(source: World, page_size: int = 10, **options: Any) -> RunContext:
    """Returns a context in which reading takes many pages."""
    context = source.context(**options)
    return replace(context, settings=msgspec.structs.replace(context.settings, page_size=page_size))


@dataclass
class Watch:
    """Says what an export had fetched when it was about to be sealed, and lets downloads wait for that."""

    source: World
    at_seal: list[int] = field(default_factory=list)
    sealed: anyio.Event = field(default_factory=anyio.Event)

    def set_up(self, monkeypatch: pytest.MonkeyPatch, *, holds_downloads: bool = False) -> None:
        for job in (export_job, sync_job):
            monkeypatch.setattr(job, "seal", self._watching(job.seal))
        if holds_downloads:
            fetch = Downloader.fetch

            async def wait(downloader: Downloader, wanted: Wanted) -> Result:
                result = await fetch(downloader, wanted)
                await self.sealed.wait()
                return result

            monkeypatch.setattr(Downloader, "fetch", wait)

    def _watching(self, seal: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def watch(*arguments: Any, **options: Any) -> None:
            self.at_seal.append(len(self.source.media.attempts))
            await seal(*arguments, **options)
            self.sealed.set()

        return watch


def commit_often(monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    assert RecordingRows.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(RecordingRows.__init__.__kwdefaults__, "rows_at_once", rows_at_once)


async def check_log(root: Path) -> None:
    """Checks that no commit has cost less than nothing, and that everything is sound."""
    for commit in await load_commits(LocalStore(root)):
        assert min(msgspec.structs.astuple(commit.counters or Counters())) >= 0
    found = await verify(root, now=wall_clock(), media=True)
    assert (found.problems, found.strays) == ((), 0)


async def test_many_are_fetched_before_the_export_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [call(number, age=(1 + number % 4) * DAY) for number in range(120)]
    async with world(tmp_path, rows, behaviour=Behaviour(latency=0.15)) as source:
        watch = Watch(source)
        watch.set_up(monkeypatch)
        commit_often(monkeypatch, 10)
        done = await export(source.root, KEPT, paged(source))
        assert (done.exit_status, done.recordings and done.recordings.new_stored) == (0, 120)
        # On an idle machine, most of them.
        assert watch.at_seal[0] > 15
        assert {*source.media.attempts.values()} == {1}
        assert source.check(rows) == {"stored": 120}
        await check_log(source.root)
        again = await export(source.root, Selection(), paged(source))
        assert (again.changed, again.requests) == (False, 0)


@pytest.mark.parametrize("by", [export, sync])
async def test_no_row_waits_for_a_download(
    by: Callable[..., Awaitable[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [call(number) for number in range(60)]
    async with world(tmp_path, rows) as source:
        watch = Watch(source)
        watch.set_up(monkeypatch, holds_downloads=True)
        with anyio.fail_after(60):
            done = await by(source.root, KEPT, paged(source))
        assert (done.exit_status, watch.at_seal) == (0, [8])
        assert source.check(rows) == {"stored": 60}
        assert {*source.media.attempts.values()} == {1}, "what was under way went on"


async def test_a_host_that_is_down_costs_no_row_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [call(number) for number in range(200)]
    async with world(tmp_path, rows, behaviour=SLOW) as source:
        await export(tmp_path / "plain", Selection(), paged(source))
        plain = source.sandbox.count
        watch = Watch(source)
        watch.set_up(monkeypatch)
        source.media.is_down = True
        done = await export(source.root, KEPT, paged(source))
        assert (done.state, done.exit_status, done.rows) == ("complete", 1, 200)
        assert (source.root / "_SUCCESS").exists()
        assert done.recordings is not None
        assert done.recordings.gave_up
        assert done.requests <= 2 * plain
        source.media.is_down = False
        assert (await export(source.root, Selection(), paged(source))).exit_status == 0
        assert source.check(rows) == {"stored": 200}


async def test_links_of_two_seconds(tmp_path: Path) -> None:
    rows = [call(number) for number in range(30)]
    media = msgspec.structs.replace(SMALL, lifetime_seconds=2, bytes_each=50_000, dialect="expires")
    async with world(tmp_path, rows, media, behaviour=SLOW) as source:
        done = await export(source.root, KEPT, paged(source, concurrency=2, bytes_per_second=600_000.0))
        assert (done.exit_status, source.check(rows)) == (0, {"stored": 30})
        await check_log(source.root)


async def test_what_was_kept_before_its_conversation_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [call(number, age=3 * DAY) for number in range(120)]

    under_way = anyio.Event()

    async def fail(*_: Any) -> None:
        await under_way.wait()
        raise StoreError("no part is taken")

    async with world(tmp_path, rows, behaviour=SLOW) as source:
        source.media.on_request = lambda request: under_way.set() if request.number >= 20 else None
        with monkeypatch.context() as patching, pytest.raises(StoreError, match="no part is taken"):
            patching.setattr(WindowWriter, "finish", fail)
            await export(source.root, KEPT, paged(source))
        kept, state = outcomes(source.root), await load_state(LocalStore(source.root))
        assert (len(kept) >= 10, state.totals.rows) == (True, 0)
        source.media.attempts.clear()
        done = await export(source.root, Selection(), paged(source))
        assert (done.exit_status, source.check(rows)) == (0, {"stored": 120})
        assert not source.media.attempts.keys() & kept.keys()
        await check_log(source.root)


async def test_a_sync_merges_while_the_gate_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [call(number) for number in range(40)]
    async with world(tmp_path, old, behaviour=SLOW) as source:
        await export(source.root, Selection(recordings=True, until=wall_clock() - DAY), paged(source))
        source.media.attempts.clear()
        new = [call(number, age=HOUR) for number in range(100, 104)]
        for row in new:
            source.sandbox.insert(row)
        source.sandbox.update("c3", wall_clock(), summary="changed")
        source.sandbox.move("c4", old[4].created_at - 2 * DAY, wall_clock())
        # This one passes the tap as if it were new.
        source.sandbox.move("c5", wall_clock() - HOUR, wall_clock())
        store, seen = LocalStore(source.root), list[int]()
        merging, fetched = anyio.Event(), anyio.Event()
        under_way, merge_spool, fetch = set[str](), upsert.merge_spool, Downloader.fetch

        async def fetch_late(downloader: Downloader, wanted: Wanted) -> Result:
            result = await fetch(downloader, wanted)
            under_way.add(wanted.conversation_id)
            if len(under_way) == 5:
                fetched.set()
            await merging.wait()
            return result

        async def merge(*arguments: Any, **options: Any) -> Any:
            with anyio.fail_after(60):
                await fetched.wait()
            merging.set()
            seen.append((await load_state(store)).number)
            merged = await merge_spool(*arguments, **options)
            seen.append((await load_state(store)).number)
            return merged

        commit_often(monkeypatch, 1)
        monkeypatch.setattr(Downloader, "fetch", fetch_late)
        monkeypatch.setattr(sync_job, "merge_spool", merge)
        done = await sync(source.root, Selection(), paged(source))
        assert (done.exit_status, done.inserted, done.updated) == (0, 4, 3)
        assert seen[0] == seen[1], "no row of a recording comes while others follow their conversations"
        assert source.media.attempts == {f"c{number}": 1 for number in (5, *range(100, 104))}
        assert source.check([*old, *new]) == {"stored": 44}
        await check_log(source.root)


async def test_a_destination_that_fails_the_tap_fails_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [call(number) for number in range(60)]
    publish_media, failures = LocalStore.publish_media, list[str]()

    async def fail_once(store: LocalStore, staged: Path, path: str) -> None:
        if not failures:
            failures.append(path)
            raise StoreError("the disk hiccups")
        await publish_media(store, staged, path)

    monkeypatch.setattr(LocalStore, "publish_media", fail_once)
    async with world(tmp_path, rows, behaviour=SLOW) as source:
        done = await export(source.root, KEPT, paged(source))
        assert (done.exit_status, len(failures), source.check(rows)) == (0, 1, {"stored": 60})
        assert not [path for path in (source.root / "_exporter/staging").rglob("*") if path.is_file()]
        await check_log(source.root)


async def test_nothing_is_tapped_that_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [call(number) for number in range(30)]
    async with world(tmp_path, rows, behaviour=SLOW) as source:
        watch = Watch(source)
        watch.set_up(monkeypatch)
        narrow = Selection(fields=("id", "created_at", "updated_at", "status"), recordings=True)
        await export(source.root, narrow, paged(source))
        assert source.check(rows) == {"stored": 30}
        other = World(source.sandbox, source.media, tmp_path / "other")
        source.media.attempts.clear()
        await export(other.root, KEPT, paged(other, filters={"channel": "webrtc"}))
        assert (watch.at_seal, source.media.count) == ([0, 0], 30)


async def test_a_link_that_is_offered_after_a_failure_is_not_taken() -> None:
    stuck = anyio.Event()

    class Failing:
        async def fetch(self, wanted: Wanted) -> None:
            if wanted.conversation_id == "fails":
                raise StoreError("the disk is full")
            with anyio.CancelScope(shield=True):
                await stuck.wait()
            await anyio.sleep_forever()

    async def nothing(*_: Any) -> None:
        pass

    downloader: Any = Failing()
    downloads = Downloads(downloader, nothing, nothing, 2, Report(Quiet()))
    link = link_of({"recording_url": "https://rec.example.com/1.wav"})
    assert link is not None

    async def run() -> None:
        with pytest.raises(StoreError):
            await downloads.run(anyio.sleep_forever)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        for name in ("is stuck", "fails"):
            assert downloads.offer(Wanted(name, 0, link))
            await anyio.wait_all_tasks_blocked()
        assert not downloads.offer(Wanted("late", 0, link))
        stuck.set()
