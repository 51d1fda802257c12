"""Reads of a manifest on a disk what a run must know, without holding it as a whole. Blocks. Raises `StoreError`."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from exporter.log import stamp
from exporter.log.state import State
from exporter.store.disk import open_patiently, reporting


def head_of(path: Path, size: int) -> bytes:
    """Returns the first bytes of a file, at most `size`; none if there is no file."""
    with reporting(path), suppress(FileNotFoundError), open_patiently(path) as file:
        buffer = bytearray(size)
        return bytes(buffer[: file.readinto(buffer) or 0])
    return b""


def is_stamped(path: Path, around: Sequence[bytes], state: State) -> bool:
    """Returns whether a manifest is there for which `stamp.is_stamped` returns True."""
    with reporting(path), suppress(FileNotFoundError), BufferedReader(open_patiently(path)) as file:
        return stamp.is_stamped(file, around, state)
    return False


def renewed(
    path: Path, known: Sequence[bytes], told: State, around: Sequence[bytes], state: State
) -> Iterator[bytes | memoryview]:
    """Does what `stamp.renewed` does with a manifest, also if there is none."""
    with reporting(path):
        try:
            opened = open_patiently(path)
        except FileNotFoundError:
            raise stamp.NotStampedError from None
        with BufferedReader(opened) as file:
            yield from stamp.renewed(file, known, told, around, state)
