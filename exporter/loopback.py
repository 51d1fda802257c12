"""Serves applications on loopback alone."""

import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from exporter.errors import ExporterError

HOST: Final = "127.0.0.1"


@asynccontextmanager
async def listen(application: web.Application, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serves an application while the block runs, and gives its port; 0 takes a free one.

    Raises `ExporterError` if the port cannot be opened.
    """
    # A stalled answer ends when its client leaves, or at once when the server stops.
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        try:
            # asyncio would open it as well, but goes on silently if the machine refuses it.
            opened = socket.create_server((HOST, port))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            why = os.strerror(error.errno or errno.EADDRINUSE)  # other words repeat the address
            raise ExporterError(f"--port {port}: {why}; give another one") from error
        await web.SockSite(runner, opened, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
