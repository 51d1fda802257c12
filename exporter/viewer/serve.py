"""Serves the page of an export until it is stopped."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from exporter.loopback import HOST, listen
from exporter.run.encryption import ReaderKeys
from exporter.store.location import Location
from exporter.viewer.app import App
from exporter.viewer.export import Export

_SECRET_BYTES: Final = 32


async def serve(
    location: Location,
    keys: ReaderKeys,
    *,
    port: int,
    name: str | None,
    on_ready: Callable[[str, str, Export], None],
) -> None:
    """Serves an export until cancelled; port 0 takes a free one.

    `on_ready` is called with the address of the page, once it can be opened, with one that leads there once, and with
    the export. Raises the errors of `open_query`, and `ExporterError` if the port cannot be opened.
    """
    export = Export(location, keys)
    secret, entry = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(2))
    try:
        await export.open()
        async with listen(App(export, secret, entry, name).application(), port) as opened:
            origin = f"http://{HOST}:{opened}"
            on_ready(f"{origin}/{secret}/", f"{origin}/{entry}", export)
            await asyncio.Event().wait()
    finally:
        await export.close()
