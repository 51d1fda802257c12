"""Runs work on many items at once, which ends at the first failure, and work alongside other work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio

from exporter.errors import ExporterError

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
