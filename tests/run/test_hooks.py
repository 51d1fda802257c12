"""Commands and URLs that are told of a run: real processes, and a server on loopback."""

import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from exporter.run.hooks import call_url, run_command
from tests.toolkit.listeners import Listener, listening
from tests.toolkit.processes import ends

HERE = dict(os.environ)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


def script(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "hook.py"
    file.write_text(text)
    return [sys.executable, "-S", str(file)]


@pytest.mark.anyio
async def test_a_command_gets_the_content_and_arguments_that_no_shell_reads_and_no_secret(tmp_path: Path) -> None:
    hook = script(
        tmp_path,
        "import os, sys\n"
        "print('not shown'); print('not shown', file=sys.stderr)\n"
        "open(sys.argv[1], 'w').write(sys.stdin.read() + sys.argv[2])\n"
        "print(*(value for value in os.environ.values() if 'secret' in value), file=open(sys.argv[1], 'a'))\n",
    )
    keys = ("EXPORTER_PRIVACY_KEY", "EXPORTER_DATA_KEY", "EXPORTER_NEW_DATA_KEY")
    environment = HERE | dict.fromkeys(("ANYREACH_TOKEN", *keys, "OF_GLOBEX"), "secret") | {"PAGER_KEY": "its secret"}
    told = tmp_path / "told"
    assert await run_command([*hook, str(told), "$HOME;`id`"], b"{}", environment, secrets=["OF_GLOBEX"]) == ""
    assert told.read_text() == "{}$HOME;`id`its secret\n"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["/nowhere/at-all"], "cannot be started: No such file or directory"),
        (["/"], "cannot be started: Permission denied"),
        (["/bin/sh", "-c", "exit 3"], "ended with exit status 3"),
        (["/bin/sh", "-c", "kill -9 $$"], "ended by signal 9"),
        (["/bin/sh", "-c", "exec <&-; exit 0"], ""),
    ],
)
async def test_a_command_that_fails_is_told_of_and_one_that_does_not_listen_is_fine(
    arguments: list[str], reason: str
) -> None:
    assert await run_command(arguments, b" " * 200_000, HERE) == reason


@pytest.mark.anyio
async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hang = f"echo $$ > {pids}; sleep 300 & echo $! >> {pids}; wait"
    assert "killed, because it had not ended after 0.3 s" in await run_command(["/bin/sh", "-c", hang], b"", HERE, 0.3)
    assert all(ends(int(pid)) for pid in pids.read_text().split())


@pytest.mark.anyio
async def test_a_url_gets_a_post_or_a_get_without_a_token(listener: Listener) -> None:
    environment = HERE | {"ANYREACH_TOKEN": "ak_secret"}
    assert await call_url(f"{listener.url}/a?b=c%20d", "POST", b"{}", environment) == ""
    assert await call_url(f"{listener.url}/g", "GET", b"{}", environment) == ""
    post, get = listener.heard
    assert (post.method, post.path, post.body) == ("POST", "/a?b=c%20d", b"{}")
    assert post.headers["Content-Type"] == "application/json"
    assert (get.method, get.path, get.body) == ("GET", "/g", b"")
    assert all("secret" not in str(each) and "Authorization" not in each.headers for each in listener.heard)


@pytest.mark.anyio
async def test_a_redirect_is_not_followed(listener: Listener) -> None:
    listener.answer = lambda path: (302, {"Location": f"{listener.url}/elsewhere"})
    assert "answered 302, a redirect, which is not followed" in await call_url(f"{listener.url}/x", "POST", b"", HERE)
    assert listener.paths == ["/x"]


@pytest.mark.anyio
async def test_a_url_that_fails_or_is_silent_is_told_of(listener: Listener) -> None:
    listener.answer = lambda _path: (503, {})
    assert await call_url(f"{listener.url}/secret", "GET", b"", HERE) == "answered 503"
    listener.silence.set()
    reason = await call_url(f"{listener.url}/secret", "POST", b"", HERE, timeout_seconds=0.2)
    assert reason == "not answered within 0.2 s"
    assert await call_url("http://127.0.0.1:1/secret", "POST", b"", HERE) == "cannot be reached"


@pytest.mark.anyio
async def test_a_url_is_asked_through_the_proxy_of_the_environment(listener: Listener) -> None:
    proxy = listener.url.replace("://", "://me:pass@")
    assert await call_url("http://hooks.example/x", "POST", b"{}", {"http_proxy": proxy}) == ""
    assert listener.paths == ["http://hooks.example/x"]
    assert listener.heard[0].headers["Proxy-Authorization"].startswith("Basic ")


@pytest.mark.anyio
async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with listening(context) as listener:
        assert await call_url(f"{listener.url}/x", "POST", b"{}", HERE) == "its certificate is not trusted"
        assert await call_url(f"{listener.url}/x", "POST", b"{}", HERE, ca_file=tmp_path / "ca.pem") == ""
        assert listener.paths == ["/x"]
