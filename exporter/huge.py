"""Joins large texts in memory of huge pages: the system gives 2 MB of it at once, in place of 512 pages one by one."""

import ctypes
import mmap
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

_PAGE_BYTES: Final = 2 * 1024 * 1024


def join(pieces: Sequence[Raw | bytes | memoryview], sizes: Sequence[int]) -> bytes | memoryview:
    """Returns texts of these `sizes` in bytes, one after another, as `bytes` unless they fill a huge page.

    Where the system has no huge pages to give, the memory is as any other.
    """
    size = sum(sizes)
    area = _area(size) if size >= _PAGE_BYTES else None
    if area is None:
        return b"".join(pieces)
    start = end = _first_page(area)
    for piece, length in zip(pieces, sizes, strict=True):
        area[end : end + length] = piece
        end += length
    return memoryview(area)[start:end].toreadonly()


def _area(size: int) -> mmap.mmap | None:
    """Returns memory of its own for this many bytes from a huge page on; None where it cannot be advised."""
    try:
        area = mmap.mmap(-1, size + _PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # The last page is not filled: as a huge one, it would take more than it holds.
        area.madvise(mmap.MADV_HUGEPAGE, _first_page(area), size // _PAGE_BYTES * _PAGE_BYTES)
    except (AttributeError, TypeError, OSError):
        return None
    return area


def _first_page(area: mmap.mmap) -> int:
    return -ctypes.addressof(ctypes.c_char.from_buffer(area)) % _PAGE_BYTES
