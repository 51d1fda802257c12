"""Serves recordings from memory and the page cache, by a process of its own that takes as little time as possible."""

import multiprocessing
import os
import socketserver
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from threading import Thread
from typing import Final, NamedTuple

#: Each recording begins with its name, in this many bytes, so that no two are the same.
_NAME_BYTES: Final = 64


class Served(NamedTuple):
    """Says when the first request since the last report came in, and when the last was answered; seconds since 1970."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class MediaServer:
    """Knows where the recordings are, and asks for what was served of them."""

    def __init__(self, url: str, connection: Connection) -> None:
        self._url = url
        self._connection = connection

    def link(self, number: int) -> str:
        return f"{self._url}/{number:06d}.ogg"

    def take_served(self) -> Served:
        """Returns what was served since the last call. Raises `EOFError` if the server has died."""
        self._connection.send("served")
        served = self._connection.recv()
        assert isinstance(served, Served)
        return served


@contextmanager
def serving_media(size_bytes: int) -> Iterator[MediaServer]:
    """Runs a server of recordings of this size, one for each path, while the block runs."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(size_bytes, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield MediaServer(ours.recv(), ours)
    finally:
        ours.close()
        process.join(timeout=10)
        process.kill()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, size_bytes: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.size_bytes = size_bytes
        self.began = self.ended = 0.0
        self.rest = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self.rest.write(os.urandom(size_bytes))
        self.rest.flush()


class _Handler(socketserver.StreamRequestHandler):
    """Answers each request of a connection with the recording that its path names."""

    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        size_bytes, file = self.server.size_bytes, self.server.rest.fileno()
        while asked := self.rfile.readline():
            self.server.began = self.server.began or time.time()
            name = asked.split()[1]
            while self.rfile.readline().strip():
                pass
            head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: audio/ogg\r\nContent-Length: {size_bytes}\r\n"
                f'ETag: "{name.decode()}"\r\nAccept-Ranges: bytes\r\n\r\n'
            )
            self.request.sendall(head.encode() + name.ljust(_NAME_BYTES))
            offset = _NAME_BYTES
            while offset < size_bytes:
                # The client may ask for this before the last call has returned.
                self.server.ended = time.time()
                offset += os.sendfile(self.request.fileno(), file, offset, size_bytes - offset)
            self.server.ended = time.time()


def _serve(size_bytes: int, connection: Connection) -> None:
    with _Server(size_bytes) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        connection.send(f"http://127.0.0.1:{server.server_address[1]}")
        while True:
            try:
                connection.recv()
            except EOFError:
                return
            connection.send(Served(server.began, server.ended))
            server.began = server.ended = 0.0
