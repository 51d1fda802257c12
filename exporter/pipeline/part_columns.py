"""Opens parts of which only some columns are read."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from anyio import to_thread

from exporter.errors import StoreError
from exporter.model import DataFile
from exporter.parts.excerpt import copy_columns
from exporter.parts.integrity import as_written, opened
from exporter.store.base import Store


@asynccontextmanager
async def columns_of(store: Store, file: DataFile, columns: Sequence[str]) -> AsyncIterator[Path]:
    """Yields a part, or only these columns of it if it is in an object store that serves them alone.

    Raises as `opened`.
    """
    async with AsyncExitStack() as stack:
        if isinstance(store.location, Path):
            yield await stack.enter_async_context(opened(store, file))
            return
        copy = Path(stack.enter_context(TemporaryDirectory(prefix="exporter-columns-"))) / "columns.parquet"
        try:
            await to_thread.run_sync(copy_columns, store, file.path, columns, copy)
        except StoreError:
            copy = await stack.enter_async_context(as_written(store, file))
        yield copy
