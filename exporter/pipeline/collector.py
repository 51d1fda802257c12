"""Collects what the windows of a task bring, for a driver elsewhere to commit. Nothing that it takes is in the log."""

from pathlib import Path
from typing import Final

from anyio import to_thread

from exporter.model import Change, Counters
from exporter.parts.writer import HashingFile
from exporter.pipeline.committer import merged
from exporter.pipeline.free_space import check_free_space
from exporter.store.base import Store
from exporter.store.disk import reporting


class Collector:
    """Takes changes as a `Committer` does. `files` counts those that they add.

    Its files are staged, and never published: `staged` names, for the final path of each, where `Store.adopt` finds it.
    """

    def __init__(self, store: Store) -> None:
        self.files = 0
        self.staged: Final[dict[str, str]] = {}
        self._store = store
        self._changes: list[Change] = []

    @property
    def change(self) -> Change | None:
        """Returns one change that does what all of them do; None if there is none."""
        return merged(self._changes) if self._changes else None

    async def commit(self, change: Change, spent: Counters) -> None:
        """Takes a change, all of whose files are staged. Raises `StoreError` if the disk is too full to go on."""
        self._changes.append(change)
        self.files += len(change.files)
        await check_free_space(self._store)

    async def publish(self, staged: Path, path: str) -> None:
        """Offers a staged file to the driver, which may publish it at `path`. Raises `StoreError`."""
        self.staged[path] = await self._store.offer(staged)

    async def create(self, path: str, data: bytes) -> None:
        """Offers a file with this content. Raises `StoreError`."""
        # The name that the path ends with is one that no other file has.
        staged = self._store.staging_file(path.rpartition("/")[2].partition(".")[0])
        await to_thread.run_sync(_write, staged, data)
        await self.publish(staged, path)


def _write(staged: Path, data: bytes) -> None:
    with reporting(staged):
        file = HashingFile(staged)
        try:
            file.write(data)
            file.finish()
        finally:
            file.discard()
