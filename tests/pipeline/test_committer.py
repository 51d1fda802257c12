"""Tests group commits: every change is in the log exactly once, or its caller learns that it is not."""

import random
from pathlib import Path

import anyio
import pyarrow as pa
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import SECOND
from exporter.coverage import Coverage, Interval
from exporter.errors import OvertakenError, StoreError
from exporter.layout import MANIFEST, SUCCESS, commit_path
from exporter.log.commits import CommitLog
from exporter.log.manifest import generation_of
from exporter.log.state import Author, State
from exporter.model import Change, Counters, Unproven
from exporter.pipeline.committer import Committer, pause_after_manifest
from exporter.progress import Quiet
from exporter.settings import Request
from exporter.store.base import Content
from exporter.store.local.store import LocalStore
from tests.pipeline.harness import SERVED_AT, Clock

pytestmark = pytest.mark.anyio

RANGE = Interval(0, 1000 * SECOND)
SCHEMA = pa.schema([("id", pa.string())])


def piece(number: int, read_since: int | None = None) -> Change:
    covered = Interval(number * SECOND, (number + 1) * SECOND)
    return Change(covers=(covered,), unproven=(Unproven(covered.start, 1, str(number)),), read_since=read_since)


class SlowStore(LocalStore):
    """Is a store whose commits wait for `gate`, and fail from the `failing`th on, as often as `failures` says."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = anyio.Event()
        self.gate.set()
        self.creates = 0
        self.failing: frozenset[int] = frozenset()

    async def create(self, path: str, data: bytes) -> bool:
        await self.gate.wait()
        self.creates += 1
        if self.creates in self.failing:
            raise StoreError(f"{path}: the disk is full")
        return await super().create(path, data)


async def opened(root: Path, clock: Clock | None = None, **options: int) -> tuple[SlowStore, CommitLog, Committer]:
    store = SlowStore(root)
    await store.prepare()
    log = CommitLog(store, Author(run="r1", host="host", pid=1))
    await log.append(committed_at=SERVED_AT, kind="begin", request=Request(), range=RANGE)
    store.creates = 0
    return store, log, Committer(store, log, {"conversations": SCHEMA}, Quiet(), clock or Clock(), **options)


async def reloaded(root: Path) -> State:
    return await CommitLog(LocalStore(root), Author(run="r2", host="host", pid=2)).load()


async def test_changes_that_come_together_go_into_one_commit(tmp_path: Path) -> None:
    store, _, committer = await opened(tmp_path)
    store.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(committer.commit, piece(number, SERVED_AT - number), Counters(requests=number + 1))
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert store.creates <= 2
    state = await reloaded(tmp_path)
    assert state.coverage == Coverage([Interval(0, 10 * SECOND)])
    assert sorted(doubt.reason for doubt in state.unproven) == sorted(map(str, range(10)))
    assert state.read_since == SERVED_AT - 9


async def test_each_commit_is_charged_with_what_was_spent_since_the_last(tmp_path: Path) -> None:
    _, _, committer = await opened(tmp_path)
    for number, requests in enumerate((3, 3, 10)):
        await committer.commit(piece(number), Counters(requests=requests, seconds=float(requests)))
    state = await reloaded(tmp_path)
    assert (state.counters.requests, state.counters.seconds) == (10, 10.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.sets(st.integers(1, 6), max_size=3), st.integers(0, 10**6))
def test_a_change_is_in_the_log_exactly_if_its_caller_was_told_so(
    tmp_path_factory: pytest.TempPathFactory, tasks: int, failing: set[int], seed: int
) -> None:
    root = tmp_path_factory.mktemp("export")
    chance = random.Random(seed)
    told: dict[int, bool] = {}

    async def commit(committer: Committer, number: int) -> None:
        for _ in range(chance.randrange(6)):
            await checkpoint()
        try:
            await committer.commit(piece(number), Counters())
        except StoreError:
            told[number] = False
        else:
            told[number] = True

    async def main() -> State:
        store, _, committer = await opened(root)
        store.failing = frozenset(failing)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for number in range(tasks):
                    group.start_soon(commit, committer, number)
        return await reloaded(root)

    state = anyio.run(main)
    assert len(told) == tasks
    assert state.coverage == Coverage(piece(number).covers[0] for number, is_there in told.items() if is_there)


async def test_all_callers_that_wait_for_a_commit_that_fails_hear_of_it(tmp_path: Path) -> None:
    store, _, committer = await opened(tmp_path)
    store.gate = anyio.Event()
    store.failing = frozenset(range(1, 100))
    failed = []

    async def commit(number: int) -> None:
        with pytest.raises(StoreError, match="full"):
            await committer.commit(piece(number), Counters())
        failed.append(number)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(commit, number)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert sorted(failed) == [0, 1, 2, 3]


async def test_a_run_that_is_overtaken_stops_and_adds_nothing(tmp_path: Path) -> None:
    _, log, committer = await opened(tmp_path)
    other = CommitLog(LocalStore(tmp_path), Author(run="r2", host="host", pid=2))
    await other.load()
    await other.append(committed_at=SERVED_AT, change=piece(7))
    for number in (1, 2):
        with pytest.raises(OvertakenError):
            await committer.commit(piece(number), Counters())
    assert (await reloaded(tmp_path)).coverage == Coverage(piece(7).covers)
    assert not log.state.coverage


async def test_nothing_is_committed_to_a_disk_that_is_almost_full(tmp_path: Path) -> None:
    _, _, committer = await opened(tmp_path, reserved_bytes=1 << 62)
    with pytest.raises(StoreError, match="Make room"):
        await committer.commit(piece(1), Counters())
    assert not (await reloaded(tmp_path)).coverage


async def test_the_manifest_follows_every_few_seconds(tmp_path: Path) -> None:
    clock = Clock()
    _, _, committer = await opened(tmp_path, clock)
    await committer.commit(piece(0), Counters())
    assert not (tmp_path / MANIFEST).exists()
    clock.now = 5.0
    await committer.commit(piece(1), Counters())
    manifest = (tmp_path / MANIFEST).read_bytes()
    await committer.commit(piece(2), Counters())
    assert (tmp_path / MANIFEST).read_bytes() == manifest
    clock.now = 10.0
    await committer.commit(piece(3), Counters())
    assert (tmp_path / MANIFEST).read_bytes() != manifest


@given(took=st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=30))
def test_manifests_take_a_fiftieth_of_the_time_however_long_they_are(took: list[float]) -> None:
    assert sum(took) <= 0.02000001 * sum(pause_after_manifest(one) for one in took)
    assert min(pause_after_manifest(one) for one in took) >= 5


async def test_a_long_manifest_is_written_seldom_and_at_the_end(tmp_path: Path) -> None:
    class SlowManifests(SlowStore):
        async def replace(self, path: str, data: Content) -> None:
            clock.now += 3.0
            await super().replace(path, data)

    def generation() -> int | None:
        return generation_of((tmp_path / MANIFEST).read_bytes())

    clock = Clock()
    _, log, _ = await opened(tmp_path)
    committer = Committer(SlowManifests(tmp_path), log, {"conversations": SCHEMA}, Quiet(), clock)
    await committer.write_manifest()
    written = clock.now
    for number, seconds in enumerate((5.0, 100.0, 149.0)):
        clock.now = written + seconds
        await committer.commit(piece(number), Counters())
        assert generation() == 1
    clock.now = written + 150.0
    await committer.commit(piece(3), Counters())
    assert generation() == log.state.number == 5
    await committer.commit(piece(4), Counters())
    assert generation() == 5
    await committer.write_manifest()
    assert generation() == log.state.number == 6


async def test_what_is_published_is_not_made_again_unless_the_seal_was_taken(tmp_path: Path) -> None:
    _, _, committer = await opened(tmp_path)
    await committer.commit(Change(covers=(RANGE,)), Counters())
    await committer.write_manifest()
    inode = (tmp_path / MANIFEST).stat().st_ino
    (tmp_path / MANIFEST).write_bytes(b"{}")
    await committer.write_manifest()
    assert (tmp_path / MANIFEST).read_bytes() == b"{}", "nothing has changed since this run wrote it"
    await committer.unseal()
    assert not (tmp_path / SUCCESS).exists()
    await committer.write_manifest()
    assert (tmp_path / SUCCESS).exists()
    assert (tmp_path / MANIFEST).stat().st_ino != inode
    (tmp_path / commit_path(3)).write_bytes(b"{}")
    with pytest.raises(OvertakenError):
        await committer.write_manifest()


async def test_a_seal_that_a_failed_commit_has_taken_is_given_back(tmp_path: Path) -> None:
    store, _, committer = await opened(tmp_path)
    await committer.commit(Change(covers=(RANGE,)), Counters())
    await committer.write_manifest()
    store.failing = frozenset({store.creates + 1})
    with pytest.raises(StoreError, match="full"):
        await committer.commit(Change(unproven=piece(1).unproven), Counters())
    assert not (tmp_path / SUCCESS).exists()
    await committer.write_manifest()
    assert (tmp_path / SUCCESS).exists()
