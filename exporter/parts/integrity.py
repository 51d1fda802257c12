"""Decides, alone, what damage is: a file that the log names is missing, or has another size or SHA-256 than it says.

Nothing else is damage. A file that cannot be opened, read or decoded here and now may still have the bytes that were
written, and so may a file that was not read or downloaded to its end: two readings must agree before a file is called
damaged. All code that reads files of an export must open them with one of the two context managers here.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from anyio import CapacityLimiter, to_thread

from exporter.errors import DamagedPartError, DamageKind, UnreadableFileError, UnreadablePartError
from exporter.model import ExportFile
from exporter.store.base import Store
from exporter.store.disk import file_size, open_patiently, reading
from exporter.store.local import sizes as local
from exporter.store.location import shell_word


class Damage(msgspec.Struct, frozen=True):
    """Says what is wrong with a file; `found` is the size or the SHA-256 that differs."""

    kind: DamageKind
    detail: str
    found: object = None


def size_damage(written: int, size_bytes: int | None) -> Damage | None:
    """Returns what is wrong with a file of this size, of which so many bytes were `written`; `size_bytes` is None if
    there is no file."""
    if size_bytes == written:
        return None
    if size_bytes is None:
        return Damage("missing", "the log names it, and it is not there")
    return Damage("size", f"has {size_bytes:,} bytes; {written:,} were written", size_bytes)


def find_damage(path: Path, file: ExportFile) -> Damage | None:
    """Returns what is wrong with the bytes at `path`. Blocks. Raises `StoreError` if they cannot be read."""
    if (damage := size_damage(file.size_bytes, file_size(path))) is not None:
        return damage
    sha256 = hash_file(path)
    if sha256 is None:
        return size_damage(file.size_bytes, None)
    if sha256 != file.sha256:
        return Damage("sha256", "its bytes are not those that were written", sha256)
    return None


async def have_sizes(store: Store, sizes: Iterable[tuple[str, int]]) -> bool:
    """Returns whether each of these files is surely there, with the size beside its path; `missized` costs more, and
    decides where this returns False."""
    return isinstance(store.location, Path) and await to_thread.run_sync(local.have_sizes, store.location, sizes)


async def missized(
    store: Store, written: Mapping[str, int], there: Mapping[str, int] | None = None
) -> dict[str, Damage]:
    """Returns the damage of those files that are missing or have another size than was `written`, by path. Where a
    survey has found them `there` as they were written, the store is not asked again. Raises `StoreError`."""
    if there is not None and written.items() <= there.items():
        return {}
    sizes = await store.sizes(written.keys())
    if sizes == written:
        return {}
    return {path: damage for path, size in written.items() if (damage := size_damage(size, sizes.get(path)))}


@asynccontextmanager
async def as_written(store: Store, file: ExportFile, limiter: CapacityLimiter | None = None) -> AsyncIterator[Path]:
    """Yields a path on a local disk at which a file of the export has the bytes that were written.

    They are checked because what is made of a file gets a checksum of its own: damage that is copied is never found.

    Raises `DamagedPartError`; `UnreadableFileError` if it cannot be read, or if no two readings are the same.
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
                raise UnreadableFileError(store.location / file.path, "each reading of it gives different bytes")
        yield path


async def read_as_written(store: Store, file: ExportFile) -> bytes:
    """Returns the content of a small file. Raises as `as_written`."""
    async with as_written(store, file) as path:
        return read_whole(path)


def read_whole(path: Path) -> bytes:
    """Returns the content of a small file. Blocks. Raises `UnreadableFileError`."""
    with reading(path), open_patiently(path) as file:
        return file.readall()


@asynccontextmanager
async def opened(store: Store, file: ExportFile) -> AsyncIterator[Path]:
    """Does what `as_written` does, but checks the bytes only if they cannot be read. Raises as `as_written`."""
    try:
        async with store.fetched(file.path) as path:
            yield path
    except (UnreadableFileError, UnreadablePartError) as error:
        if str(error.path) == str(store.location / file.path):
            async with as_written(store, file):
                pass
        raise


_CHUNK_BYTES: Final = 1024 * 1024


def hash_file(path: Path) -> str | None:
    """Returns the SHA-256; None if there is no file. Raises `UnreadableFileError` if its bytes cannot be read."""
    digest = hashlib.sha256()
    with reading(path):
        try:
            for chunk in chunks_of(path):
                digest.update(chunk)
        except FileNotFoundError:
            return None
    return digest.hexdigest()


def chunks_of(path: Path) -> Iterator[memoryview]:
    """Yields the bytes of a file from its start, in one buffer that each chunk overwrites."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with open_patiently(path) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while size := file.readinto(buffer):
            yield buffer[:size]
