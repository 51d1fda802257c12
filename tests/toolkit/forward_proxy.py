"""Runs a forward proxy on loopback that tunnels to where `CONNECT` asks it to, and records what passes."""

import asyncio
import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from tests.toolkit.loopback import LoopbackServer, close

_CHUNK_BYTES = 64 * 1024


@dataclass
class ForwardProxy(LoopbackServer):
    """Tunnels to `hosts`, which maps `name:port` to a port of loopback.

    If `credentials` (`user:password`) are given, clients must send them. `heads` holds every request as it came,
    `heard` every byte that clients sent, also through tunnels, and `answered` every byte that tunnels brought back.
    """

    hosts: Mapping[str, int]
    credentials: str | None = None
    heads: list[str] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):  # one side has gone
            head = await reader.readuntil(b"\r\n\r\n")
            self.heard += head
            self.heads.append(head.decode("latin-1"))
            port, refusal = self._judge(self.heads[-1])
            if port is None:
                writer.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode("ascii"))
            else:
                await self._tunnel(port, reader, writer)
        await close(writer)

    def _judge(self, head: str) -> tuple[int | None, str]:
        """Returns the port to connect to, or `None` and the status to answer."""
        request, *lines = head.split("\r\n")
        method, target, _ = request.split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if self.credentials is not None:
            expected = "Basic " + base64.b64encode(self.credentials.encode()).decode("ascii")
            if fields.get("proxy-authorization") != expected:
                return None, "407 Proxy Authentication Required"
        if method != "CONNECT":
            return None, "405 Method Not Allowed"
        return self.hosts.get(target), "502 Bad Gateway"

    async def _tunnel(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(
                _pass_on(reader, upstream_writer, self.heard), _pass_on(upstream_reader, writer, self.answered)
            )
        finally:
            await close(upstream_writer)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        kept += chunk
        writer.write(chunk)
        await writer.drain()
    writer.close()
