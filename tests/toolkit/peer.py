"""Runs a scripted peer on loopback, which answers each request with the bytes of a script, however wrong they are.

A *script* is what happens after one request head has been read: bytes are sent as they are, and the steps below do the
rest. Each request takes the next script; the last one is used for every further request. After a script that does
neither `close` nor `reset`, the connection stays open for the next request.
"""

import asyncio
import gzip
import json
import socket
import ssl
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import trustme

from tests.toolkit.loopback import LoopbackServer, close


class Step(Enum):
    """Names what a peer does besides sending. `STALL` does nothing until the client or the test has gone."""

    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"


@dataclass(frozen=True, slots=True)
class Trickle:
    """Holds bytes that are sent one at a time."""

    data: bytes
    pause_seconds: float


Script: TypeAlias = Sequence[bytes | Step | Trickle]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Holds one request head, as it came over the wire. Header names are in lower case."""

    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """Returns the parameters as a form-decoding server reads them: `+` is a space."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True, strict_parsing=True))


def http(
    body: bytes = b"[]",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    declared_length: int | None = None,
) -> bytes:
    """Returns an answer with a `Content-Length` and the type `application/json`.

    `declared_length` is the length to claim in place of the true one.
    """
    length = len(body) if declared_length is None else declared_length
    fields = {"Content-Type": "application/json", "Content-Length": str(length)} | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode("latin-1") + body


def http_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    return http(json.dumps(value).encode(), status, headers)


def http_gzip(body: bytes) -> bytes:
    return http(gzip.compress(body), headers={"Content-Encoding": "gzip"})


@cache
def gzip_bomb(size_bytes: int) -> bytes:
    """Returns a gzip body that starts like an array and unpacks to `size_bytes`, about two hundred times its size."""
    packer = zlib.compressobj(level=1, wbits=31)
    block = b" " * 1_000_000
    parts = [packer.compress(b"[")]
    parts += [packer.compress(block) for _ in range(size_bytes // len(block))]
    return b"".join([*parts, packer.flush()])


@dataclass
class Peer(LoopbackServer):
    """Serves scripts. `requests` holds every request that came, in order."""

    scripts: Sequence[Script]
    ssl_context: ssl.SSLContext | None = None
    requests: list[RequestHead] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.ssl_context else 'http'}://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.requests.append(_parse(await reader.readuntil(b"\r\n\r\n")))
                for step in self.scripts[min(len(self.requests), len(self.scripts)) - 1]:
                    if step is Step.CLOSE:
                        return
                    await _perform(step, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone, or the script has reset it
        finally:
            await close(writer)


async def _perform(step: bytes | Step | Trickle, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    match step:
        case bytes():
            writer.write(step)
            await writer.drain()
        case Trickle():
            for index in range(len(step.data)):
                writer.write(step.data[index : index + 1])
                await writer.drain()
                await asyncio.sleep(step.pause_seconds)
        case Step.STALL:
            await reader.read()
        case Step.RESET:
            connection = writer.get_extra_info("socket")
            # A linger of zero seconds makes the close a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            raise ConnectionResetError


def _parse(head: bytes) -> RequestHead:
    request, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return RequestHead(request.split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs})


def self_signed(directory: Path, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """Returns a TLS context for this name or address, and the certificate of the authority that a client must trust."""
    authority = trustme.CA()
    trusted = directory / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context, trusted
