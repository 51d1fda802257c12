"""What leaves for a media host, and what is left of a link when something breaks, over real connections."""

import asyncio
import logging
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from exporter.errors import StoreError, UsageError
from exporter.fetch.media.address import AddressRule
from exporter.fetch.media.client import MediaClient
from exporter.fetch.media.file import MediaFile
from exporter.fetch.media.link import Link
from exporter.fetch.media.transfer import Again, Dead, End, Step, Transfer, Whole
from exporter.fetch.pace.bandwidth import Bandwidth
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.fetch.wire.line import Limits
from tests.toolkit.disclosure import everything_said
from tests.toolkit.forward_proxy import ForwardProxy
from tests.toolkit.peer import Peer, Script, Trickle, http, self_signed
from tests.toolkit.peer import Step as Act

CANARY = "c4n4ry-5ign4ture"
BODY = b"ID3\x04" + bytes(range(256)) * 40
AUDIO = {"Content-Type": "audio/mpeg", "ETag": '"v1"'}
GOOD = http(BODY, headers=AUDIO)
LIMITS = Limits(connect_seconds=2, stall_seconds=0.2, total_seconds=5)
HOME = AddressRule(networks=(ip_network("127.0.0.0/8"),))
HASTY = RetryPolicy(known=Patience(attempts=5, seconds=0, throttled_seconds=1), base_seconds=0.001)

pytestmark = pytest.mark.anyio


async def enough(_: int) -> None:
    """Finds enough room on the disk."""


def new_transfer(max_bytes: int | None = None) -> Transfer:
    return Transfer(is_old=True, max_bytes=max_bytes, chance=Random(1), policy=HASTY)


