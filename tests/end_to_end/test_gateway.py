"""Tests that an export is whole behind a real nginx, with TLS of a private authority, and behind a proxy."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from exporter.contract import format_instant
from exporter.sandbox import TOKEN, Behaviour, Sandbox, make_conversations
from tests.end_to_end.conftest import Command, CommandResult, Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, UNTIL, records
from tests.toolkit.forward_proxy import ForwardProxy
from tests.toolkit.nginx import NAME, Gateway, gateway
from tests.toolkit.sizes import some_of

RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))
PASSWORD = "p@ss:w/rd"


@pytest.fixture
def server(serving: Serving) -> Sandbox:
    return serving(make_conversations(60, SINCE, UNTIL, seed=51))


@pytest.fixture
def before(server: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    """Runs a gateway before `server`."""
    with gateway(tmp_path / "nginx", server.url) as found:
        yield found


@pytest.fixture
def forwarding() -> Iterator[Callable[[ForwardProxy], ForwardProxy]]:
    """Runs a proxy beside the test, until it ends."""
    with start_blocking_portal() as portal, ExitStack() as stack:

        def start(proxy: ForwardProxy) -> ForwardProxy:
            return stack.enter_context(portal.wrap_async_context_manager(proxy))

        yield start


def assert_failed(done: CommandResult, status: int, *words: str) -> None:
    assert (done.status, done.out) == (status, "")
    assert 1 <= done.err.count("\n") <= 2, done.err
    for word in words:
        assert word in done.err
    for secret in ("Traceback", PASSWORD, "p%40ss"):
        assert secret not in done.err


@pytest.mark.parametrize("refusal", some_of([429, 503], 503))
def test_all_that_a_gateway_does_at_once(refusal: int, serving: Serving, command: Command, tmp_path: Path) -> None:
    rows = make_conversations(1200, SINCE, UNTIL, seed=52, density="bulk", transcripts=False)
    stumbling = Behaviour(
        script=("ok", "ok", "stall", "ok", "502", "reset-mid-body", "ok", "stall-mid-body", "ok", "short-body"),
        fault_rate=0.03,
        faults=("stall", "stall-mid-body", "500", "reset", "reset-mid-body", "short-body", "half-json"),
    )
    source = serving(rows, stumbling)
    with gateway(
        tmp_path / "nginx",
        source.url,
        http="limit_req_zone $binary_remote_addr zone=api:1m rate=50r/s;",
        server="keepalive_requests 5; keepalive_timeout 50ms;",
        location=f"limit_req zone=api; limit_req_status {refusal}; proxy_read_timeout 300ms;",
    ) as nginx:
        out = tmp_path / "out"
        done = command("export", out, *RANGE, "--ca-file", nginx.authority, "--page-size", "30", url=nginx.url)
        served = nginx.served()
    assert done.status == 0, done.err
    ExportDirectory(out).check(records(rows))
    statuses = Counter(one.status for one in served)
    assert {200, 502, 504, refusal} <= statuses.keys(), statuses
    assert any(one.gzipped for one in served)
    assert max(Counter(one.connection for one in served).values()) <= 5


class TestAuthorities:
    @pytest.mark.parametrize("way", ["--ca-file", "SSL_CERT_FILE"])
    def test_a_private_one_can_be_named(
        self, way: str, before: Gateway, server: Sandbox, spawn: Spawn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        options = ("--ca-file", before.authority) if way == "--ca-file" else ()
        if not options:
            monkeypatch.setenv(way, str(before.authority))
        done = spawn("export", tmp_path / "out", *RANGE, *options, url=before.url).wait()
        assert done.status == 0, done.err
        ExportDirectory(tmp_path / "out").check(records(server.rows))

    def test_the_systems_own_still_count(
        self, before: Gateway, server: Sandbox, spawn: Spawn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with gateway(tmp_path / "other", server.url) as other:
            monkeypatch.setenv("SSL_CERT_FILE", str(before.authority))
            done = spawn("export", tmp_path / "out", *RANGE, "--ca-file", other.authority, url=before.url).wait()
        assert done.status == 0, done.err

    @pytest.mark.parametrize("other", [False, True], ids=["none", "another"])
    def test_without_the_right_one_nothing_is_sent(
        self, other: bool, before: Gateway, server: Sandbox, spawn: Spawn, tmp_path: Path
    ) -> None:
        with gateway(tmp_path / "other", server.url) as stranger:
            options = ("--ca-file", stranger.authority) if other else ()
            done = spawn("export", tmp_path / "out", *RANGE, *options, url=before.url).wait()
        assert_failed(done, 1, before.url.removeprefix("https://"), "certificate cannot be verified", "--ca-file")
        assert server.requests == []
        assert not (tmp_path / "out").exists()

    def test_a_certificate_must_be_for_the_host(
        self, before: Gateway, server: Sandbox, command: Command, tmp_path: Path
    ) -> None:
        url = before.url.replace("127.0.0.1", "localhost")
        done = command("export", tmp_path / "out", *RANGE, "--ca-file", before.authority, url=url)
        assert_failed(done, 1, "localhost", "certificate cannot be verified", "mismatch")
        assert server.requests == []

    def test_a_file_that_is_no_authority_is_refused(self, server: Sandbox, command: Command, tmp_path: Path) -> None:
        (tmp_path / "text.pem").write_text("no certificate")
        for name, reason in (("text.pem", "PEM"), ("none.pem", "No such file"), (".", "Is a directory")):
            done = command("export", tmp_path / "out", *RANGE, "--ca-file", tmp_path / name, server=server)
            assert_failed(done, 2, f"--ca-file {tmp_path / name}: ", reason)
        assert server.requests == []
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("impatient")
class TestProxy:
    @pytest.mark.parametrize("credentials", [None, f"me:{PASSWORD}"], ids=["open", "with-password"])
    def test_it_passes_on_what_it_cannot_read(
        self,
        credentials: str | None,
        before: Gateway,
        server: Sandbox,
        spawn: Spawn,
        forwarding: Callable[[ForwardProxy], ForwardProxy],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {NAME} login me password {PASSWORD}\ndefault login me password {PASSWORD}\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        proxy = forwarding(ForwardProxy({f"{NAME}:443": before.port}, credentials))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{'me:p%40ss:w%2Frd@' if credentials else ''}{proxy.address}/")
        options = (*RANGE, "--ca-file", before.authority, "-v")
        # The name has no address, so a client can reach it only through the proxy.
        done = spawn("export", tmp_path / "out", *options, url=f"https://{NAME}").wait()
        assert done.status == 0, done.err
        assert PASSWORD not in done.err
        ExportDirectory(tmp_path / "out").check(records(server.rows))
        assert {seen.authorization for seen in server.requests} == {f"Bearer {TOKEN}"}
        assert proxy.heads
        for head in proxy.heads:
            assert head.startswith(f"CONNECT {NAME}:443 HTTP/1.1\r\n")
            assert "\r\nAuthorization:" not in head
            assert ("\r\nProxy-Authorization: Basic " in head) == bool(credentials)
        assert len(proxy.heads) < len(server.requests)
        for secret in (TOKEN, "Bearer", "/core/conversations"):
            assert secret.encode() not in proxy.heard
        assert b"org_sandbox" not in proxy.answered

    def test_a_certificate_is_verified_behind_it(
        self,
        before: Gateway,
        server: Sandbox,
        command: Command,
        forwarding: Callable[[ForwardProxy], ForwardProxy],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        proxy = forwarding(ForwardProxy({f"{NAME}:443": before.port}))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        done = command("export", tmp_path / "out", *RANGE, "--wait", "1s", url=f"https://{NAME}")
        assert_failed(done, 1, NAME, proxy.address, "certificate cannot be verified", "--ca-file")
        assert TOKEN.encode() not in proxy.heard
        assert server.requests == []

    @pytest.mark.parametrize(
        ("named", "words"),
        [
            ("me:wrong@", ("407", "HTTPS_PROXY")),
            ("me:p%40ss:w%2Frd@", (NAME, "502")),
        ],
        ids=["wrong-password", "no-way-on"],
    )
    def test_it_refuses(
        self,
        named: str,
        words: tuple[str, ...],
        command: Command,
        forwarding: Callable[[ForwardProxy], ForwardProxy],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        proxy = forwarding(ForwardProxy({}, f"me:{PASSWORD}"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{named}{proxy.address}")
        done = command("export", tmp_path / "out", *RANGE, "--wait", "1s", url=f"https://{NAME}")
        assert_failed(done, 1, proxy.address, *words)
        assert TOKEN.encode() not in proxy.heard
        assert not (tmp_path / "out").exists()

    def test_it_is_not_one(self, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for url in (f"socks5://me:{PASSWORD}@127.0.0.1:1080", f"https://me:{PASSWORD}@127.0.0.1", "http://me:p/ss@h"):
            monkeypatch.setenv("HTTPS_PROXY", url)
            done = command("export", tmp_path / "out", *RANGE, url=f"https://{NAME}")
            assert_failed(done, 2, "HTTPS_PROXY: ", "http://HOST:PORT", "NO_PROXY")
        assert not (tmp_path / "out").exists()

    def test_the_host_can_be_left_out_of_it(
        self,
        before: Gateway,
        server: Sandbox,
        command: Command,
        forwarding: Callable[[ForwardProxy], ForwardProxy],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        proxy = forwarding(ForwardProxy({}))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        monkeypatch.setenv("NO_PROXY", "elsewhere.test, .gateway.test")
        done = command("export", tmp_path / "named", *RANGE, "--wait", "1s", url=f"https://{NAME}")
        assert_failed(done, 1, f"{NAME}: no such host")
        done = command("export", tmp_path / "out", *RANGE, "--ca-file", before.authority, url=before.url)
        assert done.status == 0, done.err
        assert proxy.heads == []


def test_netrc_is_not_read(
    before: Gateway, server: Sandbox, spawn: Spawn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {PASSWORD}\n")
    (tmp_path / ".netrc").chmod(0o600)
    done = spawn("export", tmp_path / "out", *RANGE, "--ca-file", before.authority, url=before.url).wait()
    assert done.status == 0, done.err
    assert {seen.authorization for seen in server.requests} == {f"Bearer {TOKEN}"}
