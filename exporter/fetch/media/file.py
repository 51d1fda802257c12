"""Holds one recording on a local disk while it comes, with the checksum of what is there.

If it is encrypted, that happens before any byte is written: neither this file nor another ever holds the audio itself.
"""

import hashlib
from collections.abc import Awaitable, Callable
from io import BufferedWriter
from pathlib import Path
from typing import Final

from anyio import to_thread

from exporter.keys import Key
from exporter.media_cipher import Sealer
from exporter.store.disk import finish, open_private, reporting


class MediaFile:
    """Writes the file `path`, which is made when the first bytes come. Each method raises `StoreError`.

    `check` is told how many bytes are about to be written, and raises if the disk is too full for them. With a `key`,
    what comes is encrypted. `size_bytes` are in the file once it is whole. Whoever holds this must await `finish` or
    `drop` in the end.
    """

    def __init__(self, path: Path, check: Callable[[int], Awaitable[None]], key: Key | None = None) -> None:
        self.path: Final = path
        self.size_bytes = 0
        self._check = check
        self._key = key
        self._sealer: Sealer | None = None
        self._is_kept = False
        #: The bytes that came last: `finish` writes them, because each visit to a thread costs as much as a small file.
        self._last = b""
        self._file: BufferedWriter | None = None
        self._sha256 = hashlib.sha256()

    def begin(self, offset: int) -> None:
        """Prepares to write from `offset` on: the end of what is there, or 0, which throws that away."""
        if offset == 0:
            self._is_kept, self._last = False, b""

    async def write(self, chunk: bytes) -> None:
        """Adds bytes at the end."""
        await self._check(len(chunk))
        last, self._last = self._last, chunk
        if last:
            await to_thread.run_sync(self._write, last)

    async def finish(self) -> str:
        """Makes the file survive a power cut, closes it, and returns the sha256 of its bytes as hexadecimal digits."""
        await to_thread.run_sync(self._finish)
        return self._sha256.hexdigest()

    async def drop(self) -> None:
        """Deletes the file, if there is one."""
        await to_thread.run_sync(self._drop)

    def _write(self, chunk: bytes) -> None:
        with reporting(self.path):
            if self._file is None:
                self._file = open(self.path, "xb", opener=open_private)  # noqa: SIM115 - closed in the end
            elif not self._is_kept:
                self._file.seek(0)
                self._file.truncate()
        if not self._is_kept:
            self._sha256, self.size_bytes = hashlib.sha256(), 0
            self._sealer = None if self._key is None else Sealer(self._key)
            self._is_kept = True
        self._put(chunk if self._sealer is None else self._sealer.update(chunk))

    def _put(self, stored: bytes) -> None:
        assert self._file is not None  # noqa: S101 - `_write` has made it
        with reporting(self.path):
            self._file.write(stored)
        self._sha256.update(stored)
        self.size_bytes += len(stored)

    def _finish(self) -> None:
        self._write(self._last)
        if self._sealer is not None:
            self._put(self._sealer.finish())
        assert self._file is not None  # noqa: S101 - `_write` has made it
        with reporting(self.path):
            self._file.flush()
            finish(self._file.fileno(), "private")
            self._file.close()

    def _drop(self) -> None:
        if self._file is None:
            return
        with reporting(self.path):
            try:
                self._file.raw.close()  # what is still in the buffer may not fit on the disk
            finally:
                self.path.unlink(missing_ok=True)
