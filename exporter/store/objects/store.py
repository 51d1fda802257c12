"""Keeps a destination in an object store: files are staged on a local disk, and uploaded when they are whole."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from os.path import commonpath
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Final, ParamSpec, TypeVar

import anyio
from anyio import CancelScope, to_thread

from exporter.clock import wall_clock
from exporter.errors import (
    DestinationError,
    InterruptedExportError,
    OvertakenError,
    StoreError,
    UnreadableFileError,
    UnreadablePartError,
)
from exporter.layout import CHECKS, COMMITS, LOCK, MANIFEST, PRIVATE, PROBE, RUNS, STAGING, staging_path
from exporter.settings import FileMode
from exporter.store.base import LockHolder, Trial, try_each
from exporter.store.disk import file_size, free_bytes, reporting
from exporter.store.local.scratch import Scratch
from exporter.store.location import Url
from exporter.store.objects.bucket import SENT_BYTES, Bucket
from exporter.store.objects.errors import is_passing
from exporter.store.objects.lease import LEASE_SECONDS
from exporter.store.objects.lock import RemoteLock
from exporter.store.objects.probe import (
    abandoned_trials,
    check_conditions,
    check_delete,
    check_list,
    check_write,
    take_away,
    trial_path,
)

P = ParamSpec("P")
T = TypeVar("T")

#: This many parts are uploaded or downloaded at a time, each with 20 MiB in memory.
_TRANSFERS: Final = 2
#: And this many media files that go in one request, of 5 MiB at most.
_SMALL_TRANSFERS: Final = 8
#: Adding a line is tried this many times, because other runs may add theirs at the same moment.
_TRIES: Final = 20
#: A destination may hold these before any export has begun there.
_BEFORE_THE_LOG: Final = frozenset({LOCK, PROBE, RUNS})


class ObjectStore:
    """Keeps files as objects of `bucket`, as `base.Store` promises. `close` deletes what is staged."""

    def __init__(self, bucket: Bucket, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.file_mode: FileMode = "private"
        self.bucket: Final = bucket
        self.lock: Final = RemoteLock(bucket, lease_seconds)
        self._scratch: Final = Scratch()
        #: What lay in the private directory of an export that had begun: commits stay, and so does what they prove.
        self._begun: Collection[str] = ()
        self._transfers: Final = anyio.Semaphore(_TRANSFERS)
        self._small_transfers: Final = anyio.Semaphore(_SMALL_TRANSFERS)

    @property
    def location(self) -> Url:
        return self.bucket.url

    @property
    def staged_on(self) -> Path:
        return self._scratch.disk

    def close(self) -> None:
        self._scratch.close()

    async def check(self) -> None:
        await _finished(self._check)

    async def prepare(self) -> None:
        await _finished(self._prepare)
        await _finished(check_conditions, self.bucket, PROBE)

    async def read(self, path: str) -> bytes | None:
        found = await _finished(self.bucket.get, path)
        return None if found is None else found.data

    async def read_all(self, paths: Collection[str]) -> list[bytes | None]:
        return await _finished(self.bucket.get_all, paths)

    async def create(self, path: str, data: bytes) -> bool:
        if self.lock.is_lost:
            raise OvertakenError(LOCK)
        return await _finished(self.bucket.swap, path, data, "create") is not None

    async def replace(self, path: str, data: bytes) -> None:
        await _finished(self.bucket.put, path, data, "overwrite")

    async def append(self, path: str, line: bytes) -> None:
        await _finished(self._append, path, line)

    async def delete(self, *paths: str) -> None:
        await _finished(self._delete, paths)

    async def move(self, path: str, to: str) -> None:
        await _finished(self.bucket.move, path, to)

    async def list_all(self, prefixes: Collection[str]) -> list[str]:
        there = await _finished(self.bucket.top) | await _finished(self.bucket.top, PRIVATE)
        return [path for prefix in prefixes if prefix in there for path in await self.list(prefix)]

    async def list(self, prefix: str, after: str = "") -> list[str]:
        if prefix == STAGING:
            return [path for name in self._scratch.names() if (path := f"{STAGING}/{name}") > after]
        return sorted(await _finished(self.bucket.sizes, prefix, after))

    async def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
        return await _finished(self._sizes, paths)

    @asynccontextmanager
    async def fetched(self, path: str) -> AsyncIterator[Path]:
        copy = await _finished(self._scratch.new_copy, PurePosixPath(path).name)
        try:
            async with self._transfers:
                await _finished(self.bucket.download, path, copy)
            yield copy
        except (UnreadableFileError, UnreadablePartError) as error:
            if error.path != copy:
                raise
            raise type(error)(self.location / path, error.what) from error
        finally:
            copy.unlink(missing_ok=True)

    def staging_file(self, name: str) -> Path:
        return self._scratch.staged(PurePosixPath(staging_path(name)).name)

    async def publish(self, staged: Path, path: str) -> None:
        await self._uploaded(self._publish, staged, path, self._transfers)

    async def publish_media(self, staged: Path, path: str) -> None:
        is_small = (file_size(staged) or 0) <= SENT_BYTES
        await self._uploaded(self._publish_media, staged, path, self._small_transfers if is_small else self._transfers)

    async def free_bytes(self) -> int:
        return await _finished(free_bytes, self.staged_on)

    async def acquire_lock(self, holder: str) -> None:
        await _finished(self.lock.acquire, holder)

    async def keep_lock(self) -> None:
        while not self.lock.is_lost:
            await anyio.sleep(self.lock.lease_seconds / 4)
            with suppress(StoreError):  # renewal is tried again before the lock runs out
                await _finished(self.lock.renew)

    async def release_lock(self, *, clears: bool = False) -> None:
        with suppress(StoreError):  # a lock that cannot be given back runs out
            await _finished(self._clear if clears else self.lock.release)

    async def lock_holder(self) -> LockHolder | None:
        return await _finished(self.lock.holder)

    async def try_out(self) -> tuple[Trial, ...]:
        path = trial_path(wall_clock())
        steps = {
            "write": check_write,
            "create": check_conditions,
            "list": check_list,
            "delete": check_delete,
        }
        try:
            trials = await try_each({name: partial(_finished, step, self.bucket, path) for name, step in steps.items()})
        except anyio.get_cancelled_exc_class():
            if left := await _finished(take_away, self.bucket, path):
                raise InterruptedExportError(f"stopped; {left}") from None
            raise
        if not trials[-1].is_tried and (left := await _finished(take_away, self.bucket, path)):
            return (*trials[:-1], Trial("delete", StoreError(left)))
        return trials

    async def _uploaded(
        self, upload: Callable[[Path, str, Event], None], staged: Path, path: str, slots: anyio.Semaphore
    ) -> None:
        given_up = Event()
        try:
            async with slots:
                await to_thread.run_sync(upload, staged, path, given_up, abandon_on_cancel=True)
        finally:
            given_up.set()

    def _prepare(self) -> None:
        if abandoned := abandoned_trials(self._begun or self._check(), wall_clock()):
            with suppress(StoreError):  # they stand in nobody's way
                self.bucket.delete(abandoned)

    def _check(self) -> Collection[str]:
        """Returns what lies in the private directory itself. Raises `DestinationError` and `StoreError`."""
        try:
            return self._check_what_is_there()
        except StoreError as error:
            if is_passing(error):
                raise
            raise DestinationError(str(error)) from error

    def _check_what_is_there(self) -> Collection[str]:
        private = self.bucket.top(PRIVATE)
        if COMMITS in private and self.bucket.has_any(COMMITS):
            self._begun = private
            return private
        found = self.bucket.top()
        if found <= {PRIVATE} and all(path in _BEFORE_THE_LOG or path.startswith(CHECKS) for path in private):
            return private
        if MANIFEST in found:
            log = self.location / COMMITS
            raise DestinationError(f"{log}: missing, although its manifest exists. Restore it, or give a new prefix")
        raise DestinationError(f"{self.location}: not empty, and not an export. Give a new prefix, or an export's")

    def _clear(self) -> None:
        if self.bucket.has_any(COMMITS):
            self.lock.release()
        else:
            self.lock.remove()

    def _append(self, path: str, line: bytes) -> None:
        for _ in range(_TRIES):
            found = self.bucket.get(path)
            if found is None:
                if not self.bucket.has_any(PRIVATE) or self.bucket.swap(path, line, "create"):
                    return
            elif line in found.data:
                return
            else:
                torn = found.data and not found.data.endswith(b"\n")
                if self.bucket.swap(path, found.data + (b"\n" if torn else b"") + line, found.version):
                    return
        raise StoreError(f"{self.location / path}: many runs write to it at the same time. Run again")

    def _delete(self, paths: Collection[str]) -> None:
        staged = [path for path in paths if path.startswith(f"{STAGING}/")]
        for path in staged:
            file = self._scratch.staged(PurePosixPath(path).name)
            with reporting(file):
                file.unlink(missing_ok=True)
        self.bucket.delete([path for path in paths if path not in staged])

    def _sizes(self, paths: Collection[str]) -> dict[str, int]:
        """Lists directories, because a list gives the sizes of a thousand files at a time."""
        directories: dict[str, list[str]] = {}
        for path in paths:
            directory = path.rpartition("/")[0]
            directories.setdefault(directory.partition("/")[0], []).append(directory)
        listed = [self.bucket.sizes(commonpath(together)) for together in directories.values()]
        return {path: sizes[path] for sizes in listed for path in paths if path in sizes}

    def _publish(self, staged: Path, path: str, given_up: Event) -> None:
        # No two runs use the same names: this catches mistakes, not races.
        if self.bucket.size(path) is not None:
            raise StoreError(f"{self.location / path}: there is a file of this name already; it was left as it is")
        self.bucket.upload(staged, path, given_up)
        with reporting(staged):
            staged.unlink(missing_ok=True)

    def _publish_media(self, staged: Path, path: str, given_up: Event) -> None:
        if self.bucket.size(path) != file_size(staged):
            self.bucket.upload(staged, path, given_up)
        with reporting(staged):
            staged.unlink(missing_ok=True)


async def _finished(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Does `work` in a thread, and waits for its end even if the task is cancelled, so that nothing goes on unseen."""
    with CancelScope(shield=True):
        done = await to_thread.run_sync(partial(work, *arguments, **named))
    return done  # noqa: RET504 - to a type checker, a scope may swallow what the block raises
