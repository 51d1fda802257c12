"""`exporter view` prints one address, opens it, and ends well with Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

from tests.toolkit.processes import started
from tests.viewer.viewed import TABLES, make, many

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("commanded") / "calls"
    anyio.run(lambda: make(place, many(3), tables=TABLES))
    return place


@contextmanager
def view(*arguments: str, cwd: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Starts the command, and gives the address that it prints; it must end with status 0 when it is interrupted."""
    command = [sys.executable, "-m", "exporter", "view", *arguments]
    given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": cwd}
    with started(command, **given, env={**_environment(), **environment}) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate()
        assert (process.returncode, rest) == (0, "")
        assert re.fullmatch(r"Generation \d+ of calls, on this machine alone. Ctrl-C ends it.\n", said)


def _environment() -> dict[str, str]:
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def read(address: str) -> bytes:
    with _OPENER.open(address) as answer:
        found: bytes = answer.read()
        return found


def test_it_prints_one_address_and_ends_with_ctrl_c(root: Path) -> None:
    with view("calls", cwd=root.parent) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert json.loads(read(f"{address}about"))["rows"] == 3
        assert b"<!doctype html>" in read(address).lower()
        secret = address.split("/")[3]
        assert len(secret) == 43
        assert secret not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert secret not in Path(f"/proc/{process.pid}/environ").read_text()


def test_it_opens_a_browser_on_an_address_that_works_once(root: Path, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o700)
    with view("calls", cwd=root.parent, BROWSER=str(browser)) as (process, address):
        while not opened.exists():
            assert process.poll() is None
        once = opened.read_text()
        assert once.split("/")[:3] == address.split("/")[:3]
        assert once.split("/")[3] != address.split("/")[3]
        assert read(once) == read(address)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(once)


def test_a_name_and_a_port_may_be_given(root: Path) -> None:
    config = root.parent / "exporter.toml"
    config.write_text('[exports.acme]\ndestination = "calls"\n')
    try:
        with view("acme", "--no-browser", cwd=root.parent) as (_, address):
            about = json.loads(read(f"{address}about"))
            assert (about["name"], about["destination"]) == ("acme", "calls")
            # That a port is heeded shows where it is taken; a free one might be taken by others meanwhile.
            port = urlsplit(address).port
            again = [sys.executable, "-m", "exporter", "view", "calls", "--port", str(port)]
            second = subprocess.run(again, capture_output=True, text=True, cwd=root.parent, check=False)
            assert (second.returncode, second.stdout) == (1, "")
            assert f"--port {port}: Address already in use; give another one" in second.stderr
    finally:
        config.unlink()
