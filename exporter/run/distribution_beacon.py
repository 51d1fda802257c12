"""Keeps the file at the destination by which tasks see that a run wants what they read, and whom it recalls."""

import secrets
from collections.abc import Collection, Iterable
from typing import Final

from exporter.errors import StoreError
from exporter.layout import beacon_path
from exporter.progress import Observer
from exporter.store.base import Store

_LINE: Final = b"\n"


def beacon_of(nonce: str, recalled: Iterable[str] = ()) -> bytes:
    """Returns the content of the beacon: the nonce, and a line for each task that must end at its page."""
    return _LINE.join([nonce.encode(), *(task.encode() for task in recalled)])


def is_wanted(content: bytes | None, nonce: str) -> bool:
    """Returns whether a run with this nonce wants what its tasks read, by what is read where its beacon should be."""
    return content is not None and content.split(_LINE)[0] == nonce.encode()


def is_recalled(content: bytes | None, task: str) -> bool:
    """Returns whether a task must end at its page, so that others read the rest."""
    return content is not None and task.encode() in content.split(_LINE)[1:]


class Beacon:
    """Keeps the beacon of a run in its store, and tells `observer` where that fails. Each has a `nonce` of its own."""

    def __init__(self, store: Store, run: str, observer: Observer) -> None:
        self.path: Final = beacon_path(run)
        self.nonce: Final = secrets.token_hex(16)
        self._store = store
        self._observer = observer

    async def light(self) -> None:
        """Lets tasks begin. Raises `StoreError`."""
        await self._store.replace(self.path, beacon_of(self.nonce))

    async def recall(self, tasks: Collection[str]) -> None:
        """Lets these tasks end at their page, and no longer those that were recalled before."""
        try:
            # Another run that has taken it away has taken the export over.
            if is_wanted(await self._store.read(self.path), self.nonce):
                await self._store.replace(self.path, beacon_of(self.nonce, tasks))
        except StoreError as error:
            self._observer.note("beacon not replaced", reason=str(error))

    async def is_taken_away(self) -> bool:
        """Returns whether somebody else has deleted it; False as well if that cannot be seen now."""
        try:
            return not is_wanted(await self._store.read(self.path), self.nonce)
        except StoreError:
            return False

    async def put_out(self) -> None:
        """Lets all tasks end at their page."""
        try:
            await self._store.delete(self.path)
        except StoreError as error:
            # Tasks go on to the end of their budget; the next run takes it away.
            self._observer.note("beacon not deleted", reason=str(error))
