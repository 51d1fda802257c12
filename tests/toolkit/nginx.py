"""Runs a real nginx as a gateway with TLS on loopback: a process of the user's own, whose files are in one directory.

It inherits a socket that already listens, so that nothing must wait for it, and no other process can take its port.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.toolkit.programs import find_program

#: The name of the gateway in its certificate, besides 127.0.0.1.
NAME = "api.gateway.test"


@dataclass(frozen=True, slots=True)
class AccessLine:
    """Holds a line of the access log. `connection` tells connections apart; `gzipped` means that nginx compressed."""

    status: int
    connection: int
    gzipped: bool


@dataclass(frozen=True, slots=True)
class Gateway:
    """Describes a gateway. `authority` is the file with the certificate of the authority that vouches for it."""

    port: int
    authority: Path
    directory: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def served(self) -> list[AccessLine]:
        lines = (self.directory / "access.log").read_text(encoding="ascii").splitlines()
        return [
            AccessLine(int(status), int(connection), gzip_ratio != "-")
            for status, connection, gzip_ratio in map(str.split, lines)
        ]


@contextmanager
def gateway(
    directory: Path, upstream: str, *, server: str = "", location: str = "", http: str = ""
) -> Iterator[Gateway]:
    """Runs nginx before the server at `upstream` (http://HOST:PORT). The rest are directives, for a block each."""
    # Debian keeps it out of the PATH of users other than root.
    program = find_program("nginx", "apt-get install nginx-light", "/usr/sbin")
    directory.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "authority.pem")
    authority.issue_cert("127.0.0.1", NAME).private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        (directory / "nginx.conf").write_text(_configuration(directory, upstream, port, http, server, location))
        with (directory / "error.log").open("wb") as errors:
            process = subprocess.Popen(
                [program, "-p", directory, "-c", directory / "nginx.conf"],
                # An nginx that replaces a running one learns in this way which sockets are open.
                env={"NGINX": f"{listening.fileno()};"},
                pass_fds=[listening.fileno()],
                stdout=errors,
                stderr=errors,
            )
    try:
        yield Gateway(port, directory / "authority.pem", directory)
        assert process.poll() is None, (directory / "error.log").read_text(encoding="utf-8")
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        finally:
            process.kill()


def _configuration(directory: Path, upstream: str, port: int, http: str, server: str, location: str) -> str:
    # Only root's nginx heeds `user`: without it, root's workers would become a user who cannot read the directory.
    temporary = "\n".join(
        f"    {name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
{temporary}
    log_format test "$status $connection $gzip_ratio";
    access_log {directory}/access.log test;
    gzip on;
    gzip_types application/json;
    gzip_proxied any;
    {http}
    upstream api {{
        server {upstream.removeprefix("http://")};
        keepalive 4;
    }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.pem;
        {server}
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {location}
        }}
    }}
}}
"""
