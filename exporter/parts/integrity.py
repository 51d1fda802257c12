"""Damage, in one place: a file that the log names is not there, or its size or SHA-256 is not what the log says.

Nothing else is damage. A file that cannot be opened, read or decoded here and now may have the very bytes that were
written, and so may one of which a reading or a download came short: two readings must agree before a file is called
damaged. Whatever reads files of an export opens them by one of the two contexts here.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio import CapacityLimiter, to_thread

from exporter.errors import DamagedPartError, DamageKind, UnreadableFileError
from exporter.model import ExportFile
from exporter.store.base import Store
from exporter.store.disk import file_size, open_patiently, reading
from exporter.store.location import shell_word


@dataclass(frozen=True, slots=True)
class Damage:
    """`found`: the size or the SHA-256 that differs."""

    kind: DamageKind
    detail: str
    found: object = None


def size_damage(file: ExportFile, size_bytes: int | None) -> Damage | None:
    """What is wrong with a file of this size; `size_bytes`: None when there is none."""
    if size_bytes is None:
        return Damage("missing", "the log names it, and it is not there")
    if size_bytes != file.size_bytes:
        return Damage("size", f"has {size_bytes:,} bytes; {file.size_bytes:,} were written", size_bytes)
    return None


def find_damage(path: Path, file: ExportFile) -> Damage | None:
    """What is wrong with the bytes at `path`. Blocking. Raises `StoreError` when they cannot be read."""
    if (damage := size_damage(file, file_size(path))) is not None:
        return damage
    sha256 = hash_file(path)
    if sha256 is None:
        return size_damage(file, None)
    if sha256 != file.sha256:
        return Damage("sha256", "its bytes are not those that were written", sha256)
    return None


async def missized(store: Store, files: Collection[ExportFile]) -> dict[str, Damage]:
    """Those of `files` that are not there, or not in their size, by path. Raises `StoreError`."""
    sizes = await store.sizes([file.path for file in files])
    return {file.path: damage for file in files if (damage := size_damage(file, sizes.get(file.path)))}


@asynccontextmanager
async def as_written(store: Store, file: ExportFile, limiter: CapacityLimiter | None = None) -> AsyncIterator[Path]:
    """A file of the export on a local disk, whose bytes are those that were written.

    What is made of a file bears a checksum of its own: damage that is copied is never found again.

    Raises `DamagedPartError`; `UnreadableFileError` when it cannot be read, or when no two readings are the same.
    """
    async with AsyncExitStack() as stack:
        path = await stack.enter_async_context(store.fetched(file.path))
        damage = await to_thread.run_sync(find_damage, path, file, limiter=limiter)
        if damage is not None:
            path = await stack.enter_async_context(store.fetched(file.path))
            again = await to_thread.run_sync(find_damage, path, file, limiter=limiter)
            if again == damage:
                raise DamagedPartError(
                    store.location / file.path, damage.detail, shell_word(store.location), damage.kind
                )
            if again is not None:
                raise UnreadableFileError(store.location / file.path, "each reading of it gives other bytes")
        yield path


async def read_as_written(store: Store, file: ExportFile) -> bytes:
    """The content of a small file. Raises as `as_written`."""
    async with as_written(store, file) as path:
        with reading(path), open_patiently(path) as opened_file:
            return opened_file.readall()


@asynccontextmanager
async def opened(store: Store, file: ExportFile) -> AsyncIterator[Path]:
    """As `as_written`, but the bytes are judged only when they cannot be read.

    Raises as it does.
    """
    try:
        async with store.fetched(file.path) as path:
            yield path
    except UnreadableFileError as error:
        if str(error.path) == str(store.location / file.path):
            async with as_written(store, file):
                pass
        raise


_CHUNK_BYTES: Final = 1024 * 1024


def hash_file(path: Path) -> str | None:
    """The sha256; None when there is no file. Raises `UnreadableFileError` when its bytes cannot be had."""
    digest = hashlib.sha256()
    with reading(path):
        try:
            for chunk in chunks_of(path):
                digest.update(chunk)
        except FileNotFoundError:
            return None
    return digest.hexdigest()


def chunks_of(path: Path) -> Iterator[memoryview]:
    """Yields the bytes of a file from its start, in one buffer that each chunk takes over."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with open_patiently(path) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while size := file.readinto(buffer):
            yield buffer[:size]
