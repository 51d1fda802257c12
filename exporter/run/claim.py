"""Claims a destination for a run: takes the lock, and reads the log under it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from anyio import to_thread

from exporter.errors import ExporterError, OvertakenError, StoreError
from exporter.lake.follow import check_place
from exporter.layout import commit_path
from exporter.log.commits import CommitLog, is_overtaken
from exporter.pipeline.free_space import check_free_space
from exporter.pipeline.part_names import part_names
from exporter.privacy import Encryption
from exporter.run.encryption import FindCipher, without_cipher
from exporter.run.protection import check_settled
from exporter.run.record import Run, author_of
from exporter.run.remains import may_remain, take_remains_away
from exporter.settings import FileMode, RunSettings
from exporter.store.base import Store
from exporter.store.local.modes import apply_file_mode
from exporter.tasks import alongside

if TYPE_CHECKING:
    from exporter.encode.tables import Tables
    from exporter.parts.cipher import Cipher
    from exporter.pipeline.part_stage import PartStage


async def _nobody() -> None:
    pass


#: Is called in each run as soon as it holds its destination; the run waits for it. It must not raise.
claimed: Final[ContextVar[Callable[[], Awaitable[None]]]] = ContextVar("claimed", default=_nobody)


class Claim(msgspec.Struct):
    """Represents a destination that the run named `run` holds: no other run writes to its log. Parts are written as
    `encryption` says, or plain, under `names` that no other part has. `publish` brings the manifest up to date with the
    log if the run fails: there is nothing to do until it has a committer."""

    store: Store
    run: str
    log: CommitLog
    names: Iterator[str]
    encryption: Encryption | None = None
    publish: Callable[[], Awaitable[None]] = _nobody

    def stage(self, tables: "Tables", settings: RunSettings, clock: Callable[[], float]) -> "PartStage":
        """Returns a stage for parts of the run. However many stages a run has, no two parts have one name."""
        from exporter.pipeline.part_stage import PartStage

        return PartStage.of(self.store, tables, self.run, settings, clock, self.names)

    async def set_file_mode(self, file_mode: FileMode | None) -> FileMode | None:
        """Gives everything at the destination this mode, if there is one, and returns it for the next commit if it is
        new to the log. Raises `DestinationError` and `StoreError`.
        """
        if file_mode is None or not isinstance(self.store.location, Path):
            return None
        await to_thread.run_sync(apply_file_mode, self.store.location, file_mode)
        self.store.file_mode = file_mode
        return None if file_mode == self.log.state.file_mode else file_mode


@asynccontextmanager
async def holding(store: Store, run: Run, find_cipher: FindCipher = without_cipher) -> AsyncIterator[Claim]:
    """Prepares the destination and holds it for the block; if the run fails, withdraws what it has published in vain.

    If the block begins no export, nothing stays of what this has made. In the block, parts are written and read with
    the cipher that `find_cipher` returns for the state of the log. What a run that was cut short has left of rows that
    are gone for good is taken away first. That nothing is left of who was erased, only `exporter erase` proves.

    Raises `DestinationLockedError` if another run holds it, `ProtectionError` if a run that protects it was cut short,
    `DestinationError`, `UsageError` if its tables cannot be written from here, `StoreError`, and what `find_cipher`
    raises. In a run that has been overtaken, any error of the store becomes an `OvertakenError`, because
    the other run may have deleted its files.
    """
    await check_free_space(store)
    await store.prepare()
    await store.acquire_lock(run.name)
    log = CommitLog(store, author_of(run.name))
    try:
        # Another run may have come and gone since the log was last read: only what is read under the lock counts.
        async with alongside(store.keep_lock):
            run.saw(await log.load())
            check_settled(log.state, run.command, store.location)
            check_place(log.state.table_format, store.location)
            cipher = find_cipher(log.state)
            await claimed.get()()
            with _using(cipher):
                if await may_remain(store, log.state):
                    await take_remains_away(store, log, repairs=run.command == "verify")
                encryption = None if cipher is None else cipher.encryption
                claim = Claim(store, run.name, log, part_names(run.name), encryption)
                try:
                    yield claim
                except ExporterError:
                    with suppress(StoreError):
                        await claim.publish()
                    raise
            await log.end()
    except ExporterError as error:
        from exporter.log.publish import withdraw

        with suppress(StoreError):
            await withdraw(store, run.name)
        if isinstance(error, StoreError) and await is_overtaken(store, log.state, run.name):
            raise OvertakenError(commit_path(log.state.number + 1)) from error
        raise
    finally:
        if log.state.number:
            run.saw(log.state)
        await store.release_lock(clears=not log.state.number)


def _using(cipher: "Cipher | None") -> AbstractContextManager[None]:
    if cipher is None:
        return nullcontext()

    from exporter.parts.cipher import using

    return using(cipher)
