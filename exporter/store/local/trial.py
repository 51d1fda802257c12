"""Tries what a run does in a directory, in a place of its own there that is taken away again."""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio import CancelScope, to_thread

from exporter.errors import DestinationError, ExporterError, InterruptedExportError, StoreError
from exporter.layout import CHECK_PLACES, COMMITS, PRIVATE, QUARANTINE, STAGING
from exporter.store.base import Store, Trial, try_each
from exporter.store.oserrors import describe, nearest

_FILE = f"{PRIVATE}/check"
_DATA = b"exporter check\n"
#: No check takes so long.
_ABANDONED_SECONDS: Final = 3600


def place_in(root: Path) -> Path:
    """Returns a directory that does not exist, as near as possible to where the runs of `root` write.

    What a killed process leaves of it is hidden, and counts as clutter.
    """
    return nearest(root / PRIVATE) / f"{CHECK_PLACES}{secrets.token_hex(8)}"


def sweep_places(directory: Path) -> None:
    """Takes away what killed checks have left in a directory. Raises `OSError` if that cannot be looked into."""
    for place in directory.glob(f"{CHECK_PLACES}*"):
        if abs(time.time() - place.lstat().st_mtime) > _ABANDONED_SECONDS:
            _take_away(place)


async def try_out(store: Store, place: Path, root: Path) -> tuple[Trial, ...]:
    """Tries what runs do at `root` at `store`, which is that of `place`, and leaves nothing. See `Store.try_out`."""
    steps = _Steps(store, place, root)
    known = {"write": steps.write, "create": steps.create, "list": steps.list, "delete": steps.delete}
    trials: tuple[Trial, ...] = ()
    try:
        trials = await try_each({name: steps.named(step) for name, step in known.items()})
    finally:
        with CancelScope(shield=True):
            with suppress(StoreError):  # the lock ends with its file
                await store.release_lock()
            is_left = await to_thread.run_sync(_take_away, place)
            if is_left and not trials:
                raise InterruptedExportError(f"stopped; {place} cannot be deleted, and stays there")
    if is_left:
        left = StoreError(f"{place}: cannot be deleted, and stays there. Runs must delete what they replace")
        trials = (*trials[:-1], Trial("delete", left))
    return trials


def _take_away(place: Path) -> bool:
    """Deletes the place, and returns whether it stays nevertheless."""
    shutil.rmtree(place, ignore_errors=True)
    return place.exists()


@dataclass(frozen=True, slots=True)
class _Steps:
    store: Store
    place: Path
    root: Path

    def named(self, step: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Returns a step whose errors name the destination in place of what only this trial has made there."""

        async def take() -> None:
            try:
                await step()
            except ExporterError as error:
                raise error.with_message(str(error).replace(str(self.place), str(self.root))) from error.__cause__

        return take

    async def write(self) -> None:
        for name in (STAGING, QUARANTINE, COMMITS):
            directory = self.root / name
            if directory.is_dir() and not os.access(directory, os.W_OK | os.X_OK):
                why = describe(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), directory / "new")
                raise DestinationError(f"{directory}: {why}")
        await self.store.prepare()
        await self.store.acquire_lock("check")
        await self.store.replace(_FILE, _DATA)
        if await self.store.read(_FILE) != _DATA:
            raise StoreError(f"{self.place}: what was just written there reads otherwise. Check the disk")

    async def create(self) -> None:
        path = f"{COMMITS}/check"
        if not await self.store.create(path, _DATA) or await self.store.create(path, b""):
            raise StoreError(
                f"{self.place}: its file system does not tell whether a file is new, so two runs at the same time "
                "would destroy each other's work. Choose another destination"
            )
        await self.store.delete(path)

    async def list(self) -> None:
        if _FILE not in await self.store.list(PRIVATE):
            raise StoreError(f"{self.place / _FILE}: just written, and not in its directory. Check the file system")

    async def delete(self) -> None:
        await self.store.delete(_FILE)
        await self.store.release_lock(clears=True)
