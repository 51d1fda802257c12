"""Simulates a network of timers between aiohttp's client and the stand-in server, and its faults."""

import asyncio
import errno
import gzip
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict

from exporter.contract import CONVERSATIONS_PATH, Instant
from exporter.sandbox import Sandbox
from exporter.sandbox.gate import Refusal, retry_after

#: The faults that a request may meet; a run gives up for none of them.
FAULTS: Final = (
    *("500", "502", "503", "504", "reset", "reset-mid-body", "short-body", "half-json", "html", "wrong-type"),
    *("stall", "stall-mid-body", "trickle", "refused", "gzip"),
)
_PAGE = b"<!DOCTYPE html><html><body>Please wait</body></html>"


@dataclass
class Network:
    """Carries requests and answers between a process and `server`. Times are in seconds of the loop.

    From `out_from` on, every request meets a fault that is worth another attempt.
    """

    server: Sandbox
    chance: random.Random
    wall_clock: Callable[[], Instant]
    fault_rate: float = 0.0
    latency_seconds: tuple[float, float] = (0.01, 0.3)
    out_from: float = math.inf
    on_request: Callable[[int], None] = lambda _: None
    requests: int = 0
    faults: list[str] = field(default_factory=list)

    def connector(self, **_: Any) -> aiohttp.BaseConnector:
        """Stands in for `aiohttp.TCPConnector`."""
        return _Connector(self)

    def latency(self) -> float:
        return self.chance.uniform(*self.latency_seconds) / 2

    def fault(self) -> str | None:
        is_out = asyncio.get_running_loop().time() >= self.out_from
        if not is_out and self.chance.random() >= self.fault_rate:
            return None
        fault = self.chance.choice(
            [fault for fault in FAULTS if not (is_out and fault in ("trickle", "gzip", "wrong-type"))]
        )
        self.faults.append(fault)
        return fault

    def arrive(self, transport: "_Transport", head: bytes) -> None:
        """Takes a request that has reached the server."""
        self.requests += 1
        self.on_request(self.requests)
        request, *lines = head.decode("latin-1").split("\r\n")
        target = urlsplit(request.split(" ")[1])
        pairs = (line.partition(": ") for line in lines if line)
        headers = CIMultiDict((name, value) for name, _, value in pairs)
        position = self.requests
        refusal = self.server.refuse(headers, position)
        if refusal is not None:
            self._refuse(transport, position, refusal)
            return
        identity = unquote(target.path).removeprefix(CONVERSATIONS_PATH).strip("/") or None
        ask = partial(self.server.body, dict(parse_qsl(target.query)), headers, position, random.Random(position))
        asyncio.get_running_loop().call_later(
            self.latency(), self._answer, transport, partial(ask, identity), position, self.fault()
        )

    def _refuse(self, transport: "_Transport", position: int, refusal: Refusal) -> None:
        headers = retry_after(refusal, self.server.behaviour, self.wall_clock())
        body = json.dumps({"detail": refusal.detail}).encode()
        transport.send(self.latency(), self._head(position, refusal.status, len(body), **headers) + body)

    def _answer(
        self, transport: "_Transport", ask: Callable[[], bytes | Refusal], position: int, fault: str | None
    ) -> None:
        body = ask()
        if isinstance(body, Refusal):
            self._refuse(transport, position, body)
            return
        length = len(body)
        half = body[: length // 2]
        delay = self.latency()
        match fault:
            case None:
                transport.send(delay, self._head(position, 200, length) + body)
            case "500" | "502" | "503" | "504":
                transport.send(delay, self._head(position, int(fault), len(_PAGE), "text/html") + _PAGE)
            case "reset":
                transport.end(delay, ConnectionResetError(errno.ECONNRESET, "reset"))
            case "reset-mid-body":
                transport.send(delay, self._head(position, 200, length) + half)
                transport.end(2 * delay, ConnectionResetError(errno.ECONNRESET, "reset"))
            case "short-body":
                transport.send(delay, self._head(position, 200, length) + half)
                transport.end(2 * delay, None)
            case "half-json":
                transport.send(delay, self._head(position, 200, len(half)) + half)
            case "html":
                transport.send(delay, self._head(position, 200, len(_PAGE), "text/html") + _PAGE)
            case "wrong-type":
                transport.send(delay, self._head(position, 200, length, "text/plain") + body)
            case "gzip":
                packed = gzip.compress(body, 1)
                transport.send(delay, self._head(position, 200, len(packed), **{"Content-Encoding": "gzip"}) + packed)
            case "stall-mid-body":
                transport.send(delay, self._head(position, 200, length) + half)
            case "trickle":
                transport.send(delay, self._head(position, 200, length))
                step = max(1, length // 20)
                for number, start in enumerate(range(0, length, step), start=1):
                    transport.send(delay + number * self.chance.choice((1, 20)), body[start : start + step])
            case _:  # a stall
                pass

    def _head(
        self, position: int, status: int, length: int, content_type: str = "application/json", **headers: str
    ) -> bytes:
        date = self.server.date_header(position)
        lines = {
            "Content-Type": content_type,
            "Content-Length": str(length),
            **({"Date": date} if date else {}),
            **headers,
        }
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"HTTP/1.1 {status} Status\r\n{text}\r\n".encode()


class _Connector(aiohttp.BaseConnector):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:  # noqa: ASYNC109 - aiohttp's
        await asyncio.sleep(self._network.latency())
        if self._network.chance.random() < self._network.fault_rate / 10:
            self._network.faults.append("refused")
            raise aiohttp.ClientConnectorError(req.connection_key, OSError(errno.ECONNREFUSED, "Connection refused"))
        protocol = self._factory()
        protocol.connection_made(_Transport(self._network, protocol))
        return protocol


class _Transport(asyncio.Transport):
    """Is one connection, as the client sees it."""

    def __init__(self, network: Network, protocol: ResponseHandler) -> None:
        super().__init__()
        self._network = network
        self._protocol = protocol
        self._sent = b""
        self._received: list[bytes] = []
        self._is_paused = False
        self._is_closing = False
        self._loop = asyncio.get_running_loop()

    # The server's side.

    def send(self, delay: float, data: bytes) -> None:
        self._loop.call_later(delay, self._deliver, data)

    def end(self, delay: float, error: Exception | None) -> None:
        self._loop.call_later(delay, self._lose, error)

    def _deliver(self, data: bytes) -> None:
        if self._is_closing:
            return
        if self._is_paused:
            self._received.append(data)
        else:
            self._protocol.data_received(data)

    def _lose(self, error: Exception | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            if error is None:
                self._protocol.eof_received()
            self._protocol.connection_lost(error)

    # The client's side.

    def write(self, data: Any) -> None:
        self._sent += data
        while b"\r\n\r\n" in self._sent:
            head, _, self._sent = self._sent.partition(b"\r\n\r\n")
            self._loop.call_later(self._network.latency(), self._network.arrive, self, head)

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        received, self._received = self._received, []
        for data in received:
            self._deliver(data)

    def is_reading(self) -> bool:
        return not self._is_paused

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0
