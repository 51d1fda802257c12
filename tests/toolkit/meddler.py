"""Runs a gateway on loopback that passes every request on to a server, and meddles with some of the answers."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from aiohttp import web


class Answer(NamedTuple):
    """Holds an answer that is on its way."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


#: Returns what the client gets in place of the answer to a request, which is known by its number, from 1.
Meddle = Callable[[int, Answer], Answer]


@asynccontextmanager
async def meddling(url: str, meddle: Meddle) -> AsyncIterator[str]:
    """Yields the address of a gateway before the server at `url`."""
    numbers = iter(range(1, 1 << 30))

    async def pass_on(request: web.Request) -> web.Response:
        number = next(numbers)
        headers = {name: request.headers[name] for name in ("Authorization", "Accept") if name in request.headers}
        async with session.get(url + request.raw_path, headers=headers) as answer:
            date = {"Date": answer.headers["Date"]}
            changed = meddle(number, Answer(answer.status, await answer.read(), {"Content-Type": answer.content_type}))
        return web.Response(status=changed.status, body=changed.body, headers={**date, **changed.headers})

    app = web.Application()
    app.router.add_get("/{tail:.*}", pass_on)
    runner = web.AppRunner(app, access_log=None)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