def lead_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Makes every name lead to these addresses, without a look at the network."""

    async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [
            {"hostname": host, "host": address, "port": port, "family": 2, "proto": 6, "flags": 4}
            for address in addresses
        ]

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)


class Attempts:
    """Makes attempts at one recording, whose query holds the canary."""

    def __init__(
        self, url: str, directory: Path, rule: AddressRule = HOME, *, max_bytes: int | None = None, **options: Any
    ) -> None:
        self.client = MediaClient(rule, **({"limits": LIMITS} | options))
        self.link = Link(f"{url}/calls/a.mp3?X-Amz-Signature={CANARY}%2F%2b")
        self.transfer = new_transfer(max_bytes)
        self.file = MediaFile(directory / "staged", enough)

    async def once(self) -> Step:
        async with self.client:
            return await self.client.attempt(self.link, self.transfer, self.file)

    async def all(self) -> Step:
        async with self.client:
            while True:
                step = await self.client.attempt(self.link, self.transfer, self.file)
                if not isinstance(step, Again):
                    return step


async def test_a_recording_comes_as_it_is_and_nothing_but_the_link_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with Peer([[GOOD]]) as peer:
        attempts = Attempts(peer.url, tmp_path)
        assert await attempts.once() == Whole()
    await attempts.file.finish()
    assert attempts.file.path.read_bytes() == BODY
    assert attempts.client.received_bytes == len(BODY)
    (request,) = peer.requests
    assert request.target == f"/calls/a.mp3?X-Amz-Signature={CANARY}%2F%2b"
    assert request.headers.keys() == {"host", "user-agent", "accept", "accept-encoding"}
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("exporter/")


async def test_the_rest_of_a_cut_body_is_asked_for_and_cookies_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to(monkeypatch, "127.0.0.1")
    cut = http(BODY[:4999], headers=AUDIO | {"Set-Cookie": "session=1"}, declared_length=len(BODY))
    pause = Trickle(BODY[4999:5000], 0.05)  # what comes together with a break may be lost
    content_range = f"bytes 5000-{len(BODY) - 1}/{len(BODY)}"
    rest = http(BODY[5000:], 206, headers=AUDIO | {"Content-Range": content_range})
    async with Peer([[cut, pause, Act.CLOSE], [rest]]) as peer:
        # Addresses have no cookies, names do.
        attempts = Attempts(f"http://recordings.example.com:{peer.port}", tmp_path)
        assert await attempts.all() == Whole()
    assert await attempts.file.finish() == sha256(BODY).hexdigest()
    assert attempts.file.path.read_bytes() == BODY
    again = peer.requests[1].headers
    assert (again["range"], again["if-range"]) == ("bytes=5000-", '"v1"')
    assert not {"cookie", "authorization"} & again.keys()


async def test_a_changed_recording_replaces_what_is_there(tmp_path: Path) -> None:
    cut = http(BODY[:4999], headers=AUDIO, declared_length=len(BODY))
    pause = Trickle(BODY[4999:5000], 0.05)
    async with Peer([[cut, pause, Act.CLOSE], [http(b"OggS new", headers=AUDIO | {"ETag": '"v2"'})]]) as peer:
        attempts = Attempts(peer.url, tmp_path)
        assert await attempts.all() == Whole()
    assert await attempts.file.finish() == sha256(b"OggS new").hexdigest()
    assert attempts.file.path.read_bytes() == b"OggS new"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([Act.RESET], "attempts"),
        ([Act.CLOSE], "attempts"),
        ([b"SSH-2.0\r\n\r\n", Act.CLOSE], "attempts"),
        ([Act.STALL], "attempts"),
        ([http(BODY[:99], headers=AUDIO, declared_length=len(BODY)), Act.RESET], "short"),
        ([http(BODY[:99], headers=AUDIO, declared_length=len(BODY)), Act.STALL], "short"),
    ],
)
async def test_breaks_end_after_five_attempts_and_say_nothing(
    script: Script, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Peer([script]) as peer:
        attempts = Attempts(peer.url, tmp_path, limits=Limits(2, 0.05, 5))
        assert await attempts.all() == End("failed", reason)
    assert attempts.transfer.attempts == 5
    assert CANARY not in caplog.text
    assert CANARY not in repr(vars(attempts.client)) + repr(vars(attempts.transfer)) + repr(attempts.link)
    await attempts.file.drop()
    assert not list(tmp_path.iterdir())


async def test_nobody_listens(tmp_path: Path) -> None:
    async with Peer([]) as peer:
        url = peer.url
    assert await Attempts(url, tmp_path).all() == End("failed", "attempts")


def moved(location: str) -> Script:
    return [http(b"", 302, headers={"Location": location})]


async def test_a_redirect_is_followed_with_the_same_headers_and_a_query_of_its_own(tmp_path: Path) -> None:
    async with Peer([[GOOD]]) as other, Peer([moved(f"{other.url}/b.mp3?s=%2F")]) as peer:
        attempts = Attempts(peer.url, tmp_path)
        assert await attempts.once() == Whole()
    await attempts.file.finish()
    assert other.requests[0].target == "/b.mp3?s=%2F"
    assert CANARY not in str(other.requests)
    assert "referer" not in other.requests[0].headers


@pytest.mark.parametrize(
    ("location", "end"),
    [
        ("https://169.254.169.254/latest", End("refused", "address")),
        ("https://10.0.0.7/", End("refused", "address")),
        ("https://user@recordings.example.com/", End("refused", "address")),
        ("file:///etc/passwd", End("refused", "address")),
        ("/again", End("failed", "redirects")),
    ],
)
async def test_a_redirect_that_leads_elsewhere_is_not_followed(location: str, end: End, tmp_path: Path) -> None:
    async with Peer([moved(location)]) as peer:
        attempts = Attempts(peer.url, tmp_path)
        assert await attempts.once() == end
    assert len(peer.requests) == (4 if location == "/again" else 1)


async def test_a_redirect_never_leaves_tls(tmp_path: Path) -> None:
    context, trusted = self_signed(tmp_path)
    async with Peer([[GOOD]]) as plain, Peer([moved(f"{plain.url}/a")], ssl_context=context) as peer:
        attempts = Attempts(peer.url, tmp_path, ca_file=trusted)
        assert await attempts.once() == End("refused", "address")
    assert not plain.connections


@pytest.mark.parametrize("rule", [AddressRule(), AddressRule(hosts=("example.com",))])
async def test_nothing_is_asked_of_an_address_that_is_refused(rule: AddressRule, tmp_path: Path) -> None:
    async with Peer([[GOOD]]) as peer:
        assert await Attempts(peer.url, tmp_path, rule).once() == End("refused", "address")
    assert not peer.connections


@pytest.mark.parametrize("leads_to", ["127.0.0.1", "10.0.0.7"])
async def test_a_name_that_leads_home_is_refused(
    leads_to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to(monkeypatch, leads_to)
    attempts = Attempts("https://recordings.example.com", tmp_path, AddressRule())
    assert await attempts.once() == End("refused", "address")


async def test_a_name_is_refused_for_one_address_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lead_to(monkeypatch, "127.0.0.1", "10.0.0.7")
    async with Peer([[GOOD]]) as peer:
        attempts = Attempts(f"http://recordings.example.com:{peer.port}", tmp_path)
        assert await attempts.once() == End("refused", "address")
    assert not peer.connections


async def test_the_address_of_the_socket_is_checked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lead_to(monkeypatch, "127.0.0.1")
    monkeypatch.setattr(AddressRule, "allows_name", lambda *_: True)
    async with Peer([[GOOD]]) as peer:
        rule = AddressRule(ports=(peer.port,))
        attempts = Attempts(f"https://recordings.example.com:{peer.port}", tmp_path, rule)
        assert await attempts.once() == End("refused", "address")
    assert not peer.connections


async def test_tls_is_verified(tmp_path: Path) -> None:
    context, trusted = self_signed(tmp_path)
    async with Peer([[GOOD]], ssl_context=context) as peer:
        attempts = Attempts(peer.url, tmp_path)
        assert await attempts.once() == End("failed", "certificate")
        assert not peer.requests
        attempts = Attempts(peer.url, tmp_path, ca_file=trusted)
        assert await attempts.once() == Whole()
        await attempts.file.finish()


@pytest.mark.parametrize(("hosts", "end"), [(("example.com",), Whole()), ((), End("refused", "address"))])
async def test_a_proxy_is_used_for_hosts_that_are_named_and_sees_no_link(
    hosts: tuple[str, ...], end: Step, tmp_path: Path
) -> None:
    context, trusted = self_signed(tmp_path, "rec.example.com")
    async with Peer([[GOOD]], ssl_context=context) as peer, ForwardProxy({"rec.example.com:443": peer.port}) as proxy:
        environment = {"https_proxy": f"http://me:hunter2@{proxy.address}"}
        attempts = Attempts(
            "https://rec.example.com", tmp_path, AddressRule(hosts=hosts), ca_file=trusted, environment=environment
        )
        assert await attempts.once() == end
    assert CANARY.encode() not in proxy.heard
    if end == Whole():
        await attempts.file.finish()
        assert "Proxy-Authorization: Basic" in proxy.heads[0]
        assert "proxy-authorization" not in peer.requests[0].headers
    else:
        assert not proxy.connections


async def test_a_host_that_is_busy_slows_down_all_downloads(tmp_path: Path) -> None:
    busy = http(b"", 429, headers={"Retry-After": "0.2"})
    async with Peer([[busy], [GOOD]]) as peer:
        first, second = Attempts(peer.url, tmp_path), Attempts(peer.url, tmp_path)
        async with first.client as client:
            step = await client.attempt(first.link, first.transfer, first.file)
            assert isinstance(step, Again)
            assert step.is_throttled
            began = anyio.current_time()
            assert await client.attempt(second.link, second.transfer, second.file) == Whole()
            assert anyio.current_time() - began > 0.15
    await second.file.finish()


async def test_all_downloads_keep_within_the_bandwidth(tmp_path: Path) -> None:
    async with Peer([[GOOD]]) as peer:
        attempts = Attempts(peer.url, tmp_path, bandwidth=Bandwidth(len(BODY) / 0.3))
        began = anyio.current_time()
        assert await attempts.once() == Whole()
        assert anyio.current_time() - began > 0.15
    await attempts.file.finish()


async def test_a_body_without_an_end_is_left(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/ogg\r\n\r\n"
    async with Peer([[head, *[BODY] * 1000, Act.STALL]]) as peer:
        attempts = Attempts(peer.url, tmp_path, max_bytes=50_000)
        assert await attempts.once() == End("refused", "too large")
    await attempts.file.drop()
    assert attempts.client.received_bytes < 1000 * len(BODY)


async def test_a_page_is_not_written(tmp_path: Path) -> None:
    async with Peer([[http(b"<!doctype html>", headers=AUDIO)]]) as peer:
        attempts = Attempts(peer.url, tmp_path)
        assert await attempts.once() == Dead(End("refused", "type text/html"))
    await attempts.file.drop()


@pytest.mark.parametrize("fails", ["full", "write", "cancel", "proxy"])
async def test_what_is_raised_does_not_hold_the_link(
    fails: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: int) -> None:
        raise StoreError("full")

    async def broken(self: object, chunk: bytes) -> None:
        raise StoreError("broken")

    caplog.set_level(logging.DEBUG)
    rule = HOME
    options: dict[str, Any] = {}
    url: Callable[[str], str] = str
    if fails == "proxy":
        rule, url = AddressRule(hosts=("example.com",)), lambda _: "https://rec.example.com"
        options = {"environment": {"https_proxy": "socks5://proxy:1080"}}
    if fails == "write":
        monkeypatch.setattr(MediaFile, "write", broken)
    async with Peer([[http(BODY, headers=AUDIO, declared_length=99_999), Act.STALL]]) as peer:
        attempts = Attempts(url(peer.url), tmp_path, rule, **options)
        if fails == "full":
            attempts.file = MediaFile(tmp_path / "staged", full)
        task = asyncio.ensure_future(attempts.once())
        if fails == "cancel":
            await asyncio.sleep(0.05)
            task.cancel()
        with pytest.raises((StoreError, UsageError, asyncio.CancelledError)) as caught:
            await task
    await attempts.file.drop()
    assert not [said for said in everything_said(caught.value) if CANARY in said]
    assert CANARY not in caplog.text
