"""Checks that this process may start the threads that a library in Rust takes for granted.

Such a library aborts the process, or waits forever, if it gets none.
"""

import os
from threading import Event, Thread
from typing import Final

#: Such a library starts a worker for each core, and some threads that read and write.
_NEEDED: Final = (os.cpu_count() or 1) + 4


def check_threads() -> None:
    """Starts as many threads as such a library needs, all at once. Raises `RuntimeError` if the machine refuses one."""
    done = Event()
    threads = [Thread(target=done.wait) for _ in range(_NEEDED)]
    started: list[Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    finally:
        done.set()
        for thread in started:
            thread.join()
