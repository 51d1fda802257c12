"""Ends a query that another thread asks."""

import asyncio
from typing import Any, Final

from exporter.query.connection import Query

#: An interruption that comes before the query has begun is lost, so it is repeated this often.
_AGAIN_SECONDS: Final = 0.05


async def end_query(query: Query, thread: "asyncio.Future[Any]") -> BaseException | None:
    """Interrupts a query until the thread that asks it is done, and returns the error that it has ended with, if any.

    The future must not be cancelled before its thread is done.
    """
    while not thread.done():
        query.interrupt()
        await asyncio.wait([thread], timeout=_AGAIN_SECONDS)
    # It is looked at, so that nobody complains of an error that no one has seen.
    return None if thread.cancelled() else thread.exception()
