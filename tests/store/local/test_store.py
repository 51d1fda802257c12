"""Files in a directory are whole or absent, private and never overwritten, and errors say what to do."""

import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from exporter.errors import DestinationError, StoreError
from exporter.layout import LOCK, RUNS
from exporter.store.local.store import LocalStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "dest")
    await store.prepare()
    return store


def modes(root: Path) -> set[tuple[str, int]]:
    return {
        ("directory" if path.is_dir() else "file", stat.S_IMODE(path.stat().st_mode))
        for path in (root, *root.rglob("*"))
    }


def staged(store: LocalStore, data: bytes = b"whole") -> Path:
    path = store.staging_file("one")
    path.write_bytes(data)
    path.chmod(0o600)
    return path


async def test_everything_is_private(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "new" / "deep" / "dest")
    await store.prepare()
    await store.create("_exporter/commits/1.json", b"1")
    await store.replace("_manifest.json", b"2")
    await store.publish(staged(store), "conversations/created_date=2026-02-10/part-1.parquet")
    await store.acquire_lock("r1")
    await store.release_lock()
    assert modes(store.root) == {("directory", 0o700), ("file", 0o600)}
    # Nobody else sees what lies above, either.
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.root.parents[:2]} == {0o710}


async def test_what_stands_for_a_file_and_is_none_is_refused_and_not_waited_for(store: LocalStore) -> None:
    await store.create(RUNS, b"")
    for path in (RUNS, LOCK):
        store.locate(path).unlink(missing_ok=True)
        os.mkfifo(store.locate(path))
    with pytest.raises(StoreError, match=r"runs.jsonl: not a regular file. Remove it, then run again to resume$"):
        await store.read(RUNS)
    assert await store.lock_holder() is None


async def test_list_is_recursive_and_relative(store: LocalStore) -> None:
    await store.publish(staged(store), "conversations/created_date=2026-02-10/part-1.parquet")
    await store.publish(staged(store), "conversations/part-2.parquet")
    await store.publish(staged(store), "turns/part-2.parquet")
    assert await store.list("conversations") == [
        "conversations/created_date=2026-02-10/part-1.parquet",
        "conversations/part-2.parquet",
    ]
    assert await store.list("missing") == []


async def test_publish_never_overwrites(store: LocalStore) -> None:
    await store.publish(staged(store, b"first"), "turns/part-1.parquet")
    second = staged(store, b"second")
    with pytest.raises(StoreError, match=r"part-1\.parquet: there is a file"):
        await store.publish(second, "turns/part-1.parquet")
    assert await store.read("turns/part-1.parquet") == b"first"
    assert second.read_bytes() == b"second"


async def test_without_hard_links_nothing_is_overwritten_either(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    assert await store.create("_manifest.json", b"one")
    assert not await store.create("_manifest.json", b"two")
    assert await store.read("_manifest.json") == b"one"
    assert await store.list("_exporter") == []


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "conversations/../../x", "a\0b"])
async def test_paths_stay_inside(store: LocalStore, path: str) -> None:
    with pytest.raises(StoreError, match="not a path inside"):
        await store.delete(path)


async def test_free_space_is_known(store: LocalStore) -> None:
    assert await store.free_bytes() > 0


