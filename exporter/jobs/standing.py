"""Finds what others are told of a destination before a run and after it: its status, and what its journal adds."""

from datetime import datetime
from typing import Final

import msgspec

from exporter.jobs.status import Status, UnendedRun, status
from exporter.log.journal import is_told, note_told, read_last_success
from exporter.store.location import Location
from exporter.store.open import open_store

#: The commands that bring an export up to date, or a part of it.
UPDATES: Final = ("export", "sync", "recordings")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Describes how a destination stands. `last_success` is when the last update ended that ended with exit status 0.

    `killed` is a run that committed last and did not end, of which nobody has been told.
    """

    status: Status
    last_success: datetime | None = None
    killed: UnendedRun | None = None


async def find_standing(destination: Location) -> Standing:
    """Returns how a destination stands. Raises as `status` does."""
    found = await status(destination)
    async with open_store(destination) as store:
        success = await read_last_success(store, UPDATES)
        unended = found.unended_run
        killed = None if unended is None or await is_told(store, unended.run) else unended
    return Standing(status=found, last_success=None if success is None else success.ended_at, killed=killed)


async def note_killed_told(destination: Location, killed: UnendedRun) -> None:
    """Notes that somebody has been told of a killed run. Raises `StoreError`."""
    async with open_store(destination) as store:
        await note_told(store, killed.run)
