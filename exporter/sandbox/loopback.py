"""Breaks connections of the stand-in's servers."""

import socket
import struct

from aiohttp import web


def reset(request: web.Request) -> web.Response:
    """Resets the connection of a request, and returns an answer that nobody gets."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        # Without lingering, closing sends RST instead of FIN: the client sees a reset, not an end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()
