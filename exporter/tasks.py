"""Runs work on many items at once, which ends at the first failure, and work alongside other work."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from threading import Thread
from typing import Any, Final, TypeVar

import anyio

from exporter.errors import ExporterError

#: A question is on its way after this many seconds, so that loading does not hold it up.
_HEAD_START_SECONDS: Final = 0.05
T = TypeVar("T")


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Calls `work` for every item, `at_once` at a time. Raises the first `ExporterError` after all calls have ended."""
    waiting = iter(items)
    failures: list[ExporterError] = []

    async def work_on() -> None:
        for item in waiting:
            try:
                await work(item)
            except ExporterError as error:
                failures.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(work_on)
    if failures:
        raise failures[0]  # itself, not in the group that the tasks would wrap it in


@asynccontextmanager
async def alongside(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs `work` while the block runs, and cancels it at the end. `work` must not raise."""
    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@contextmanager
def loading(module: str) -> Iterator[None]:
    """Loads a module in a thread while the block awaits an answer, so that it is there afterwards, or soon.

    What goes wrong in the thread goes wrong again, and is told, where the module is imported.
    """

    def load() -> None:
        with suppress(Exception):
            import_module(module)

    thread = Thread(target=load, name="loading")

    def start() -> None:
        with suppress(RuntimeError):  # the system has no thread left
            thread.start()

    if module in sys.modules:
        yield
        return
    timer = asyncio.get_running_loop().call_later(_HEAD_START_SECONDS, start)
    try:
        yield
    finally:
        timer.cancel()
        # The interpreter must not end while libraries are being loaded.
        if thread.ident is not None:
            thread.join()
