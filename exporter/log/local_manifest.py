"""Reads of a manifest on a disk what a run must know, without holding it as a whole. Blocks. Raises `StoreError`."""

from collections.abc import Iterator
from contextlib import suppress
from io import SEEK_END, FileIO
from pathlib import Path
from typing import Final

from exporter.log.stamp import TAIL_BYTES, stamp_of
from exporter.log.state import State
from exporter.store.disk import open_patiently, reporting

_CHUNK_BYTES: Final = 1024 * 1024


def head_of(path: Path, size: int) -> bytes:
    """Returns the first bytes of a file, at most `size`; none if there is no file."""
    with reporting(path), suppress(FileNotFoundError), open_patiently(path) as file:
        buffer = bytearray(size)
        return bytes(buffer[: file.readinto(buffer) or 0])
    return b""


def is_stamped(path: Path, state: State) -> bool:
    """Returns whether a manifest is there that bears the stamp for `state`, as `stamp.bears_stamp`."""
    with reporting(path), suppress(FileNotFoundError), open_patiently(path) as file:
        size = max(0, file.seek(0, SEEK_END) - TAIL_BYTES)
        file.seek(0)
        stamp = stamp_of(_chunks(file, size), state)
        return file.readall() == stamp
    return False


def _chunks(file: FileIO, size: int) -> Iterator[memoryview]:
    """Yields the first `size` bytes, or those up to the end, in one buffer that each chunk overwrites."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while size and (count := file.readinto(buffer[:size])):
        size -= count
        yield buffer[:count]
