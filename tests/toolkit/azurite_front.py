"""Stands before Azurite, which ignores where a list is asked to start, as Azure does not. Run it as a process:

    python -m tests.toolkit.azurite_front HOST:PORT

It writes its own port on a line.
"""

import http.client
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_BLOB = re.compile(rb"<Blob><Name>([^<]*)</Name>.*?</Blob>", re.DOTALL)


def serve(target: str) -> ThreadingHTTPServer:
    """Returns a server that passes each request on to `target`, a host and a port."""

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # Azurite closes connections that have been idle for a while.
            connection = http.client.HTTPConnection(target)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            said = connection.getresponse()
            data = said.read()
            connection.close()
            if start := parse_qs(urlsplit(self.path).query).get("startFrom"):
                first = start[0].encode()
                data = _BLOB.sub(lambda blob: blob[0] if blob[1] >= first else b"", data)
            self.send_response(said.status)
            for name, value in said.headers.items():
                if name.lower() not in ("connection", "keep-alive", "transfer-encoding", "content-length", "date"):
                    self.send_header(name, value)
            length = said.headers["Content-Length"] if self.command == "HEAD" else str(len(data))
            if length is not None and said.status not in (204, 304):
                self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815 - the server looks for these names

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    return Server(("127.0.0.1", 0), Front)


if __name__ == "__main__":
    with serve(sys.argv[1]) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
