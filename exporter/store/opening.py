"""Opens the store that a destination lies in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from exporter.errors import UsageError
from exporter.store.base import Store
from exporter.store.local import LocalStore
from exporter.store.location import Location, Url


@asynccontextmanager
async def open_store(location: Location) -> AsyncIterator[Store]:
    """For the block. Touches nothing yet."""
    if isinstance(location, Url):
        raise UsageError(f"{location}: object stores are not supported yet; give a path")
    yield LocalStore(location)