class TestPrepare:
    async def test_twice_is_fine(self, store: LocalStore) -> None:
        await store.create("_exporter/commits/00000001.json", b"")
        await store.prepare()
        await LocalStore(store.root).prepare()

    @pytest.mark.parametrize("inside", [(), ("lost+found",), ("_exporter",), ("_exporter/staging",)])
    async def test_empty_directories_and_leftovers_are_taken(self, tmp_path: Path, inside: tuple[str, ...]) -> None:
        for name in inside:
            (tmp_path / name).mkdir(parents=True)
        await LocalStore(tmp_path).prepare()
        assert (tmp_path / "_exporter" / "commits").is_dir()

    @pytest.mark.parametrize("name", [".DS_Store", "._.DS_Store", ".nfs0001", "Thumbs.db", "desktop.ini", ".gitkeep"])
    async def test_what_systems_leave_says_nothing_of_whose_directory_it_is(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"?")
        await LocalStore(tmp_path).prepare()

    async def test_an_export_that_lies_beside_other_files_is_ours(self, store: LocalStore) -> None:
        (store.root / "notes.txt").write_text("mine")
        await store.prepare()

    @pytest.mark.parametrize("name", ["notes.txt", "_exporter/other.txt", "conversations/part-1.parquet"])
    async def test_a_strangers_directory_is_refused_untouched(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("theirs")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(DestinationError) as raised:
            await LocalStore(tmp_path).prepare()
        assert str(raised.value) == (
            f"{tmp_path}: not empty, and not an export. Give a new directory, or that of an export"
        )
        assert sorted(tmp_path.rglob("*")) == before

    async def test_an_export_that_has_lost_its_log_is_told_from_a_strangers_directory(self, tmp_path: Path) -> None:
        (tmp_path / "_manifest.json").write_text("{}")
        with pytest.raises(DestinationError) as raised:
            await LocalStore(tmp_path).prepare()
        assert str(raised.value) == (
            f"{tmp_path / '_exporter/commits'}: missing, although its manifest exists. "
            "Restore it, or give a new directory"
        )
        assert list(tmp_path.iterdir()) == [tmp_path / "_manifest.json"]

    @pytest.mark.parametrize("below", ["", "deeper/still"])
    async def test_a_file_is_refused(self, tmp_path: Path, below: str) -> None:
        (tmp_path / "file").write_text("theirs")
        with pytest.raises(DestinationError) as raised:
            await LocalStore(tmp_path / "file" / below).prepare()
        assert str(raised.value) == f"{tmp_path / 'file'}: a file, not a directory. Give a directory"

    async def test_a_dangling_link_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(DestinationError, match="leads nowhere"):
            await LocalStore(tmp_path / "link").prepare()

    async def test_where_no_directory_can_be_made_says_so(self) -> None:
        # A user who may write anywhere is told that there is no such thing.
        with pytest.raises(DestinationError, match=r"(no directory can be made there|not writable).* another"):
            await LocalStore(Path("/proc/x")).prepare()

    async def test_a_directory_without_permission_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(DestinationError) as raised:
            await LocalStore(tmp_path / "dest").prepare()
        assert str(raised.value) == (
            f"{tmp_path}: not writable. Run as the user who owns it, or choose another destination"
        )
        assert not (tmp_path / "dest").exists()

    async def test_a_read_only_file_system_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read_only = os.statvfs_result((4096, 4096, 1, 1, 1, 1, 1, 1, os.ST_RDONLY, 255))
        monkeypatch.setattr(os, "statvfs", lambda _: read_only)
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(DestinationError) as raised:
            await LocalStore(tmp_path / "dest").check()
        assert str(raised.value) == f"{tmp_path}: the file system is read-only. Choose another destination"

    async def test_what_the_system_refuses_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def mkdir(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "read-only")

        monkeypatch.setattr(Path, "mkdir", mkdir)
        with pytest.raises(DestinationError, match=r"read-only\. Choose another"):
            await LocalStore(tmp_path / "dest").prepare()


OPERATIONS: dict[str, Callable[[LocalStore], Awaitable[object]]] = {
    "create": lambda store: store.create("_exporter/commits/1.json", b"x" * 9000),
    "replace": lambda store: store.replace("_exporter/commits/1.json", b"x" * 9000),
    "publish": lambda store: store.publish(staged(store), "conversations/part-1.parquet"),
    "delete": lambda store: store.delete("_exporter/commits/0.json"),
}


class TestFaults:
    """Every step of the system that a write consists of fails once, with each error."""

    @pytest.mark.parametrize(
        ("number", "says"),
        [
            (errno.ENOSPC, "the disk is full. Free some space, then run again to resume"),
            (errno.EACCES, "permission denied. Run as the user who owns the destination, or choose another"),
            (errno.EIO, "Input/output error. Check the disk, then run again to resume"),
        ],
    )
    @pytest.mark.parametrize("operation", OPERATIONS)
    async def test_a_failing_step_is_a_store_error(
        self, tmp_path: Path, operation: str, number: int, says: str
    ) -> None:
        steps = await steps_of(tmp_path / "whole", operation)
        assert steps >= 2
        for fail_at in range(1, steps + 1):
            store = await store_with_a_file(tmp_path / str(fail_at))
            with pytest.MonkeyPatch.context() as patch:
                fail_step(patch, fail_at, number)
                with pytest.raises(StoreError) as raised:
                    await OPERATIONS[operation](store)
            assert str(raised.value).endswith(says)
            assert str(store.root) in str(raised.value)
            for path in (store.root / "_exporter/commits/1.json", store.root / "conversations/part-1.parquet"):
                assert not path.exists() or path.read_bytes() in (b"x" * 9000, b"whole")

    @pytest.mark.parametrize("operation", ["create", "replace"])
    @pytest.mark.parametrize("size", [0, 1, 8999])
    async def test_a_file_that_cannot_grow_leaves_nothing(self, store: LocalStore, operation: str, size: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            with pytest.raises(StoreError, match=r"1\.json: .* \(ulimit -f\)\. Raise it, then run again to resume"):
                await OPERATIONS[operation](store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await store.list("_exporter") == []

    async def test_reading_a_directory_is_a_store_error(self, store: LocalStore) -> None:
        with pytest.raises(StoreError, match="_exporter/commits"):
            await store.read("_exporter/commits")


async def store_with_a_file(root: Path) -> LocalStore:
    store = LocalStore(root)
    await store.prepare()
    await store.create("_exporter/commits/0.json", b"")
    return store


async def steps_of(root: Path, operation: str) -> int:
    store = await store_with_a_file(root)
    with pytest.MonkeyPatch.context() as patch:
        calls = fail_step(patch, 0, 0)
        await OPERATIONS[operation](store)
    return len(calls)


def fail_step(patch: pytest.MonkeyPatch, fail_at: int, number: int) -> list[str]:
    """Lets the `fail_at`-th of the calls that change a file system fail; the list names those made."""
    calls: list[str] = []

    def failing(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == fail_at:
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        patch.setattr(owner, name, call)

    failing(os, "fsync")
    failing(os, "link")
    failing(Path, "mkdir")
    failing(Path, "replace")
    failing(Path, "unlink")
    return calls


async def test_of_many_tasks_one_creates(store: LocalStore) -> None:
    won: list[int] = []

    async def race(number: int) -> None:
        if await store.create("_exporter/commits/1.json", b"%d" % number * 1000):
            won.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(race, number)
    assert len(won) == 1
    assert await store.read("_exporter/commits/1.json") == b"%d" % won[0] * 1000


RACER = """
import asyncio, sys
from pathlib import Path
from exporter.store.local.store import LocalStore

async def race(store, name):
    print("ready", flush=True)
    sys.stdin.readline()
    won = [slot for slot in range(60) if await store.create(f"_exporter/commits/{slot}.json", name * 500)]
    print(*won)

asyncio.run(race(LocalStore(Path(sys.argv[1])), sys.argv[2].encode()))
"""


def race_two_processes(root: Path) -> list[list[int]]:
    """Returns the slots that each of two processes has created."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(root), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    return [[int(slot) for slot in racer.communicate()[0].split()] for racer in racers]


async def test_of_two_processes_one_creates(store: LocalStore) -> None:
    won = await anyio.to_thread.run_sync(race_two_processes, store.root)
    assert sorted(won[0] + won[1]) == list(range(60))
    for name, slots in zip("ab", won, strict=True):
        for slot in slots:
            assert await store.read(f"_exporter/commits/{slot}.json") == name.encode() * 500


async def test_a_cancelled_write_is_finished(store: LocalStore) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(store.create, "_exporter/commits/1.json", b"whole")
            await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert await store.read("_exporter/commits/1.json") in (None, b"whole")
    assert await store.list("_exporter/staging") == []
