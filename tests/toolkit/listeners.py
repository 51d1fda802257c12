"""Listens on loopback to what is sent over HTTP, and answers as a test says."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import NamedTuple


class Heard(NamedTuple):
    """Describes a request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Listener:
    """Holds what came. `answer` returns the status and the headers for a path."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    answer: Callable[[str], tuple[int, dict[str, str]]] = lambda _path: (200, {})
    #: While it is set, nobody is answered.
    silence: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)

    @property
    def paths(self) -> list[str]:
        return [each.path for each in self.heard]


@contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    """Listens while the block runs, with TLS if a context for it is given."""
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            listener.heard.append(Heard(self.command, self.path, dict(self.headers), body))
            if listener.silence.is_set():
                listener.ended.wait()
                return
            status, headers = listener.answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815 - the names that the base class looks for

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    if tls:
        # The handshake is the handler's part: one that fails must not end the server.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield listener
    finally:
        listener.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
