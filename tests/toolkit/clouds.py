"""Runs object stores on loopback: moto's S3 and a stand-in for Google's, in threads, and Azurite, as a process.

A gate stands before S3. It can lose answers, refuse requests and hide conditions from the store.
"""

import base64
import gc
import hashlib
import hmac
import logging
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from exporter.store.location import Scheme
from tests.toolkit.gcs import Gcs
from tests.toolkit.programs import find_program

#: The emulators' documented account, which is the same everywhere.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>later</Message></Error>"


class AskedRequest(NamedTuple):
    """Describes a request at the gate. `has_condition` says that it depends on what the store has; `action` is what is
    asked of a service that has but one path."""

    method: str
    path: str
    authorization: str
    query: str = ""
    has_condition: bool = False
    action: str = ""


class Answer(NamedTuple):
    """Holds what the gate answers in the store's place. With `is_done`, the store still does what was asked.

    The status 0 cuts the connection.
    """

    status: int
    code: str = ""
    is_done: bool = False
    inside: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        if self.code.startswith(("<", "{")):
            return self.code.encode()
        said = f"<Code>{self.code}</Code><Message>AKIAFORTESTS not-a-secret</Message>{self.inside}"
        return f"<?xml version='1.0'?><Error>{said}</Error>".encode() if self.code else b""


@dataclass
class Gate:
    """Stands before the store.

    `loses` says whether a request is done but its answer is lost; `refuses` returns the status of a request that is not
    done; `ignores_conditions` hides conditions from the store; `answers` returns an answer in the store's place.
    """

    application: Callable[..., Iterable[bytes]]
    loses: Callable[[AskedRequest], bool] = lambda _: False
    refuses: Callable[[AskedRequest], int | None] = lambda _: None
    ignores_conditions: bool = False
    answers: Callable[[AskedRequest], Answer | None] = lambda _: None
    asked: list[AskedRequest] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = AskedRequest(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ.get("HTTP_AUTHORIZATION", ""),
            environ["QUERY_STRING"],
            "HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MATCH" in environ,
            environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2],
        )
        self.asked.append(asked)
        if (answer := self.answers(asked)) is not None:
            if answer.is_done:
                list(self.application(environ, lambda *_: lambda _: None))
            if not answer.status:
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionError
            start_response(f"{answer.status} Answer", [("Content-Length", str(len(answer.body))), *answer.headers])
            return [] if asked.method == "HEAD" else [answer.body]
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
        status = self.refuses(asked)
        if status is None and not self.loses(asked):
            return self.application(environ, start_response)
        if status is None:
            list(self.application(environ, lambda *_: lambda _: None))
        start_response(f"{status or 503} Refused", [("Content-Length", str(len(_SLOW_DOWN)))])
        return [_SLOW_DOWN]


@dataclass(frozen=True)
class Cloud:
    """Describes a store with any number of buckets. `environment` leads a process to it."""

    scheme: Scheme
    environment: dict[str, str]
    make_bucket: Callable[[str], None]


@dataclass(frozen=True)
class S3(Cloud):
    gate: Gate
    url: str


@contextmanager
def serving(application: Callable[..., Iterable[bytes]], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yields the address of a WSGI application, which threads serve beside the test."""
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, application, threaded=True, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def moto() -> Iterator[S3]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    # Its descriptions of every service stay; each search for cycles in all of them would take a third of a second.
    gc.collect()
    gc.freeze()
    gate = Gate(DomainDispatcherApplication(create_backend_app))
    with serving(gate) as url:
        yield S3("s3", _s3_environment(url), lambda name: _put(f"{url}/{name}", {}), gate, url)


@contextmanager
def moto_process() -> Iterator[Cloud]:
    """Runs S3 as a process, for libraries that hold up all threads of their own while they ask it."""
    command = [sys.executable, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = re.search(r"Running on (http://[^\s]+)", next(line for line in process.stderr if "Running on" in line))
        assert said is not None
        # Nobody reads on, and a pipe that is full would stop it.
        rest = threading.Thread(target=process.stderr.read, daemon=True)
        rest.start()
        yield Cloud("s3", _s3_environment(said[1]), lambda name: _put(f"{said[1]}/{name}", {}))
    finally:
        process.terminate()
        process.wait(timeout=10)
        rest.join()
        process.stderr.close()


def _s3_environment(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "AKIAFORTESTS",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def google() -> Iterator[Cloud]:
    with serving(Gcs()) as url:
        yield Cloud("gs", {"STORAGE_EMULATOR_HOST": url}, lambda name: _put(f"{url}/{name}", {}))


@contextmanager
def azurite() -> Iterator[Cloud]:
    beside = Path(sys.prefix, "azurite")
    install = f"npm install --prefix {beside} azurite"
    program = find_program("azurite-blob", install, str(beside / "node_modules/.bin"))
    options = ("--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry")
    process = subprocess.Popen([program, "--blobPort", "0", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = re.search(r"listens on (http://[^\s]+)", next(line for line in process.stdout if "listens on" in line))
        assert said is not None
        endpoint = f"{said[1]}/{AZURE_ACCOUNT}"

        def make_container(name: str) -> None:
            _put(f"{endpoint}/{name}?restype=container", _signed(name))

        connection = f"AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={endpoint};"
        yield Cloud("az", {"AZURE_STORAGE_CONNECTION_STRING": connection}, make_container)
    finally:
        process.terminate()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def starting_lists(azure: Cloud) -> Iterator[Cloud]:
    """Puts a process before Azurite that heeds where a list is asked to start."""
    (variable,) = azure.environment
    found = re.search(r"BlobEndpoint=http://([^/;]+)", azure.environment[variable])
    assert found is not None
    command = [sys.executable, "-m", "tests.toolkit.azurite_front", found[1]]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        connection = azure.environment[variable].replace(found[1], f"127.0.0.1:{port}")
        yield Cloud("az", {variable: connection}, azure.make_bucket)
    finally:
        process.terminate()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def _put(url: str, headers: dict[str, str]) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers, data=b"")):
        pass


def _signed(container: str) -> dict[str, str]:
    said = {"x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": "2021-08-06"}
    content_type = "application/octet-stream"
    lines = [
        *("PUT", "", "", "", "", content_type, "", "", "", "", "", ""),
        *(f"{name}:{value}" for name, value in said.items()),
        f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{container}",
        "restype:container",
    ]
    key = base64.b64decode(AZURE_KEY)
    signature = base64.b64encode(hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()
    return {**said, "Content-Type": content_type, "Authorization": f"SharedKey {AZURE_ACCOUNT}:{signature}"}
