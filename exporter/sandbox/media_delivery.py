"""Sends one recording, or the part of it that is asked for, as an object store does."""

import hashlib
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from exporter.sandbox.media import MediaBehaviour
from exporter.sandbox.tones import CONTENT_TYPE, Tone, make_tone

_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>'


@dataclass(slots=True)
class Delivery:
    """Holds one attempt at a recording: its bytes, and which attempt it is, from 1.

    `elsewhere` is a link to the same recording that meets no fault; `sent` counts the bytes that went out.
    """

    request: web.Request
    behaviour: MediaBehaviour
    tone: Tone
    attempt: int
    elsewhere: str
    sent: int = 0

    @property
    def is_healed(self) -> bool:
        """Returns whether a fault that heals has healed."""
        return self.attempt > self.behaviour.heals_after

    @property
    def earlier(self) -> Tone:
        """Returns other bytes, as a recording may have had them before; as many of them."""
        return make_tone(f"{_tag_of(self.tone)} before", self.tone.size)


def refused(status: int, code: str, message: str, **headers: str) -> web.Response:
    """Returns an error as an object store words it."""
    return web.Response(status=status, text=_XML.format(code, message), content_type="application/xml", headers=headers)


async def send(
    delivery: Delivery,
    tone: Tone,
    *,
    cuts: bool = False,
    takes_ranges: bool = True,
    tells_length: bool = True,
    tells_range: bool = True,
    is_weak: bool = False,
    content_type: str = CONTENT_TYPE,
) -> web.StreamResponse:
    """Sends the part that is asked for; only half of it, and the end of the connection, if it `cuts`."""
    tag = _tag_of(delivery.tone if is_weak else tone, is_weak=is_weak)
    asked = _range_of(delivery.request, tone.size, tag) if takes_ranges else None
    headers = {"Content-Type": content_type, "ETag": tag}
    if takes_ranges:
        headers["Accept-Ranges"] = "bytes"
    start, end = asked or (0, tone.size)
    if start >= end:
        return unsatisfiable(tone.size)
    if asked and tells_range:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{tone.size}"
    response = web.StreamResponse(status=206 if asked else 200, headers=headers)
    if tells_length:
        response.content_length = end - start
    await response.prepare(delivery.request)
    for chunk in tone.chunks(start, start + (end - start) // 2 if cuts else end):
        await write(delivery, response, chunk)
    if cuts and delivery.request.transport is not None:
        delivery.request.transport.close()
    return response


async def write(delivery: Delivery, response: web.StreamResponse, chunk: bytes | memoryview) -> None:
    """Sends a chunk, and counts its bytes."""
    await response.write(chunk)
    delivery.sent += len(chunk)


def _range_of(request: web.Request, size: int, tag: str) -> tuple[int, int] | None:
    """Returns the first byte that is asked for and the one after the last, or None for the whole.

    There are no such bytes if the first is not before the other.
    """
    if "Range" not in request.headers or request.headers.get("If-Range", tag) != tag:
        return None
    if tag.startswith("W/") and "If-Range" in request.headers:
        return None
    try:
        return slice(request.http_range.start, request.http_range.stop).indices(size)[:2]
    except ValueError:
        return None


def _tag_of(tone: Tone, *, is_weak: bool = False) -> str:
    tag = hashlib.blake2b(tone.sound + str(tone.size).encode(), digest_size=16).hexdigest()
    return f'W/"{tag}"' if is_weak else f'"{tag}"'


def unsatisfiable(size: int) -> web.Response:
    message = "The requested range is not satisfiable"
    return refused(416, "InvalidRange", message, **{"Content-Range": f"bytes */{size}"})


async def begin(delivery: Delivery, size: int | None) -> web.StreamResponse:
    """Sends the header of a recording of this size, or of one that does not say how long it is."""
    response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
    response.content_length = size
    await response.prepare(delivery.request)
    return response
