"""Tests what is damage and what is not, wherever a file lies: two readings must agree; a reader proves nothing."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import obstore
import pytest
from obstore.store import MemoryStore

from exporter.errors import DamagedPartError, UnreadableFileError, UnreadablePartError
from exporter.model import ExportFile
from exporter.parts import integrity
from exporter.parts.integrity import as_written, missized, opened, read_as_written
from exporter.store.base import Store
from exporter.store.local.store import LocalStore
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.store import ObjectStore
from tests.log.test_state import data_file

pytestmark = pytest.mark.anyio

DATA = b"what was written" * 100
FILE = msgspec.structs.replace(data_file("a", 0, 10), size_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())
Opening: TypeAlias = Callable[[Store, ExportFile], AbstractAsyncContextManager[Path]]


@pytest.fixture(params=["disk", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "disk":
        yield LocalStore(tmp_path / "out")
        return
    objects = ObjectStore(Bucket(Url("s3", "memory"), MemoryStore()))
    yield objects
    objects.close()


async def put(store: Store, data: bytes) -> None:
    await store.prepare()
    (staged := store.staging_file("one")).write_bytes(data)
    await store.publish(staged, FILE.path)


async def test_what_is_as_it_was_written(store: Store) -> None:
    await put(store, DATA)
    assert await missized(store, {FILE.path: FILE.size_bytes}) == {}
    assert await read_as_written(store, FILE) == DATA


@pytest.mark.parametrize(
    ("data", "kind"), [(None, "missing"), (DATA[1:], "size"), (DATA + b"1", "size"), (DATA[::-1], "sha256")]
)
async def test_damage(data: bytes | None, kind: str, store: Store) -> None:
    if data is not None:
        await put(store, data)
    with pytest.raises(DamagedPartError) as raised:
        await read_as_written(store, FILE)
    assert (raised.value.kind, raised.value.exit_status) == (kind, 6)
    assert str(raised.value).startswith(f"{store.location / FILE.path}: ")
    assert [damage.kind for damage in (await missized(store, {FILE.path: FILE.size_bytes})).values()] == (
        [] if kind == "sha256" else [kind]
    )
    with pytest.raises(DamagedPartError):
        async with opened(store, FILE) as path:
            raise UnreadableFileError(path, "a reader fails")


@pytest.mark.parametrize("opening", [as_written, opened])
async def test_a_reader_that_fails_proves_nothing(opening: Opening, store: Store) -> None:
    await put(store, DATA)
    with pytest.raises(UnreadableFileError, match="a reader fails") as raised:
        async with opening(store, FILE) as path:
            raise UnreadableFileError(path, "a reader fails")
    assert (raised.value.exit_status, str(raised.value.path)) == (1, str(store.location / FILE.path))


async def test_another_file_that_cannot_be_read_is_not_this_one(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError):
        async with opened(store, FILE):
            raise UnreadableFileError(tmp_path / "other", "a reader fails")


async def test_one_bad_reading_is_not_believed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, DATA)
    sums = iter(["0" * 64, FILE.sha256])
    monkeypatch.setattr(integrity, "hash_file", lambda _: next(sums))
    async with as_written(store, FILE) as path:
        assert path.read_bytes() == DATA


async def test_nor_are_two_that_differ(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, DATA)
    sums = iter(["0" * 64, "1" * 64])
    monkeypatch.setattr(integrity, "hash_file", lambda _: next(sums))
    with pytest.raises(UnreadableFileError, match="each reading of it gives different bytes"):
        await read_as_written(store, FILE)


class TestDownloads:
    @pytest.mark.parametrize("short", [1, 2, 1000])
    async def test_one_that_comes_short_is_asked_for_again(self, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ObjectStore(Bucket(Url("s3", "memory"), MemoryStore()))
        await put(store, DATA)
        left, real = short, obstore.get_range

        def get_range(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            found = real(*arguments, **named)
            left -= 1
            return bytes(found)[:10] if left >= 0 else found

        monkeypatch.setattr(obstore, "get_range", get_range)
        try:
            if short < 3:
                assert await read_as_written(store, FILE) == DATA
                return
            with pytest.raises(UnreadableFileError, match="fewer bytes of it than it says it has") as raised:
                await read_as_written(store, FILE)
            assert str(raised.value.path) == f"s3://memory/{FILE.path}"
        finally:
            store.close()


async def test_a_part_that_no_key_opens_is_damaged_only_if_its_bytes_differ(store: Store) -> None:
    for data, kind in ((DATA, UnreadablePartError), (DATA[::-1], DamagedPartError)):
        await store.delete(FILE.path)
        await put(store, data)
        with pytest.raises(kind, match=FILE.path):
            async with opened(store, FILE) as path:
                raise UnreadablePartError(path, "is encrypted with another key")
