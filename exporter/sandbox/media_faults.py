"""Makes real what can go wrong with a download."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from exporter.sandbox.conversations import RECORDINGS_HOST
from exporter.sandbox.loopback import reset
from exporter.sandbox.media import MediaFault
from exporter.sandbox.media_delivery import Delivery, begin, refused, send, unsatisfiable, write
from exporter.sandbox.tones import CONTENT_TYPE

_PAUSE_SECONDS: Final = 0.05
_CHUNK: Final = bytes(64 * 1024)
_LOGIN: Final = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>\n"


async def deliver(fault: MediaFault | None, delivery: Delivery) -> web.StreamResponse:
    """Answers a request for a recording, with `fault` in it, or without any."""
    if fault is None or (fault in _HEALING and delivery.is_healed):
        return await send(delivery, delivery.tone)
    return await _FAULTS[fault](delivery)


async def _early(delivery: Delivery) -> web.StreamResponse:
    return refused(404, "NoSuchKey", "The specified key does not exist.")


async def _busy(delivery: Delivery) -> web.StreamResponse:
    return _come_back(429, "TooManyRequests", delivery)


async def _unavailable(delivery: Delivery) -> web.StreamResponse:
    return _come_back(503, "SlowDown", delivery)


def _come_back(status: int, code: str, delivery: Delivery) -> web.Response:
    seconds = str(delivery.behaviour.retry_after_seconds)
    return refused(status, code, "Please reduce your request rate.", **{"Retry-After": seconds})


async def _drop(delivery: Delivery) -> web.StreamResponse:
    return reset(delivery.request)


async def _cut(delivery: Delivery) -> web.StreamResponse:
    return await send(delivery, delivery.tone, cuts=True)


async def _without_ranges(delivery: Delivery) -> web.StreamResponse:
    return await send(delivery, delivery.tone, cuts=not delivery.is_healed, takes_ranges=False)


async def _weak(delivery: Delivery) -> web.StreamResponse:
    """Sends other bytes under the same weak tag until it is healed."""
    tone = delivery.tone if delivery.is_healed else delivery.earlier
    return await send(delivery, tone, cuts=not delivery.is_healed, is_weak=True)


async def _changed(delivery: Delivery) -> web.StreamResponse:
    return await send(delivery, delivery.earlier, cuts=True)


async def _refuses_ranges(delivery: Delivery) -> web.StreamResponse:
    if "Range" in delivery.request.headers:
        return unsatisfiable(delivery.tone.size)
    return await send(delivery, delivery.tone, cuts=not delivery.is_healed)


async def _without_content_range(delivery: Delivery) -> web.StreamResponse:
    return await send(delivery, delivery.tone, cuts=not delivery.is_healed, tells_range=False)


async def _without_length(delivery: Delivery) -> web.StreamResponse:
    return await send(delivery, delivery.tone, tells_length=False, takes_ranges=False)


async def _slow(delivery: Delivery) -> web.StreamResponse:
    response = await begin(delivery, delivery.tone.size)
    step = max(1, int(delivery.behaviour.slow_rate * _PAUSE_SECONDS))
    for start in range(0, delivery.tone.size, step):
        await asyncio.sleep(_PAUSE_SECONDS)
        await write(delivery, response, delivery.tone.read(start, min(start + step, delivery.tone.size)))
    return response


async def _unknown_type(delivery: Delivery) -> web.StreamResponse:
    return await send(delivery, delivery.tone, content_type="application/x-recording")


async def _alive(delivery: Delivery) -> web.StreamResponse:
    return await send(delivery, delivery.tone)


async def _long(delivery: Delivery) -> web.StreamResponse:
    response = await begin(delivery, delivery.tone.size)
    for chunk in delivery.tone.chunks(0, delivery.tone.size):
        await write(delivery, response, chunk)
    if (transport := delivery.request.transport) is not None:
        transport.write(_CHUNK[:1000])
        transport.close()
    return response


async def _empty(delivery: Delivery) -> web.StreamResponse:
    return web.Response(body=b"", content_type=CONTENT_TYPE)


async def _endless(delivery: Delivery) -> web.StreamResponse:
    return await _pour(delivery, None)


async def _oversized(delivery: Delivery) -> web.StreamResponse:
    return await _pour(delivery, delivery.behaviour.oversized_bytes)


async def _pour(delivery: Delivery, size: int | None) -> web.StreamResponse:
    """Sends the recording, and silence after it until the client leaves, or to the end of what it announces."""
    response = await begin(delivery, size)
    await write(delivery, response, delivery.tone.read(0, delivery.tone.size)[:size])
    while size is None or delivery.sent < size:
        await write(delivery, response, _CHUNK if size is None else _CHUNK[: size - delivery.sent])
        # Over TLS, writing to a client that has left never waits: only others' turns show that it has.
        await asyncio.sleep(0)
    return response


async def _gzip(delivery: Delivery) -> web.StreamResponse:
    body = gzip.compress(delivery.tone.read(0, delivery.tone.size), 1)
    return web.Response(body=body, content_type=CONTENT_TYPE, headers={"Content-Encoding": "gzip"})


async def _page(delivery: Delivery) -> web.StreamResponse:
    return web.Response(text=_LOGIN, content_type="text/html")


async def _page_as_audio(delivery: Delivery) -> web.StreamResponse:
    return web.Response(body=_LOGIN.encode(), content_type=CONTENT_TYPE)


async def _json(delivery: Delivery) -> web.StreamResponse:
    return web.json_response({"error": "unauthenticated"})


async def _gone(delivery: Delivery) -> web.StreamResponse:
    return refused(410, "Gone", "The recording was deleted.")


async def _forbidden(delivery: Delivery) -> web.StreamResponse:
    return refused(403, "AccessDenied", "Access Denied")


def _redirect(target: Callable[[Delivery], str]) -> Callable[[Delivery], Awaitable[web.StreamResponse]]:
    async def redirect(delivery: Delivery) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": target(delivery)})

    return redirect


def _by_name(delivery: Delivery) -> str:
    request = delivery.request
    port = request.transport.get_extra_info("sockname")[1] if request.transport is not None else 0
    path = delivery.elsewhere.split("/", 3)[3]
    return f"{request.scheme}://{delivery.behaviour.redirect_host}:{port}/{path}"


_HEALING: Final = frozenset[MediaFault](("early-404", "429", "503", "drop", "cut", "changed"))
_FAULTS: Final[dict[MediaFault, Callable[[Delivery], Awaitable[web.StreamResponse]]]] = {
    "early-404": _early,
    "429": _busy,
    "503": _unavailable,
    "drop": _drop,
    "cut": _cut,
    "norange": _without_ranges,
    "weak": _weak,
    "changed": _changed,
    "416": _refuses_ranges,
    "no-content-range": _without_content_range,
    "expired": _alive,
    "no-length": _without_length,
    "slow": _slow,
    "unknown-type": _unknown_type,
    "redirect": _redirect(lambda delivery: delivery.elsewhere),
    "cut-always": _cut,
    "long": _long,
    "empty": _empty,
    "endless": _endless,
    "oversized": _oversized,
    "gzip": _gzip,
    "html": _page,
    "html-as-audio": _page_as_audio,
    "json": _json,
    "gone": _gone,
    "forbidden": _forbidden,
    "redirect-name": _redirect(_by_name),
    "redirect-http": _redirect(lambda delivery: f"{RECORDINGS_HOST.replace('https', 'http')}{delivery.request.path}"),
    "redirect-literal": _redirect(lambda _: "https://169.254.169.254/latest/meta-data/"),
    "redirect-private": _redirect(lambda _: "https://10.0.0.7/recording.wav"),
    "redirect-loop": _redirect(lambda delivery: delivery.request.path_qs),
}
