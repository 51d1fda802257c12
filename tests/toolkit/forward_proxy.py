"""Runs a forward proxy on loopback that tunnels: it connects where `CONNECT` asks it to, and keeps what it heard."""

import asyncio
import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 64 * 1024


@dataclass
class ForwardProxy:
    """Tunnels to `hosts`, by `name:port` to a port of loopback; an async context manager.

    `credentials` (`user:password`), where given, are asked for. `heads` holds every request as it came, `heard` every
    byte of the clients', in tunnels too, and `answered` every byte that tunnels brought back.
    """

    hosts: Mapping[str, int]
    credentials: str | None = None
    heads: list[str] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Also for those whose task had not begun.
        await asyncio.gather(*map(_close, self._writers), return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._tasks.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):  # whoever has gone, has gone
            head = await reader.readuntil(b"\r\n\r\n")
            self.heard += head
            self.heads.append(head.decode("latin-1"))
            port, refusal = self._judge(self.heads[-1])
            if port is None:
                writer.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode("ascii"))
            else:
                await self._tunnel(port, reader, writer)
        await _close(writer)

    def _judge(self, head: str) -> tuple[int | None, str]:
        """Returns the port to connect to, or otherwise the status to answer."""
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
            await _close(upstream_writer)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        kept += chunk
        writer.write(chunk)
        await writer.drain()
    writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
