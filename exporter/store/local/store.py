"""Keeps a destination in a local directory. Every `OSError` becomes a `StoreError` with its path and advice."""

import errno
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Final, TypeVar

import aiofiles
from anyio import CancelScope, sleep, to_thread

from exporter.clock import wall_clock
from exporter.contract import Instant
from exporter.errors import DestinationLockedError, StoreError
from exporter.layout import (
    LOCK,
    staging_path,
)
from exporter.settings import FileMode
from exporter.store.base import Content, LockHolder, Trial, missing
from exporter.store.disk import (
    file_size,
    finish,
    free_bytes,
    fsync_directory,
    make_directories,
    open_patiently,
    open_private,
    place,
    replace,
    reporting,
)
from exporter.store.local import files, ground, lock, trial
from exporter.store.local.sizes import sizes_of
from exporter.store.location import parts_inside

T = TypeVar("T")

#: `status` tries the lock for an instant; a run that meets it there must try again, not give up.
_LOCK_PAUSES_SECONDS: Final = (0.05, 0.05, 0.05)


class LocalStore:
    """Keeps files under `root`; `base.Store` says what each method promises."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        self.file_mode: FileMode = "private"
        self._lock: int | None = None
        self._durable: set[Path] = set()
        #: The directories that `prepare` has made of the way to `root`, from below.
        self._new: list[Path] = []

    @property
    def location(self) -> Path:
        return self.root

    @property
    def staged_on(self) -> Path:
        return self.root

    async def check(self) -> None:
        await to_thread.run_sync(ground.check, self.root)

    async def try_out(self) -> tuple[Trial, ...]:
        place = trial.place_in(self.root)
        return await trial.try_out(LocalStore(place), place, self.root)

    async def prepare(self) -> None:
        # A killed run may have left a commit that a power cut would still take away, from under the next commit.
        self._new += [path for path in (self.root, *self.root.parents) if not path.exists()]
        await to_thread.run_sync(ground.prepare, self.root, self._durable, self.file_mode)

    async def read(self, path: str) -> bytes | None:
        return await to_thread.run_sync(files.read, self.locate(path))

    async def read_all(self, paths: Collection[str]) -> list[bytes | None]:
        return await to_thread.run_sync(files.read_all, [self.locate(path) for path in paths])

    async def create(self, path: str, data: bytes) -> bool:
        return await self._write(path, data, self._place_new)

    async def replace(self, path: str, data: Content) -> None:
        await self._write(path, data, self._replace)

    async def append(self, path: str, line: bytes) -> None:
        await to_thread.run_sync(files.append, self.root, self.locate(path), line, self.file_mode)

    async def delete(self, *paths: str) -> None:
        for path in paths:
            await to_thread.run_sync(files.delete, self.locate(path))

    async def move(self, path: str, to: str) -> None:
        await to_thread.run_sync(self._move, self.locate(path), self.locate(to))

    async def survey(self, directories: Collection[str]) -> None:
        """Returns nothing: to list files on a disk tells no sizes."""

    async def list_all(self, prefixes: Collection[str]) -> list[str]:
        return [path for prefix in prefixes for path in await self.list(prefix)]

    async def list(self, prefix: str, after: str = "") -> list[str]:
        return await to_thread.run_sync(files.paths_in, self.root, self.locate(prefix), after)

    async def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
        return await to_thread.run_sync(sizes_of, self.root, paths)

    @asynccontextmanager
    async def fetched(self, path: str) -> AsyncIterator[Path]:
        yield self.locate(path)

    async def publish(self, staged: Path, path: str) -> None:
        await to_thread.run_sync(self._publish, staged, self.locate(path))

    async def offer(self, staged: Path) -> str:
        return await to_thread.run_sync(self._offer, staged)

    async def adopt(self, staged: str, path: str) -> None:
        await to_thread.run_sync(self._adopt, self.locate(staged), self.locate(path))

    async def publish_media(self, staged: Path, path: str) -> None:
        await to_thread.run_sync(self._publish_media, staged, self.locate(path))

    async def free_bytes(self) -> int:
        return await to_thread.run_sync(free_bytes, self.root)

    def staging_file(self, name: str) -> Path:
        return self.root / staging_path(name)

    def locate(self, path: str) -> Path:
        """Returns where `path` lies. Raises `StoreError` for one that leads out of the destination."""
        return self.root.joinpath(*parts_inside(self.root, path))

    async def acquire_lock(self, holder: str) -> None:
        path, now = self.locate(LOCK), wall_clock()
        # Not in a thread: a cancelled task would leave it to take the lock, and nobody would give the lock back.
        for pause_seconds in _LOCK_PAUSES_SECONDS:
            with suppress(DestinationLockedError):
                self._lock = self._acquire(path, holder, now)
                break
            await sleep(pause_seconds)
            await self._prepare_again()
        else:
            self._lock = self._acquire(path, holder, now)
        try:
            await self._prepare_again()
        except BaseException:
            await self.release_lock()
            raise

    def _acquire(self, path: Path, holder: str, now: Instant) -> int:
        try:
            return lock.acquire(path, holder, now, self.file_mode)
        except StoreError:
            if not self._durable or path.parent.exists():
                raise
            raise DestinationLockedError(f"{self.root}: another run is just ending there. Run again") from None

    async def _prepare_again(self) -> None:
        """Makes what a run that has begun nothing has taken away since `prepare`."""
        if self._durable and not ground.is_prepared(self.root):
            self._durable.clear()
            await self.prepare()

    async def keep_lock(self) -> None:
        """Does nothing, because the kernel keeps the lock."""

    async def release_lock(self, *, clears: bool = False) -> None:
        if self._lock is not None:
            descriptor, self._lock = self._lock, None
            with reporting(self.locate(LOCK)):
                try:
                    if clears:
                        ground.clear(self.root, self._new)
                finally:
                    lock.release(descriptor)

    async def lock_holder(self) -> LockHolder | None:
        return await to_thread.run_sync(lock.current_holder, self.locate(LOCK))

    async def _write(self, path: str, data: Content, install: Callable[[Path, Path], T]) -> T:
        final = self.locate(path)
        temporary = self.staging_file(secrets.token_hex(8))
        with CancelScope(shield=True), reporting(final):
            try:
                async with aiofiles.open(temporary, "xb", opener=open_private) as file:
                    await file.writelines([data] if isinstance(data, bytes) else data)
                    await file.flush()
                    await to_thread.run_sync(finish, file.fileno(), self.file_mode)
                installed = await to_thread.run_sync(install, temporary, final)
            finally:
                await to_thread.run_sync(partial(temporary.unlink, missing_ok=True))
        return installed

    def _place_new(self, whole: Path, final: Path) -> bool:
        if not final.parent.exists():
            self._make_parents(final)
        return place(whole, final)

    def _replace(self, whole: Path, final: Path) -> None:
        if not final.parent.exists():
            self._make_parents(final)
        replace(whole, final)

    def _publish(self, staged: Path, final: Path) -> None:
        if not self._place(staged, final):
            raise StoreError(f"{final}: there is a file of this name already; it was left as it is")
        with reporting(staged):
            staged.unlink(missing_ok=True)

    def _offer(self, staged: Path) -> str:
        with reporting(staged):
            # Only its owner can give it its mode, and another user may adopt it.
            with open_patiently(staged) as whole:
                finish(whole.fileno(), self.file_mode)
            fsync_directory(staged.parent)
        return staged.relative_to(self.root).as_posix()

    def _adopt(self, staged: Path, final: Path) -> None:
        if file_size(staged) is None:
            raise missing(staged)
        self._publish(staged, final)

    def _publish_media(self, staged: Path, final: Path) -> None:
        if not self._place(staged, final) and file_size(staged) != file_size(final):
            with reporting(final):
                replace(staged, final)
        with reporting(staged):
            staged.unlink(missing_ok=True)

    def _place(self, staged: Path, final: Path) -> bool:
        with reporting(final):
            self._make_parents(final)
            if self.file_mode != "private":
                with open_patiently(staged) as whole:
                    finish(whole.fileno(), self.file_mode)
            return place(staged, final)

    def _move(self, file: Path, final: Path) -> None:
        with reporting(final):
            self._make_parents(final)
            try:
                replace(file, final)
            except (FileNotFoundError, NotADirectoryError):
                return
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(file, final)
                file.unlink()
            fsync_directory(file.parent)

    def _copy(self, file: Path, final: Path) -> None:
        temporary = self.staging_file(secrets.token_hex(8))
        with BufferedReader(open_patiently(file)) as source, open(temporary, "xb", opener=open_private) as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            finish(copy.fileno(), self.file_mode)
        replace(temporary, final)

    def _make_parents(self, final: Path) -> None:
        for directory in reversed(final.relative_to(self.root).parents):
            is_inside = directory != Path()
            make_directories(self.root / directory, self._durable, self.file_mode, is_inside=is_inside)
