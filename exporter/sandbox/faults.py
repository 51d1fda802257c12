"""Makes real what can go wrong on the wire (source.md, 9). `body` is always the right answer."""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from typing import Final

from aiohttp import web

from exporter.sandbox.behaviour import Behaviour, Fault
from exporter.sandbox.loopback import reset

_CHUNK_BYTES = 1024 * 1024
_TRICKLE_SECONDS = 0.05
_STATUSES = {"500": 500, "502": 502, "503": 503, "504": 504}
_ERROR_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"


async def answer(fault: Fault | None, request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    """Returns the answer with `fault` in it, or without any."""
    if fault is None:
        return _json(body)
    if fault in _STATUSES:
        return _html(_STATUSES[fault])
    return await _FAULTS[fault](request, body, behaviour)


def _json(body: bytes, **headers: str) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=headers)


def _html(status: int) -> web.Response:
    title = "Please wait" if status == 200 else f"{status} Error"
    return web.Response(status=status, text=_ERROR_PAGE.format(title), content_type="text/html")


async def _reset(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    reset(request)
    return _json(body)


async def _reset_mid_body(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    response = await _begin(request, body)
    reset(request)
    return response


async def _short_body(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    response = await _begin(request, body)
    if request.transport is not None:
        request.transport.close()
    return response


async def _half_json(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    return _json(body[: len(body) // 2])


async def _page_of_html(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    return _html(200)


async def _wrong_type(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    return web.Response(body=body, content_type="text/plain")


async def _stall(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("a stall never ends")


async def _stall_mid_body(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    await _begin(request, body)
    return await _stall(request, body, behaviour)


async def _trickle(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    response = await _begin(request, body, part=0)
    step = max(1, int(behaviour.trickle_rate * _TRICKLE_SECONDS))
    for start in range(0, len(body), step):
        await asyncio.sleep(_TRICKLE_SECONDS)
        await response.write(body[start : start + step])
    return response


async def _gzip(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    return _json(gzip.compress(body, 1), **{"Content-Encoding": "gzip"})


async def _gzip_bomb(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    return _json(_bomb(behaviour.oversized_bytes), **{"Content-Encoding": "gzip"})


async def _redirect(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    """Redirects to another name of the same server, so that a test sees what would be sent to another host."""
    sockname = request.transport.get_extra_info("sockname") if request.transport else ("", 0)
    location = f"http://localhost:{sockname[1]}{request.path_qs}"
    return web.Response(status=307, headers={"Location": location})


async def _oversized(request: web.Request, body: bytes, behaviour: Behaviour) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for chunk in _padding(behaviour.oversized_bytes):
        await response.write(chunk)
    await response.write(body)
    return response


async def _begin(request: web.Request, body: bytes, part: int | None = None) -> web.StreamResponse:
    """Sends the header of a right answer, and the first `part` bytes (half of them by default) of its body."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2 if part is None else part])
    return response


def _padding(size: int) -> Iterator[bytes]:
    for start in range(0, size, _CHUNK_BYTES):
        yield b" " * min(_CHUNK_BYTES, size - start)


@lru_cache(maxsize=1)
def _bomb(size: int) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = [compressor.compress(chunk) for chunk in _padding(size)]
    return b"".join([*parts, compressor.compress(b"[]"), compressor.flush()])


_FAULTS: Final[dict[Fault, Callable[[web.Request, bytes, Behaviour], Awaitable[web.StreamResponse]]]] = {
    "reset": _reset,
    "reset-mid-body": _reset_mid_body,
    "short-body": _short_body,
    "half-json": _half_json,
    "html": _page_of_html,
    "wrong-type": _wrong_type,
    "stall": _stall,
    "stall-mid-body": _stall_mid_body,
    "trickle": _trickle,
    "gzip": _gzip,
    "gzip-bomb": _gzip_bomb,
    "redirect": _redirect,
    "oversized": _oversized,
}
