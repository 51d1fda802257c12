"""Tunes the heap, so that the peak of a run is what it holds, and not what it has held."""

import ctypes
import gc
from typing import Final

import pyarrow as pa

# Constants of glibc's malloc.h.
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
#: Bodies, columns and pages of Parquet are larger: each gets a mapping of its own, which is returned when it is freed.
_OWN_MAPPING_BYTES: Final = 1024 * 1024
#: Each arena keeps holes of its own, and by default threads have up to eight arenas a core.
_ARENAS: Final = 2
#: Rows and turns come and go by the thousand, and hold no cycles: looking for cycles after every 700 objects took a
#: twentieth of an export with turns.
_OBJECTS_BETWEEN_COLLECTIONS: Final = 50_000


def keep_heap_compact() -> None:
    """Makes Python look for cycles less often, tunes glibc's malloc, if this process has it, and makes Arrow use it.

    The tuning is for large blocks that come and go in several threads.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    # Arrow's own pools keep what was freed.
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)
