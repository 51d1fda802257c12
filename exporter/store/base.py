"""What a place for an export can do, wherever it is: `local` on a disk, `objects` in an object store."""

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from exporter.contract import Instant, format_instant
from exporter.store.location import Location


class LockHolder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a destination: process, host and run, and since when."""

    pid: int
    host: str
    run: str
    since: Instant

    def __str__(self) -> str:
        return f"run {self.run} (process {self.pid} on {self.host}), since {format_instant(self.since)}"


class Store(Protocol):
    """Files of a destination, named by paths relative to it, with `/`.

    What is staged lies on a local disk in any case, and has a path below `layout.STAGING`. Every step that has begun is
    finished: a cancelled task never leaves one half done behind its back; an upload alone is given up, and leaves
    nothing, or what is swept. Each method raises `StoreError` when the store fails, and for a path that leads out of
    the destination.
    """

    @property
    def location(self) -> Location:
        """The destination, as its user named it; with `/` and a path, a file of it."""

    @property
    def staged_on(self) -> Path:
        """The directory on whose disk files are staged."""

    async def check(self) -> None:
        """Touches nothing. Raises `DestinationError` for a destination that cannot be written to, or that holds
        something else than an export."""

    async def prepare(self) -> None:
        """Makes the destination ready for commits, after `check`; what is in the log already is durable from then on.

        Raises `DestinationError`.
        """

    async def read(self, path: str) -> bytes | None:
        """The content of a file; None when there is none."""

    async def read_all(self, paths: Collection[str]) -> list[bytes | None]:
        """As `read`, of many small files."""

    async def create(self, path: str, data: bytes) -> bool:
        """Creates a file, whole and durable or not at all; False when there is one already.

        That may be this very one, where a store has kept what it said it could not: who has to know reads it.
        """

    async def replace(self, path: str, data: bytes) -> None:
        """Writes a file, in place of the one that may be there: a reader sees the old or the new, whole."""

    async def append(self, path: str, line: bytes) -> None:
        """Adds a line to a file, durably, on a line of its own whatever a writer that was killed has left there.

        Where no export is, nothing is done. Several processes may do so at a time.
        """

    async def delete(self, *paths: str) -> None:
        """Deletes files durably; that there is none is fine."""

    async def move(self, path: str, to: str) -> None:
        """Gives a file another path, durably and in place of what may be there; that there is none is fine.

        A process that is killed may leave it at both; never at neither.
        """

    async def list(self, prefix: str) -> list[str]:
        """The paths of all files in the directory `prefix` and below, sorted."""

    async def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
        """Of the files among `paths` that are there, the bytes they have."""

    def fetched(self, path: str) -> AbstractAsyncContextManager[Path]:
        """A file as one on a local disk, to be read and not written, for as long as the block lasts.

        Where there is none, there is none at the path either.
        """

    def staging_file(self, name: str) -> Path:
        """Where to write a file that `publish` will take."""

    async def publish(self, staged: Path, path: str) -> None:
        """Moves a fsynced file of `staging_file` to its final path, durably.

        Raises `StoreError`, also when something has that path already.
        """

    async def free_bytes(self) -> int:
        """What can still be written to `staged_on`, also before `prepare`."""

    async def acquire_lock(self, holder: str) -> None:
        """Takes the destination for the run `holder`, for as long as this process lives.

        Raises `DestinationLockedError` when another run has it.
        """

    async def keep_lock(self) -> None:
        """Keeps the lock from running out; to be run beside what it protects, until cancelled or nothing is to do."""

    async def release_lock(self) -> None:
        """Gives the destination back; without a lock, nothing."""

    async def lock_holder(self) -> LockHolder | None:
        """Who holds the destination now; None when nobody does."""
