"""Opens the store that a destination lies in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread

from exporter.errors import UsageError
from exporter.store.base import Store
from exporter.store.local.store import LocalStore
from exporter.store.location import Location, Url
from exporter.store.objects.threads import check_threads
from exporter.words import install_command


@asynccontextmanager
async def open_store(location: Location) -> AsyncIterator[Store]:
    """Opens a store for the block; changes nothing yet. Raises `UsageError` if the environment says too little."""
    if not isinstance(location, Url):
        yield LocalStore(location)
        return
    check_threads()
    try:
        from exporter.store.objects.bucket import Bucket
        from exporter.store.objects.clouds import open_bucket
        from exporter.store.objects.store import ObjectStore
    except ImportError as error:
        raise UsageError(
            f"{location}: object stores need packages that are not installed. To install them:\n"
            f"{install_command('botocore', 'obstore')}"
        ) from error
    store = ObjectStore(Bucket(location, await to_thread.run_sync(open_bucket, location)))
    try:
        yield store
    finally:
        store.close()
