"""Every kind of store keeps the same promises: a local disk, objects in memory, and S3, Google's and Azure over HTTP.

Google's is the tests' own stand-in.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest
from obstore.store import MemoryStore

from exporter.coverage import Interval
from exporter.errors import DestinationError, DestinationLockedError, OvertakenError, StoreError, UnreadableFileError
from exporter.layout import (
    CHANGES,
    COMMITS,
    DROPPED,
    MEDIA,
    RUNS,
    STAGING,
    beacon_path,
    dropped_path,
    media_path,
    part_path,
)
from exporter.log.commits import CommitLog, load_state
from exporter.log.publish import SURVEYED, find_garbage, withdraw
from exporter.log.state import Author
from exporter.settings import Request
from exporter.store.base import Store
from exporter.store.local.store import LocalStore
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.store import ObjectStore
from exporter.store.open import open_store
from tests.toolkit.clouds import Cloud

pytestmark = pytest.mark.anyio

PART = part_path("conversations", {"created_date": "2026-02-10"}, "r-1")
#: Opens one destination, each time as a process of its own would.
Opening: TypeAlias = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["disk", "memory", "s3", "gcs", "azure"])
async def opening(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Opening]:
    prefix = secrets.token_hex(4)
    memory = MemoryStore()
    if request.param in ("s3", "gcs", "azure"):
        cloud: Cloud = request.getfixturevalue(request.param)
        cloud.make_bucket(f"conformance-{prefix}")
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:

        async def opened() -> Store:
            match request.param:
                case "disk":
                    return LocalStore(tmp_path / "dest")
                case "memory":
                    store = ObjectStore(Bucket(Url("s3", "memory", "pre/fix"), memory))
                    stack.callback(store.close)
                    return store
            url = Url(cloud.scheme, f"conformance-{prefix}", "pre/fix")
            return await stack.enter_async_context(open_store(url))

        yield opened


@pytest.fixture
async def store(opening: Opening) -> Store:
    store = await opening()
    await store.prepare()
    return store


def staged(store: Store, data: bytes = b"whole", name: str = "one") -> Path:
    path = store.staging_file(name)
    path.write_bytes(data)
    return path


async def begun(store: Store, run: str = "r1") -> CommitLog:
    log = CommitLog(store, Author(run=run, host="host", pid=1))
    await log.append(committed_at=1, kind="begin", request=Request(), range=Interval(0, 10))
    return log


async def test_create_replace_read_delete(store: Store) -> None:
    assert await store.read("_manifest.json") is None
    assert await store.create("_manifest.json", b"one")
    assert not await store.create("_manifest.json", b"two")
    assert await store.read("_manifest.json") == b"one"
    await store.replace("_manifest.json", b"three")
    assert await store.read("_manifest.json") == b"three"
    await store.create("_SUCCESS", b"")
    assert await store.read("_SUCCESS") == b""
    await store.delete("_manifest.json", "conversations/none/part-1.parquet", "_SUCCESS")
    await store.delete("_manifest.json")
    await store.delete()
    assert await store.read_all(["_manifest.json", "_SUCCESS"]) == [None, None]
    assert await store.list("_exporter/staging") == []


async def test_files_that_are_not_there_keep_no_others_from_being_deleted(store: Store) -> None:
    paths = [f"_exporter/quarantine/{number}.jsonl" for number in range(30)]
    for path in paths:
        await store.create(path, b"")
    await store.delete(*(f"_exporter/quarantine/no-{number}.jsonl" for number in range(12)), *paths)
    assert await store.list("_exporter/quarantine") == []


async def test_many_small_files_are_read_in_the_order_asked_for(store: Store) -> None:
    paths = [f"{COMMITS}/{number:08d}.json" for number in range(20)]
    for path in paths[::2]:
        await store.replace(path, path.encode())
    found = await store.read_all(paths[::-1])
    assert found == [path.encode() if path in paths[::2] else None for path in paths[::-1]]


async def test_lists_are_recursive_relative_and_of_one_directory(store: Store) -> None:
    await store.publish(staged(store), "conversations/created_date=2026-02-10/part-1.parquet")
    await store.publish(staged(store), "conversations/part-2.parquet")
    await store.publish(staged(store, b"12"), "conversations-of-others/part-2.parquet")
    expected = ["conversations/created_date=2026-02-10/part-1.parquet", "conversations/part-2.parquet"]
    assert await store.list("conversations") == expected
    assert await store.list("missing") == []
    assert await store.list_all(["turns", "conversations", "_exporter/quarantine", "conversations"]) == expected * 2
    await store.create("_exporter/quarantine/a.jsonl", b"")
    assert await store.list_all(["_exporter/quarantine", "turns"]) == ["_exporter/quarantine/a.jsonl"]
    asked = [*expected, "conversations-of-others/part-2.parquet", "turns/part-1.parquet"]
    assert await store.sizes(asked) == {expected[0]: 5, expected[1]: 5, "conversations-of-others/part-2.parquet": 2}
    assert await store.sizes([]) == {}


@pytest.mark.parametrize("size", [0, 5, 20_000_000])
async def test_what_is_published_is_fetched(store: Store, size: int) -> None:
    data = secrets.token_bytes(size)
    file = staged(store, data)
    assert await store.list(STAGING) == [f"{STAGING}/one.partial"]
    await store.publish(file, PART)
    assert not file.exists()
    assert await store.list(STAGING) == []
    async with store.fetched(PART) as part:
        assert part.read_bytes() == data
    async with store.fetched(part_path("turns", {}, "none")) as missing:
        assert not missing.exists()
    assert isinstance(store, LocalStore) or not part.exists()


async def test_publish_never_overwrites(store: Store) -> None:
    await store.publish(staged(store, b"first"), PART)
    second = staged(store, b"second")
    with pytest.raises(StoreError, match=r"part-r-1\.parquet: there is a file"):
        await store.publish(second, PART)
    assert await store.read(PART) == b"first"
    assert second.read_bytes() == b"second"
    assert await store.sizes([PART]) == {PART: 5}


@pytest.mark.parametrize("size", [5, 6_000_000])
async def test_media_that_is_there_already_is_done_and_damaged_media_is_replaced(store: Store, size: int) -> None:
    data = secrets.token_bytes(size)
    path = media_path({"created_date": "2026-02-10"}, hashlib.sha256(data).hexdigest(), "mp3")
    for there in (None, data, data[:-1], data + b"?"):
        if there is not None:
            await store.replace(path, there)
        file = staged(store, data)
        await store.publish_media(file, path)
        assert await store.read(path) == data
        assert not file.exists()
    assert await store.list(MEDIA) == [path]
    # No commit names media: a sweep leaves it alone.
    log = await begun(store)
    assert await find_garbage(store, log.state) == []


async def test_tasks_may_publish_the_same_media_at_once(store: Store) -> None:
    path = media_path({}, hashlib.sha256(b"same").hexdigest(), "bin")
    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(store.publish_media, staged(store, b"same", f"one-{number}"), path)
    assert await store.read(path) == b"same"
    assert await store.list(STAGING) == []


async def test_what_is_moved_lies_elsewhere_alone(store: Store) -> None:
    await store.publish(staged(store, b"1"), PART)
    to = dropped_path("r2", PART)
    for data in (b"1", b"22"):
        await store.move(PART, to)
        assert await store.read(to) == data
        assert await store.sizes([PART, to]) == {to: len(data)}
        assert await store.list(DROPPED) == [to]
        # This is as after a kill between two steps: what is there is taken again, in place of what is there.
        await store.publish(staged(store, b"22"), PART)
    await store.delete(PART)
    await store.move(PART, to)
    await store.move("conversations/none/part-1.parquet", "_exporter/dropped/none")
    assert await store.list(DROPPED) == [to]
    with pytest.raises(StoreError, match="not a path inside"):
        await store.move(to, "../outside")


async def test_what_cannot_be_read_is_told_of_the_file_too(store: Store) -> None:
    await store.publish(staged(store), PART)
    with pytest.raises(UnreadableFileError) as raised:
        async with store.fetched(PART) as part:
            raise UnreadableFileError(part, "is odd")
    assert str(raised.value).startswith(f"{store.location / PART}: cannot be read here and now: is odd\n")


@pytest.mark.parametrize("at_once", [2, 1000])
async def test_a_survey_tells_what_lists_and_sizes_tell(
    at_once: int, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.store.objects.bucket._LISTED_AT_ONCE", at_once)
    first = await opening()
    await first.prepare()
    log = await begun(first)
    for number in range(3):
        await log.append(committed_at=2 + number, kind="resume")
        paths = f"{CHANGES}/{number}.changes", f"{STAGING}/r-{number}.partial", part_path("turns", {}, f"r-{number}")
        for size, path in enumerate(paths, start=1):
            await first.replace(path, bytes(size))
    for asked in (SURVEYED, [STAGING], ["turns", "missing"]):
        second = await opening()
        await second.check()
        await load_state(second)
        found = await second.survey(asked)
        assert found is None or found == await second.sizes(await second.list_all(asked)) != {}


async def test_the_log_is_read_as_it_is_once_the_lock_is_taken(opening: Opening) -> None:
    first, second, third = await opening(), await opening(), await opening()
    await first.prepare()
    log = await begun(first)
    for store in (second, third):
        await store.check()
    assert (await load_state(second)).number == 1
    await log.append(committed_at=2, kind="resume")
    for number, store in enumerate((second, third), start=3):
        await store.prepare()
        await store.acquire_lock(f"r{number}")
        assert (await load_state(store)).number == 2
        await store.release_lock()


async def test_what_is_staged_is_swept(store: Store) -> None:
    log = await begun(store)
    staged(store, name="left")
    await store.publish(staged(store), PART)
    garbage = await find_garbage(store, log.state)
    assert garbage == [f"{STAGING}/left.partial", PART]
    await store.delete(*garbage)
    assert await find_garbage(store, log.state) == []
    assert not store.staging_file("left").exists()


class TestOffers:
    """One process stages files, and another one, which holds the destination, adopts them."""

    @pytest.mark.parametrize("size", [0, 5, 6_000_000])
    async def test_what_is_offered_is_adopted(self, store: Store, opening: Opening, size: int) -> None:
        data = secrets.token_bytes(size)
        worker = await opening()
        file = staged(worker, data, "r-t1-1")
        offered = await worker.offer(file)
        assert offered == f"{STAGING}/r-t1-1.partial"
        assert await store.list(STAGING) == [offered]
        assert await store.list(STAGING, after=offered) == []
        assert await store.read(offered) == data
        await store.adopt(offered, PART)
        await store.delete(offered)
        assert await store.list(STAGING) == await worker.list(STAGING) == []
        assert await store.sizes([PART]) == {PART: size}
        assert await store.read(PART) == data
        assert not file.exists()

    async def test_it_is_swept_but_not_what_the_worker_still_writes_elsewhere(
        self, store: Store, opening: Opening
    ) -> None:
        worker = await opening()
        log = await begun(store)
        offered = await worker.offer(staged(worker, name="r-t1-1"))
        written = staged(worker, name="r-t1-2")
        own = staged(store, name="r-1")
        garbage = await find_garbage(store, log.state)
        is_shared = isinstance(store, LocalStore)
        assert garbage == sorted([f"{STAGING}/r-1.partial", offered, *[f"{STAGING}/r-t1-2.partial"] * is_shared])
        await store.delete(*garbage)
        assert await find_garbage(store, log.state) == []
        assert await store.read(offered) is None
        assert (written.exists(), own.exists()) == (not is_shared, False)

    async def test_a_run_withdraws_what_its_tasks_have_offered(self, store: Store, opening: Opening) -> None:
        worker = await opening()
        await begun(store)
        left = await worker.offer(staged(worker, name="other-t1-1"))
        await worker.offer(staged(worker, name="r1-t1-1"))
        await withdraw(store, "r1")
        assert await store.list(STAGING) == [left]

    async def test_adopting_never_overwrites(self, store: Store, opening: Opening) -> None:
        worker = await opening()
        await store.publish(staged(store, b"first"), PART)
        offered = await worker.offer(staged(worker, b"later", "r-t1-1"))
        with pytest.raises(StoreError, match=r"part-r-1\.parquet: there is a file"):
            await store.adopt(offered, PART)
        assert await store.read(PART) == b"first"
        assert await store.read(offered) == b"later"

    async def test_what_is_missing_is_told_of_by_its_name(self, store: Store, opening: Opening) -> None:
        worker = await opening()
        with pytest.raises(StoreError, match=r"r-t1-1\.partial: "):
            await worker.offer(worker.staging_file("r-t1-1"))
        with pytest.raises(StoreError, match=r"_exporter/staging/r-t1-1\.partial: missing"):
            await store.adopt(f"{STAGING}/r-t1-1.partial", PART)
        with pytest.raises(StoreError, match="not a path inside"):
            await store.adopt(f"{STAGING}/../../../x", PART)
        assert await store.list("conversations") == []

    async def test_many_are_adopted_at_once(self, store: Store, opening: Opening) -> None:
        worker = await opening()
        paths = [part_path("turns", {"created_date": f"2026-02-{day:02d}"}, "r-1") for day in range(1, 13)]
        offered = [await worker.offer(staged(worker, path.encode(), f"r-{n}")) for n, path in enumerate(paths)]
        async with anyio.create_task_group() as group:
            for each, path in zip(offered, paths, strict=True):
                group.start_soon(store.adopt, each, path)
        await store.delete(*offered)
        assert await store.list("turns") == paths
        assert await store.read_all(paths) == [path.encode() for path in paths]
        assert await store.list(STAGING) == []

    async def test_a_beacon_is_seen_from_elsewhere_until_it_is_swept(self, store: Store, opening: Opening) -> None:
        worker, path = await opening(), beacon_path("r1")
        log = await begun(store)
        assert await worker.read(path) is None
        await store.replace(path, b"nonce")
        assert await worker.read(path) == b"nonce"
        assert await find_garbage(store, log.state) == [path]
        await store.delete(path)
        assert await worker.read(path) is None

    async def test_a_worker_makes_nothing_where_no_export_is(self, opening: Opening) -> None:
        worker = await opening()
        assert await worker.read(beacon_path("r1")) is None
        assert await worker.list(STAGING) == []
        if isinstance(worker, LocalStore):
            with pytest.raises(StoreError, match=r"r-t1-1\.partial: "):
                await worker.offer(worker.staging_file("r-t1-1"))
            assert not worker.root.exists()

    async def test_what_outlives_a_deleted_export_is_in_nobodys_way(self, opening: Opening) -> None:
        worker = await opening()
        if isinstance(worker, LocalStore):
            worker.staging_file("x").parent.mkdir(parents=True)
        offered = await worker.offer(staged(worker, name="r-t1-1"))
        store = await opening()
        await store.prepare()
        assert await find_garbage(store, (await begun(store)).state) == [offered]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "conversations/../../x", "a\0b"])
async def test_paths_stay_inside(store: Store, path: str) -> None:
    with pytest.raises(StoreError, match="not a path inside"):
        await store.delete(path)
    with pytest.raises(StoreError, match="not a path inside"):
        await store.read(path)


async def test_free_space_is_known(store: Store) -> None:
    assert await store.free_bytes() > 0
    assert store.staged_on.exists()


class TestLines:
    async def test_every_line_is_kept_whoever_writes_at_the_same_time(self, store: Store, opening: Opening) -> None:
        await begun(store)
        lines = [b'{"run": %d}\n' % number for number in range(5)]
        async with anyio.create_task_group() as group:
            for line in lines:
                group.start_soon((await opening()).append, RUNS, line)
        assert sorted((await store.read(RUNS) or b"").splitlines(keepends=True)) == lines

    async def test_half_a_line_does_not_spoil_the_next(self, store: Store) -> None:
        await begun(store)
        await store.replace(RUNS, b'{"whole": 1}\n{"ha')
        await store.append(RUNS, b"next\n")
        assert await store.read(RUNS) == b'{"whole": 1}\n{"ha\nnext\n'

    async def test_where_no_export_is_nothing_is_written(self, opening: Opening) -> None:
        store = await opening()
        await store.append(RUNS, b"line\n")
        assert await store.list("_exporter") == []


class TestCheck:
    async def test_nothing_is_touched(self, opening: Opening) -> None:
        store = await opening()
        await store.check()
        assert await store.list("_exporter") == []

    async def test_what_a_run_has_prepared_is_taken_again(self, store: Store, opening: Opening) -> None:
        await store.acquire_lock("r1")
        await store.release_lock()
        await store.append(RUNS, b"line\n")
        await (await opening()).prepare()
        await begun(store)
        await store.publish(staged(store), PART)
        await store.create("notes.txt", b"of somebody")
        await (await opening()).prepare()

    async def test_something_else_is_refused(self, opening: Opening) -> None:
        store = await opening()
        if isinstance(store, LocalStore):
            store.root.mkdir()
            (store.root / "photo.jpg").touch()
        else:
            await store.create("photo.jpg", b"")
        with pytest.raises(DestinationError, match="not empty, and not an export"):
            await (await opening()).check()

    async def test_a_manifest_without_its_log_is_refused(self, store: Store, opening: Opening) -> None:
        await store.create("_manifest.json", b"{}")
        if isinstance(store, LocalStore):
            (store.root / COMMITS).rmdir()
        with pytest.raises(DestinationError, match="missing, although its manifest exists"):
            await (await opening()).check()


class TestLog:
    async def test_of_many_tasks_one_creates(self, store: Store, opening: Opening) -> None:
        won: list[bytes] = []

        async def create(store: Store, data: bytes) -> None:
            if await store.create("_manifest.json", data):
                won.append(data)

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(create, await opening(), b"%d" % number)
        assert won == [await store.read("_manifest.json")]

    async def test_who_loses_a_slot_is_overtaken(self, store: Store, opening: Opening) -> None:
        log = await begun(store)
        other = CommitLog(await opening(), Author(run="r2", host="host", pid=2))
        assert await other.load() == log.state
        await other.append(committed_at=2, kind="resume")
        with pytest.raises(OvertakenError):
            await log.append(committed_at=3, kind="resume")
        assert (await log.load()).runs == ("r1", "r2")


class TestLock:
    async def test_one_run_at_a_time(self, store: Store, opening: Opening) -> None:
        other = await opening()
        assert await other.lock_holder() is None
        await store.acquire_lock("r1")
        holder = await other.lock_holder()
        assert holder is not None
        assert holder.run == "r1"
        with pytest.raises(DestinationLockedError) as raised:
            await other.acquire_lock("r2")
        assert str(raised.value).startswith(f"{store.location}: held by run r1 (process ")
        await other.release_lock()
        assert await other.lock_holder() is not None
        await store.release_lock()
        await store.release_lock()
        assert await other.lock_holder() is None
        await other.acquire_lock("r2")

    async def test_nothing_stays_of_a_run_that_has_begun_nothing(self, opening: Opening) -> None:
        store = await opening()
        await store.prepare()
        await store.acquire_lock("r1")
        await store.release_lock(clears=True)
        assert await store.list("_exporter") == []
        await store.prepare()
        await store.acquire_lock("r2")
        log = await begun(store)
        await store.release_lock(clears=True)
        assert await (await opening()).lock_holder() is None
        assert await CommitLog(store, Author(run="r3", host="host", pid=3)).load() == log.state

    async def test_of_many_one_takes_it(self, store: Store, opening: Opening) -> None:
        won: list[Store] = []

        async def take(store: Store) -> None:
            try:
                await store.acquire_lock("r")
            except DestinationLockedError:
                return
            won.append(store)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(take, await opening())
        assert len(won) == 1
        await won[0].release_lock()
        await store.acquire_lock("s")
        await store.release_lock()
