"""Keeps a destination in an object store: files are staged on a local disk, and uploaded when they are whole."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from os.path import commonpath
from pathlib import Path, PurePosixPath
from typing import Final

import anyio

from exporter.clock import wall_clock
from exporter.errors import (
    DestinationError,
    InterruptedExportError,
    OvertakenError,
    StoreError,
)
from exporter.layout import CHECKPOINTS, CHECKS, COMMITS, LOCK, MANIFEST, PRIVATE, PROBE, RUNS, STAGING, staging_path
from exporter.settings import FileMode
from exporter.store.base import Content, LockHolder, Trial, try_each
from exporter.store.disk import free_bytes
from exporter.store.local.scratch import Scratch
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.errors import is_passing
from exporter.store.objects.lease import LEASE_SECONDS
from exporter.store.objects.listing import END, Listing
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
from exporter.store.objects.threads import finished
from exporter.store.objects.transfers import Transfers

#: Adding a line is tried this many times, because other runs may add theirs at the same moment.
_TRIES: Final = 20
#: A destination may hold these before any export has begun there. What is staged is of a task that has lived longer
#: than an export that was deleted.
_BEFORE_THE_LOG: Final = frozenset({LOCK, PROBE, RUNS, STAGING})
_LOG: Final = frozenset({CHECKPOINTS, COMMITS})


class ObjectStore:
    """Keeps files as objects of `bucket`, as `base.Store` promises. `close` deletes what is staged."""

    def __init__(self, bucket: Bucket, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.file_mode: FileMode = "private"
        self.bucket: Final = bucket
        self.lock: Final = RemoteLock(bucket, lease_seconds)
        self._scratch: Final = Scratch()
        #: What was listed since `check`, until something is written.
        self._seen: Listing | None = None
        #: Nobody has asked for commits since `check` saw some.
        self._has_fresh_commits = False
        self._transfers: Final = Transfers(bucket, self._scratch)

    @property
    def location(self) -> Url:
        return self.bucket.url

    @property
    def staged_on(self) -> Path:
        return self._scratch.disk

    def close(self) -> None:
        self._scratch.close()

    async def check(self) -> None:
        await finished(self._check)

    async def prepare(self) -> None:
        await finished(self._prepare)
        await finished(self.lock.prove)

    async def read(self, path: str) -> bytes | None:
        found = await finished(self.bucket.get, path)
        return None if found is None else found.data

    async def read_all(self, paths: Collection[str]) -> list[bytes | None]:
        return await finished(self.bucket.get_all, paths)

    async def create(self, path: str, data: bytes) -> bool:
        if self.lock.is_lost:
            raise OvertakenError(LOCK)
        self._seen = None
        return await finished(self.bucket.swap, path, data, "create") is not None

    async def replace(self, path: str, data: Content) -> None:
        self._seen = None
        whole = data if isinstance(data, bytes) else b"".join(map(bytes, data))
        await finished(self.bucket.put, path, whole, "overwrite")

    async def append(self, path: str, line: bytes) -> None:
        await finished(self._append, path, line)

    async def delete(self, *paths: str) -> None:
        self._seen = None
        await finished(self._delete, paths)

    async def move(self, path: str, to: str) -> None:
        await finished(self.bucket.move, path, to)

    async def list_all(self, prefixes: Collection[str]) -> list[str]:
        there = await finished(self.bucket.top) | await finished(self.bucket.top, PRIVATE)
        listed = [await self.list(prefix) if prefix in there else self._staged_here(prefix) for prefix in prefixes]
        return [path for paths in listed for path in paths]

    async def survey(self, directories: Collection[str]) -> Mapping[str, int]:
        found = await finished(self._survey, directories)
        return found | dict.fromkeys(self._staged_here(STAGING) if STAGING in directories else (), 0)

    async def list(self, prefix: str, after: str = "") -> list[str]:
        there = await finished(self._list, prefix, after)
        # A directory that a console made is an object of its name.
        paths = {path for path in (*there, *self._staged_here(prefix)) if path > after and path != prefix}
        return sorted(paths)

    async def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
        return await finished(self._sizes, paths)

    def fetched(self, path: str) -> AbstractAsyncContextManager[Path]:
        return self._transfers.fetched(path)

    def staging_file(self, name: str) -> Path:
        return self._scratch.staged(PurePosixPath(staging_path(name)).name)

    async def publish(self, staged: Path, path: str) -> None:
        await self._transfers.publish(staged, path)

    async def offer(self, staged: Path) -> str:
        return await self._transfers.offer(staged)

    async def adopt(self, staged: str, path: str) -> None:
        await self._transfers.adopt(staged, path)

    async def publish_media(self, staged: Path, path: str) -> None:
        await self._transfers.publish_media(staged, path)

    async def free_bytes(self) -> int:
        return await finished(free_bytes, self.staged_on)

    async def acquire_lock(self, holder: str) -> None:
        await finished(self.lock.acquire, holder)
        # Another run may have come and gone since `check`.
        self._has_fresh_commits = False

    async def keep_lock(self) -> None:
        while not self.lock.is_lost:
            await anyio.sleep(self.lock.lease_seconds / 4)
            with suppress(StoreError):  # renewal is tried again before the lock runs out
                await finished(self.lock.renew)

    async def release_lock(self, *, clears: bool = False) -> None:
        with suppress(StoreError):  # a lock that cannot be given back runs out
            await finished(self._clear if clears else self.lock.release)

    async def lock_holder(self) -> LockHolder | None:
        return await finished(self.lock.holder)

    async def try_out(self) -> tuple[Trial, ...]:
        path = trial_path(wall_clock())
        steps = {
            "write": check_write,
            "create": check_conditions,
            "list": check_list,
            "delete": check_delete,
        }
        try:
            trials = await try_each({name: partial(finished, step, self.bucket, path) for name, step in steps.items()})
        except anyio.get_cancelled_exc_class():
            if left := await finished(take_away, self.bucket, path):
                raise InterruptedExportError(f"stopped; {left}") from None
            raise
        if not trials[-1].is_tried and (left := await finished(take_away, self.bucket, path)):
            return (*trials[:-1], Trial("delete", StoreError(left)))
        return trials

    def _prepare(self) -> None:
        seen = self._seen or self._check()
        if abandoned := abandoned_trials(seen.sizes([PRIVATE]), wall_clock()):
            with suppress(StoreError):  # they stand in nobody's way
                self.bucket.delete(abandoned)

    def _check(self) -> Listing:
        """Returns what was seen. Raises `DestinationError` and `StoreError`."""
        try:
            return self._check_what_is_there()
        except StoreError as error:
            if is_passing(error):
                raise
            raise DestinationError(str(error)) from error

    def _check_what_is_there(self) -> Listing:
        seen = Listing()
        # What lies before the commits is little, except for files of changes.
        for after in ("", CHECKS):
            seen.add(page := self.bucket.page(after, ""))
            if seen.sizes([COMMITS]):
                self._seen, self._has_fresh_commits = seen, True
                return seen
            if page.until == END:
                break
        private, found = self.bucket.top(PRIVATE), self.bucket.top()
        if found <= {PRIVATE} and all(path in _BEFORE_THE_LOG or path.startswith(CHECKS) for path in private):
            return seen
        if MANIFEST in found:
            log = self.location / COMMITS
            raise DestinationError(f"{log}: missing, although its manifest exists. Restore it, or give a new prefix")
        raise DestinationError(f"{self.location}: not empty, and not an export. Give a new prefix, or an export's")

    def _survey(self, directories: Collection[str]) -> dict[str, int]:
        seen = self._seen or Listing()
        for directory in sorted(directories):
            self._see(seen, directory)
        return seen.sizes(directories)

    def _see(self, seen: Listing, directory: str, after: str = "") -> None:
        while (at := seen.unseen(directory, after)) is not None:
            seen.add(self.bucket.page(at, f"{directory}0"))

    def _list(self, directory: str, after: str) -> Collection[str]:
        seen = self._seen
        if seen is None or directory not in _LOG:
            return self.bucket.sizes(directory, after)
        # Checkpoints only spare readings, but whether the log goes on must be asked again.
        if directory == COMMITS and not self._has_fresh_commits:
            seen.forget(max(directory, after))
        self._has_fresh_commits = self._has_fresh_commits and directory != COMMITS
        self._see(seen, directory, after)
        return seen.sizes([directory])

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
        self.bucket.delete([path for path in paths if not self._is_discarded(path)])

    def _is_discarded(self, path: str) -> bool:
        """Returns whether the file was staged here, and is no longer."""
        return path.startswith(f"{STAGING}/") and self._scratch.discard(PurePosixPath(path).name)

    def _staged_here(self, prefix: str) -> Sequence[str]:
        return [f"{STAGING}/{name}" for name in self._scratch.names()] if prefix == STAGING else []

    def _sizes(self, paths: Collection[str]) -> dict[str, int]:
        """Lists directories, because a list gives the sizes of a thousand files at a time."""
        directories: dict[str, list[str]] = {}
        for path in paths:
            directory = path.rpartition("/")[0]
            directories.setdefault(directory.partition("/")[0], []).append(directory)
        listed = [self.bucket.sizes(commonpath(together)) for together in directories.values()]
        return {path: sizes[path] for sizes in listed for path in paths if path in sizes}
