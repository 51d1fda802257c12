"""Brings one recording from its link to a staged file, or to the reason why there is none."""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import msgspec

from exporter.clock import wall_clock
from exporter.contract import DAY, Instant, to_datetime
from exporter.fetch.media.client import MediaClient
from exporter.fetch.media.file import MediaFile
from exporter.fetch.media.link import Link
from exporter.fetch.media.media_type import extension_of
from exporter.fetch.media.transfer import POLICY, Again, Dead, End, Status, Step, Transfer, Whole
from exporter.fetch.pace.retry import RetryPolicy
from exporter.keys import Key
from exporter.layout import ENCRYPTED, staged_media_prefix
from exporter.pipeline.free_space import check_free_space
from exporter.store.base import Store

#: Media hosts may answer 404 for a while after a call.
_BELIEVED_AFTER: Final = DAY
_LOOK_AGAIN_BYTES: Final = 8 * 1024 * 1024


class Gone(msgspec.Struct, frozen=True):
    """Says that the API no longer knows a conversation."""


#: Returns the link of a conversation as it is served now; None if there is none, or it may not be seen.
Renew: TypeAlias = Callable[[str], Awaitable[Link | Gone | None]]


class Wanted(msgspec.Struct, frozen=True):
    """Names a recording, the conversation that it belongs to, and the link that was served last."""

    conversation_id: str
    created_at: Instant
    link: Link


class Result(msgspec.Struct, frozen=True):
    """Says how a download ended. `link` is the one that was used last.

    Unless the status is `stored`, `reason` says why not; it never holds a part of a link. If it is `stored`, the rest
    is set: the whole, fsynced file of `bytes` bytes at `staged_path`, which the caller must publish or delete, its
    `sha256` in hexadecimal digits, and an `extension` from a list; all of these are of the encrypted file if there is a
    key. `content_type` and `source_etag` are as received.
    """

    status: Status
    link: Link
    attempts: int
    is_renewed: bool
    reason: str | None = None
    staged_path: Path | None = None
    bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    extension: str = "bin"
    source_etag: str | None = None


@dataclass(slots=True)
class Downloader:
    """Downloads recordings, any number at a time, into files staged by `run`.

    A link that is about to end, or has died, is asked for again through `renew`, once for each recording. No recording
    may be larger than `max_bytes`. With a `key`, they are encrypted.
    """

    client: MediaClient
    store: Store
    run: str
    renew: Renew
    max_bytes: int | None = None
    key: Key | None = None
    clock: Callable[[], Instant] = wall_clock
    policy: RetryPolicy = POLICY
    _numbers: Iterator[int] = field(default_factory=lambda: count(1), init=False, repr=False)
    #: Of all downloads: together they must not write what is kept free before they look again.
    _unchecked_bytes: int = field(default=_LOOK_AGAIN_BYTES, init=False, repr=False)
    _chance: random.Random = field(default_factory=random.Random, init=False, repr=False)

    async def fetch(self, wanted: Wanted) -> Result:
        """Downloads one recording. Raises `StoreError`, for a full disk also, and what `renew` raises.

        Whatever is raised, no file stays behind.
        """
        transfer = Transfer(
            is_old=self.clock() - wanted.created_at >= _BELIEVED_AFTER,
            max_bytes=self.max_bytes,
            chance=self._chance,
            policy=self.policy,
        )
        staged = self.store.staging_file(f"{staged_media_prefix(self.run)}{next(self._numbers):06d}")
        file = MediaFile(staged, self._check, self.key)
        sha256: str | None = None
        try:
            link, end = await self._pursue(wanted, transfer, file)
            if isinstance(end, Whole):
                sha256 = await file.finish()
        finally:
            if sha256 is None:
                with anyio.CancelScope(shield=True):
                    await file.drop()
        if isinstance(end, End):
            return Result(end.status, link, transfer.attempts, transfer.is_renewed, end.reason)
        return Result(
            "stored",
            link,
            transfer.attempts,
            transfer.is_renewed,
            staged_path=staged,
            bytes=file.size_bytes,
            sha256=sha256,
            content_type=transfer.content_type,
            extension=extension_of(transfer.content_type) + (ENCRYPTED if self.key else ""),
            source_etag=transfer.source_etag,
        )

    async def _check(self, byte_count: int) -> None:
        """Raises `StoreError` if the disk is too full; looks at it before the first bytes, and then at intervals."""
        self._unchecked_bytes += byte_count
        if self._unchecked_bytes >= _LOOK_AGAIN_BYTES:
            self._unchecked_bytes = 0
            await check_free_space(self.store)

    async def _pursue(self, wanted: Wanted, transfer: Transfer, file: MediaFile) -> tuple[Link, End | Whole]:
        """Makes attempts until one of them ends the download, and returns the link that was used last."""
        link = wanted.link
        step: Step
        if link.is_fresh(to_datetime(self.clock())):
            step = await self.client.attempt(link, transfer, file)
        else:
            step = Dead(End("expired", "link"))
        while not isinstance(step, End | Whole):
            match step:
                case Again():
                    await anyio.sleep(step.pause_seconds)
                case Dead():
                    renewed = await self.renew(wanted.conversation_id)
                    transfer.is_renewed = True
                    if isinstance(renewed, Gone):
                        return link, End("gone", "no conversation")
                    if renewed is None:
                        # What only a fresh link could confirm is not final.
                        end = step.end
                        return link, end if end.status == "expired" else End("failed", end.reason)
                    link = renewed
            # A link that is fresh off the API is used, even if by this machine's clock it has ended.
            step = await self.client.attempt(link, transfer, file)
        return link, step
