"""Opens the stand-in server on loopback, and closes it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType

from aiohttp import web

from exporter.contract import CONVERSATIONS_PATH, SCOPES_PATH, USAGE_PATH, Instant
from exporter.loopback import HOST, listen
from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.clock import system_clock
from exporter.sandbox.media import MediaBehaviour
from exporter.sandbox.media_host import MediaHost
from exporter.sandbox.rows import Row
from exporter.sandbox.server import Sandbox


@asynccontextmanager
async def serve(
    rows: Iterable[Row],
    behaviour: Behaviour | None = None,
    *,
    port: int = 0,
    clock: Callable[[], Instant] = system_clock,
    media: MediaBehaviour | MediaHost | None = None,
    others: Mapping[str, Iterable[Row]] = MappingProxyType({}),
) -> AsyncIterator[Sandbox]:
    """Serves `rows` on loopback while the block runs; port 0 takes a free one.

    With `media`, the recordings are served as well, from a port of their own that is free. `others` are the rows of
    further organizations, by their ids.

    Raises `ExporterError` if the port cannot be opened.
    """
    host = MediaHost(media, clock=clock) if isinstance(media, MediaBehaviour) else media
    sandbox = Sandbox(rows, behaviour or Behaviour(), clock, media=host, others=others)
    application = web.Application()
    application.router.add_get(CONVERSATIONS_PATH, sandbox.handle)
    application.router.add_get(CONVERSATIONS_PATH + "/{id}", sandbox.handle)
    for path in (SCOPES_PATH, USAGE_PATH):
        application.router.add_get(path, sandbox.handle)
    application.on_response_prepare.append(sandbox.date)
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(listen(application, port))
        if host is not None:
            await stack.enter_async_context(host.serve())
        sandbox.url = f"http://{HOST}:{opened}"
        yield sandbox


async def run_sandbox(
    rows: Iterable[Row],
    behaviour: Behaviour | None = None,
    *,
    port: int,
    on_ready: Callable[[Sandbox], None],
    media: MediaBehaviour | None = None,
    others: Mapping[str, Iterable[Row]] = MappingProxyType({}),
) -> None:
    """Serves `rows` until cancelled. `on_ready` is called with the server once requests are answered.

    Raises `ExporterError` if the port cannot be opened.
    """
    async with serve(rows, behaviour, port=port, media=media, others=others) as sandbox:
        on_ready(sandbox)
        await asyncio.Event().wait()
