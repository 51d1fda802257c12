"""Tunes the heap, so that the peak of a run is what it holds, and not what it has held."""

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from threading import enumerate as enumerate_threads
from typing import Final

# Constants of glibc's malloc.h.
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
#: Bodies and columns of large rows are larger: each gets a mapping of its own, which is returned when it is freed.
#: Pages of Parquet are smaller: mapping each of them took a fortieth of an export.
_OWN_MAPPING_BYTES: Final = 2 * 1024 * 1024
#: Each arena keeps holes of its own, and by default threads have up to eight arenas a core.
_ARENAS: Final = 2
#: To these, blocks of row groups come back all the time: a new mapping for each doubled what a conversion takes, and
#: saved a fifth of its memory.
_DECODERS: Final = ("changes", "convert")
#: Blocks of many sizes leave holes that the next ones do not fit into: after minutes of an export, the holes were
#: larger than all that it held. They go back to the system whenever the process has worked for this long, which takes
#: up to 15 ms, and as much again until they are filled: every second, it took several hundredths of an export.
_TRIM_CPU_SECONDS: Final = 5.0
#: So often is it looked whether it has.
_LOOK_SECONDS: Final = 0.5
_THREAD: Final = "heap"
#: Arrow's own pool keeps what was freed, apart for each thread. Parquet's pages come from the pool that Arrow picks
#: while it loads, whatever `pyarrow.set_memory_pool` says later.
_POOL_VARIABLE: Final = "ARROW_DEFAULT_MEMORY_POOL"


def keep_heap_compact(command: str) -> None:
    """Tunes glibc's malloc, if this process has it, makes Arrow use it, and has a thread trim it from now on.

    The tuning is for large blocks that come and go in several threads, and not for a `command` that decodes one row
    group after another. Call it before Arrow is loaded.
    """
    if command in _DECODERS:
        return
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        return
    os.environ[_POOL_VARIABLE] = "system"
    mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)
    if all(thread.name != _THREAD for thread in enumerate_threads()):
        # Where no thread can start, whatever needs one says so.
        with suppress(RuntimeError):
            Thread(target=_trim_on, args=(trim,), name=_THREAD, daemon=True).start()


def _trim_on(trim: Callable[[int], int]) -> None:
    """Gives what is free back to the system, from time to time, as long as the process lives."""
    trimmed = 0.0
    while True:
        time.sleep(_LOOK_SECONDS)
        if time.process_time() - trimmed >= _TRIM_CPU_SECONDS:
            trim(0)
            trimmed = time.process_time()
