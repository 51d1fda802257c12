"""Moves files between this machine and a bucket, or inside the bucket, a few at a time."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Final

import anyio
from anyio import to_thread

from exporter.errors import StoreError, UnreadableFileError, UnreadablePartError
from exporter.layout import staging_path
from exporter.store.base import missing
from exporter.store.disk import file_size, reporting
from exporter.store.local.scratch import Scratch
from exporter.store.objects.bucket import SENT_BYTES, Bucket
from exporter.store.objects.threads import finished

#: This many parts are uploaded or downloaded at a time, each with 20 MiB in memory.
_LARGE_AT_ONCE: Final = 2
#: And this many media files that go in one request, of 5 MiB at most; and parts that the bucket copies itself.
_SMALL_AT_ONCE: Final = 8
#: Stores copy objects up to this size in one request; a larger one goes through this machine.
_COPIED_BYTES: Final = 5 * 1024**3


class Transfers:
    """Does for `bucket` what `base.Store` promises of the methods with these names; copies lie in `scratch`."""

    def __init__(self, bucket: Bucket, scratch: Scratch) -> None:
        self._bucket: Final = bucket
        self._scratch: Final = scratch
        self._large: Final = anyio.Semaphore(_LARGE_AT_ONCE)
        self._small: Final = anyio.Semaphore(_SMALL_AT_ONCE)

    @asynccontextmanager
    async def fetched(self, path: str) -> AsyncIterator[Path]:
        copy = await finished(self._scratch.new_copy, PurePosixPath(path).name)
        try:
            async with self._large:
                await finished(self._bucket.download, path, copy)
            yield copy
        except (UnreadableFileError, UnreadablePartError) as error:
            if error.path != copy:
                raise
            raise type(error)(self._bucket.url / path, error.what) from error
        finally:
            copy.unlink(missing_ok=True)

    async def publish(self, staged: Path, path: str) -> None:
        await _uploaded(self._publish, staged, path, self._large)

    async def publish_media(self, staged: Path, path: str) -> None:
        is_small = (file_size(staged) or 0) <= SENT_BYTES
        await _uploaded(self._publish_media, staged, path, self._small if is_small else self._large)

    async def offer(self, staged: Path) -> str:
        path = staging_path(staged.stem)
        await _uploaded(self._upload, staged, path, self._large)
        return path

    async def adopt(self, staged: str, path: str) -> None:
        async with self._small:
            await finished(self._adopt, staged, path)

    def _publish(self, staged: Path, path: str, given_up: Event) -> None:
        self._check_free(path)
        self._upload(staged, path, given_up)

    def _publish_media(self, staged: Path, path: str, given_up: Event) -> None:
        if self._bucket.size(path) != file_size(staged):
            self._bucket.upload(staged, path, given_up)
        _discard(staged)

    def _upload(self, staged: Path, path: str, given_up: Event) -> None:
        self._bucket.upload(staged, path, given_up)
        _discard(staged)

    def _adopt(self, staged: str, path: str) -> None:
        size = self._bucket.size(staged)
        if size is None:
            raise missing(self._bucket.url / staged)
        self._check_free(path)
        if size <= _COPIED_BYTES:
            self._bucket.copy(staged, path, size)
            return
        through = self._scratch.new_copy(PurePosixPath(staged).name)
        try:
            self._bucket.download(staged, through)
            self._bucket.upload(through, path, Event())
        finally:
            _discard(through)

    def _check_free(self, path: str) -> None:
        # No two runs use the same names: this catches mistakes, not races.
        if self._bucket.size(path) is not None:
            raise StoreError(f"{self._bucket.url / path}: there is a file of this name already; it was left as it is")


async def _uploaded(
    upload: Callable[[Path, str, Event], None], staged: Path, path: str, slots: anyio.Semaphore
) -> None:
    given_up = Event()
    try:
        async with slots:
            await to_thread.run_sync(upload, staged, path, given_up, abandon_on_cancel=True)
    finally:
        given_up.set()


def _discard(file: Path) -> None:
    with reporting(file):
        file.unlink(missing_ok=True)
