"""One run at a time holds a destination: the second learns which, and a dead one holds nothing."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.errors import DestinationLockedError, StoreError
from exporter.store.local.store import LocalStore

pytestmark = pytest.mark.anyio

HOLDER = """
import asyncio, sys
from pathlib import Path
from exporter.store.local.store import LocalStore

async def hold(store):
    await store.acquire_lock("other-run")
    print("held", flush=True)
    sys.stdin.readline()

asyncio.run(hold(LocalStore(Path(sys.argv[1]))))
"""


@pytest.fixture
async def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "dest")
    await store.prepare()
    return store


@contextmanager
def another_process(root: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


async def test_a_second_process_learns_who_holds_it(store: LocalStore) -> None:
    with another_process(store.root) as process:
        holder = await store.lock_holder()
        assert holder is not None
        assert (holder.pid, holder.run) == (process.pid, "other-run")
        with pytest.raises(DestinationLockedError) as raised:
            await store.acquire_lock("mine")
        assert str(raised.value) == (
            f"{store.root}: held by run other-run (process {process.pid} on {holder.host}), since "
            f"{str(holder).split('since ')[1]}. Wait until it ends, or stop it, then run again"
        )
        assert await store.lock_holder() == holder


async def test_a_killed_process_holds_nothing(store: LocalStore) -> None:
    with another_process(store.root) as process:
        process.kill()
        process.wait()
    assert "other-run" in (store.root / "_exporter/lock").read_text()
    assert await store.lock_holder() is None
    await store.acquire_lock("mine")
    holder = await store.lock_holder()
    assert holder is not None
    assert (holder.pid, holder.run) == (os.getpid(), "mine")
    await store.release_lock()


async def test_released_is_free_and_the_file_stays(store: LocalStore) -> None:
    await store.release_lock()
    await store.acquire_lock("one")
    inode = (store.root / "_exporter/lock").stat().st_ino
    with pytest.raises(DestinationLockedError):
        await LocalStore(store.root).acquire_lock("two")
    await store.release_lock()
    assert await store.lock_holder() is None
    assert (store.root / "_exporter/lock").read_bytes() == b""
    await LocalStore(store.root).acquire_lock("two")
    assert (store.root / "_exporter/lock").stat().st_ino == inode


async def test_a_holder_that_has_not_said_its_name(store: LocalStore) -> None:
    await store.acquire_lock("one")
    (store.root / "_exporter/lock").write_bytes(b'{"pid": 1, "ho')
    holder = await LocalStore(store.root).lock_holder()
    assert holder is not None
    assert holder.host == "unknown host"
    with pytest.raises(DestinationLockedError, match="just starting"):
        await LocalStore(store.root).acquire_lock("two")
    await store.release_lock()


async def test_where_nothing_is_nobody_holds_it(tmp_path: Path) -> None:
    assert await LocalStore(tmp_path / "none").lock_holder() is None
    assert not (tmp_path / "none").exists()
    with pytest.raises(StoreError, match="_exporter/lock"):
        await LocalStore(tmp_path / "none").acquire_lock("one")


async def test_who_is_cancelled_leaves_nothing_locked(store: LocalStore) -> None:
    for turns in range(8):
        taking = asyncio.create_task(store.acquire_lock("cancelled"))
        for _ in range(turns):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])
        for _ in range(3000):  # what a thread has begun, it ends
            await asyncio.sleep(0)
        await store.release_lock()
        assert await store.lock_holder() is None, turns
