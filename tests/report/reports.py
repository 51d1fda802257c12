"""Makes reports of exports, as the command does."""

import os
from pathlib import Path
from typing import Any

import anyio

from exporter.query.connection import open_query
from exporter.report.figures import MEMORY_BYTES, Wish, make_report
from exporter.report.model import Report
from exporter.run.encryption import reader_keys
from exporter.store.open import open_store


def report_of(root: Path, **wish: Any) -> Report:
    """Returns the report of the export at `root`."""

    async def make() -> Report:
        async with open_store(root) as store:
            with await open_query(root, reader_keys(None, os.environ), memory_bytes=MEMORY_BYTES) as query:
                return await make_report(query, store, Wish(**wish))

    return anyio.run(make)
