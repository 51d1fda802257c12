"""Lets threads do what blocks, and checks that this process may start those that a library in Rust takes for granted.

Such a library aborts the process, or waits forever, if it gets none.
"""

import os
from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from typing import Final, ParamSpec, TypeVar

from anyio import CancelScope, to_thread

P = ParamSpec("P")
T = TypeVar("T")

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


async def finished(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Does `work` in a thread, and waits for its end even if the task is cancelled, so that nothing goes on unseen."""
    with CancelScope(shield=True):
        done = await to_thread.run_sync(partial(work, *arguments, **named))
    return done  # noqa: RET504 - to a type checker, a scope may swallow what the block raises
