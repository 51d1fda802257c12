"""A run at work on a destination: under its lock, with a name of its own, and with the log as it stands there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from exporter.errors import ExporterError, StoreError
from exporter.jobs.author import author_of, new_run
from exporter.pipeline.committing import check_free_space
from exporter.store.commits import CommitLog, withdraw
from exporter.store.local import LocalStore


@dataclass(frozen=True, slots=True)
class Held:
    """The run's name, and the log, which nobody else writes to."""

    run: str
    log: CommitLog


@asynccontextmanager
async def holding(store: LocalStore) -> AsyncIterator[Held]:
    """Prepares the destination and holds it for the block; what a failing run has published in vain is withdrawn.

    Raises `DestinationLockedError` when another run has it, `DestinationError`, and `StoreError`.
    """
    await check_free_space(store)
    await store.prepare()
    run = new_run()
    await store.acquire_lock(run)
    try:
        log = CommitLog(store, author_of(run))
        # Another run may have come and gone since the log was last read: what counts is what stands under the lock.
        await log.load()
        yield Held(run, log)
    except ExporterError:
        with suppress(StoreError):
            await withdraw(store, run)
        raise
    finally:
        await store.release_lock()
