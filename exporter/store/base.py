"""States what a place for an export can do, wherever it is: `local` on a disk, `objects` in an object store."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import anyio
import anyio.lowlevel
import msgspec

from exporter.contract import SECOND, Instant, format_instant
from exporter.errors import ExporterError, StoreError
from exporter.settings import FileMode
from exporter.store.location import Location

#: What a file is to hold: all of it, or pieces of it.
Content: TypeAlias = bytes | Iterator[bytes | memoryview]


class LockHolder(msgspec.Struct, frozen=True, kw_only=True):
    """Names the run that holds a destination, its process and host, and since when it does."""

    pid: int
    host: str
    run: str
    since: Instant

    def __str__(self) -> str:
        since = format_instant(self.since - self.since % SECOND)
        return f"run {self.run} (process {self.pid} on {self.host}), since {since}"


class Trial(NamedTuple):
    """Tells how it went when a step was tried: `error` is why it failed. It was not tried if an earlier one failed that
    it needs."""

    step: str
    error: ExporterError | None = None
    is_tried: bool = True


async def try_each(steps: Mapping[str, Callable[[], Awaitable[None]]]) -> tuple[Trial, ...]:
    """Takes the steps, in their order; all others need the first one. If the task is cancelled, a step that has begun
    ends first."""
    trials = list[Trial]()

    async def take_all() -> None:
        for name, take in steps.items():
            if trials and trials[0].error is not None:
                trials.append(Trial(name, is_tried=False))
                continue
            await anyio.lowlevel.checkpoint()
            try:
                await take()
            except ExporterError as error:
                trials.append(Trial(name, error))
            else:
                trials.append(Trial(name))

    # A signal cancels the task itself, which no shield keeps from leaving a thread at work; a group waits for it.
    async with anyio.create_task_group() as group:
        group.start_soon(take_all)
    return tuple(trials)


def missing(where: object) -> StoreError:
    """Returns the error for a file that `Store.adopt` does not find."""
    return StoreError(f"{where}: missing, although a task has staged it there. Run again to resume")


class Store(Protocol):
    """Gives access to the files of a destination, named by paths relative to it, with `/`.

    Staged files have paths below `layout.STAGING`. They lie on a local disk, and those that were offered to other
    machines lie at the destination: `list` finds both, and `delete` deletes both. Every step that has begun is
    finished: a cancelled task never leaves one half done behind its back. Only an upload is given up, and leaves
    nothing, or what is swept. Each method raises `StoreError` if the store fails, and for a path that leads out of the
    destination.

    A process that stages files for another one, which holds the destination, calls neither `prepare` nor
    `acquire_lock`. Where no export is, it makes no directory.
    """

    file_mode: FileMode
    """Says who may read the files that are written from now on, where files have modes; first `private`."""

    @property
    def location(self) -> Location:
        """Returns the destination, as its user named it; `location / path` names one of its files."""

    @property
    def staged_on(self) -> Path:
        """Returns the directory on whose disk files are staged."""

    async def check(self) -> None:
        """Raises `DestinationError` for a destination that cannot be written to, or that holds something other than an
        export. Changes nothing."""

    async def try_out(self) -> tuple[Trial, ...]:
        """Tries what a run does there, after `check`, and leaves nothing of it, unless what it has made cannot be
        deleted: to write and read a file (`write`), to create one only where none is (`create`), to `list`, to
        `delete`. Raises `InterruptedExportError`, which names what stays, if it is cancelled and cannot delete."""

    async def prepare(self) -> None:
        """Makes the destination ready for commits, after `check`; existing commits are durable from then on.

        Raises `DestinationError`.
        """

    async def read(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if there is none."""

    async def read_all(self, paths: Collection[str]) -> list[bytes | None]:
        """Reads many small files, as `read` does."""

    async def create(self, path: str, data: bytes) -> bool:
        """Creates a file, whole and durable or not at all, and returns False if one exists already.

        That may be this very file, if a store has kept what it said it could not: a caller that must know reads it.
        """

    async def replace(self, path: str, data: Content) -> None:
        """Writes a file, in place of any that exists: a reader sees the old or the new file, whole. `data` may come in
        pieces, each valid until the next; what they raise is raised, and nothing is replaced."""

    async def append(self, path: str, line: bytes) -> None:
        """Adds a line to a file, durably, on a line of its own whatever a killed writer has left there.

        Does nothing if there is no export. Several processes may append at a time.
        """

    async def delete(self, *paths: str) -> None:
        """Deletes files durably; files that are missing are fine."""

    async def move(self, path: str, to: str) -> None:
        """Gives a file another path, durably and in place of any file there; a file that is missing is fine.

        A killed process may leave the file at both paths, but never at neither.
        """

    async def survey(self, directories: Collection[str]) -> Mapping[str, int] | None:
        """Returns the size of each file in several directories and below, where a list tells sizes; otherwise None.

        What it returns may be as old as `check`, unless something was created, replaced or deleted here since.
        """

    async def list_all(self, prefixes: Collection[str]) -> list[str]:
        """Returns what `list` does of several directories, at less cost where some of them are missing."""

    async def list(self, prefix: str, after: str = "") -> list[str]:
        """Returns the paths of all files in the directory `prefix` and below, sorted: those behind the path `after`."""

    async def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
        """Returns the size in bytes of each file among `paths` that exists."""

    def fetched(self, path: str) -> AbstractAsyncContextManager[Path]:
        """Makes a file available on a local disk, for reading only and as long as the block lasts.

        If the file is missing, there is also none at that path.
        """

    def staging_file(self, name: str) -> Path:
        """Returns where to write a file that `publish` will take."""

    async def publish(self, staged: Path, path: str) -> None:
        """Moves a fsynced file of `staging_file` to its final path, durably.

        Raises `StoreError`, also if a file has that path already.
        """

    async def offer(self, staged: Path) -> str:
        """Makes a fsynced file of `staging_file` available to other machines, durably, and returns its path there, for
        `adopt`. No two files that are offered at a destination may have one name.

        Raises `StoreError`, also if it is missing.
        """

    async def adopt(self, staged: str, path: str) -> None:
        """Gives a file that `offer` has made available its final path, durably. A copy may stay, which the caller must
        delete once a commit names the file.

        Raises `StoreError`, also if it is missing, or if a file has that path already.
        """

    async def publish_media(self, staged: Path, path: str) -> None:
        """Does what `publish` does, for a file that is named by its content: one of the same size that has the path
        already is this one. One of another size is damaged, and replaced."""

    async def free_bytes(self) -> int:
        """Returns how many bytes can still be written to `staged_on`, also before `prepare`."""

    async def acquire_lock(self, holder: str) -> None:
        """Takes the destination for the run `holder`, for as long as this process lives.

        Raises `DestinationLockedError` if another run has it.
        """

    async def keep_lock(self) -> None:
        """Keeps the lock from running out; runs beside what it protects, until it is cancelled or no longer needed."""

    async def release_lock(self, *, clears: bool = False) -> None:
        """Gives the destination back; does nothing without a lock.

        With `clears`, it also takes away what `prepare` and the lock have made, unless there is a commit.
        """

    async def lock_holder(self) -> LockHolder | None:
        """Returns the run that holds the destination now, or None if none does."""
