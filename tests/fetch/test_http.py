import asyncio
import gzip
import ssl
import tracemalloc
from pathlib import Path
from urllib.parse import unquote

import pytest

from exporter.contract import DAY, SECOND, TimestampStyle, encode_cursor, parse_timestamp
from exporter.errors import (
    AccessError,
    RequestRefusedError,
    ServerFailedError,
    SourceError,
    ThrottledError,
    TooLargeError,
    TransientError,
    UnreachableError,
    UnusableAnswerError,
)
from exporter.fetch.http import Client, Limits
from exporter.fetch.quota import Quota
from exporter.model import PageRequest
from exporter.route import Proxy
from exporter.spec import Credentials
from tests.toolkit.peer import (
    Peer,
    Script,
    Step,
    Trickle,
    gzip_bomb,
    http,
    http_gzip,
    http_json,
    self_signed,
)
from tests.toolkit.said import everything_said

TOKEN = "ak_4f9d2c71e0b8"
PROXY_AUTHORIZATION = "Basic bWU6aHVudGVyMg=="
MOMENT = parse_timestamp("2026-02-10T05:00:00.25+00:00")
MOST_BYTES = 1_000_000
LIMITS = Limits(connect_seconds=5, stall_seconds=0.3, total_seconds=5)
HTML = http(b"<!doctype html><title>Sign in</title>", headers={"Content-Type": "text/html; charset=utf-8"})
PAGE = b'[{"id":"c-1"}]'

pytestmark = pytest.mark.anyio


def fits(size_bytes: int) -> bool:
    return size_bytes <= MOST_BYTES


def client(
    base_url: str,
    *,
    credentials: Credentials | None = None,
    fields: tuple[str, ...] | None = None,
    filters: dict[str, str] | None = None,
    limits: Limits = LIMITS,
    proxy: Proxy | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Client:
    return Client(
        base_url,
        credentials or Credentials(TOKEN),
        concurrency=2,
        filters=filters or {},
        fields=fields,
        limits=limits,
        proxy=proxy,
        ssl_context=ssl_context,
    )


async def failure_of(
    base_url: str, limits: Limits = LIMITS, credentials: Credentials | None = None, proxy: Proxy | None = None
) -> SourceError:
    """The error of one request, after a look for the token and a proxy's password in everything that hangs on it."""
    async with client(base_url, limits=limits, credentials=credentials, proxy=proxy) as source:
        with pytest.raises(SourceError) as caught:
            await source.get_page(PageRequest(limit=10), fits)
    token = credentials.token if credentials else TOKEN
    for text in everything_said(caught.value):
        assert token not in text
        assert PROXY_AUTHORIZATION not in text
    assert len(str(caught.value)) < 500
    return caught.value


async def test_a_request_that_is_given_up() -> None:
    kept: list[BaseException] = []

    async def ask(source: Client) -> None:
        try:
            await source.get_page(PageRequest(limit=10), fits)
        except asyncio.CancelledError as cancelled:
            kept.append(cancelled)
            raise

    async with Peer([[Step.STALL]]) as peer, client(peer.url, limits=Limits()) as source:
        task = asyncio.create_task(ask(source))
        while not peer.requests:  # noqa: ASYNC110 - the peer tells nobody
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    for error in (*kept, caught.value):
        assert not any(TOKEN in text for text in everything_said(error))


async def test_a_request_on_the_wire() -> None:
    async with Peer([[http(PAGE)]]) as peer:
        filters = {"custom_metadata": '{"a b":"x+y&z=ü"}'}
        credentials = Credentials(TOKEN, organization="org-1")
        async with client(peer.url, credentials=credentials, filters=filters, fields=("id", "created_at")) as source:
            request = PageRequest(limit=7, created_after=MOMENT - DAY, created_before=MOMENT, before_cursor=MOMENT)
            source.style = TimestampStyle(offset="+00:00")
            answer = await source.get_page(request, fits)
    assert answer.body == PAGE
    (received,) = peer.requests
    assert received.path == "/core/conversations"
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    assert received.headers["x-anyreach-org"] == "org-1"
    assert received.headers["accept"] == "application/json"
    assert received.headers["accept-encoding"] == "gzip"
    assert received.headers["user-agent"].startswith("exporter/")
    # The peer reads `+` as a space, as servers do: what comes out is what was meant.
    assert received.query == {
        "limit": "7",
        "created_after": "2026-02-09T05:00:00.250+00:00",
        "created_before": "2026-02-10T05:00:00.250+00:00",
        "cursor": encode_cursor(MOMENT, TimestampStyle(offset="+00:00")),
        "custom_metadata": '{"a b":"x+y&z=ü"}',
        "fields": "id,created_at",
    }
    query = received.target.partition("?")[2]
    assert "+" not in query
    assert query.count("=") == query.count("&") + 1
    assert TOKEN not in received.target


@pytest.mark.parametrize("identity", ["c-1", "a/b c?d=#e%2F", "ü"])
async def test_an_id_is_one_segment_of_the_path(identity: str) -> None:
    scripts = [[http(b'{"id":"c-1"}')], [http(b"{}", status=404)]]
    async with Peer(scripts) as peer, client(peer.url, filters={"status": "completed"}) as source:
        assert [(await source.look_up(identity)).is_known for _ in scripts] == [True, False]
    for received in peer.requests:
        prefix, segment = received.target.rsplit("/", 1)
        assert (prefix, unquote(segment)) == ("/core/conversations", identity)
        assert not set("?#") & set(received.target)
        assert received.headers["authorization"] == f"Bearer {TOKEN}"


async def test_one_conversation_is_asked_for_whole(identity: str = "a/b") -> None:
    scripts = [[http(b'{"id":"a/b"}')], [http(PAGE)], [http(b"{}", status=404)]]
    async with Peer(scripts) as peer, client(peer.url, filters={"status": "completed"}, fields=("id",)) as source:
        assert (await source.get_one(identity, fits)).body == b'{"id":"a/b"}'
        with pytest.raises(UnusableAnswerError, match="instead of a JSON object"):
            await source.get_one(identity, fits)
        with pytest.raises(RequestRefusedError):
            await source.get_one(identity, fits)
    assert peer.requests[0].target == "/core/conversations/a%2Fb"


@pytest.mark.parametrize("identity", [".", ".."])
async def test_what_no_path_can_name_is_not_asked_for(identity: str) -> None:
    async with Peer([[http(b"{}", status=404)]]) as peer, client(peer.url) as source:
        assert (await source.look_up(identity)).is_known
    assert not peer.requests


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http(b"{}", status=401), AccessError),
        (http(b"{}", status=410), RequestRefusedError),
        (http(b"{}", status=429), ThrottledError),
        (http(b"{}", status=500), ServerFailedError),
        (http(b"{}", status=302, headers={"Location": "http://elsewhere/"}), RequestRefusedError),
    ],
)
async def test_nothing_but_404_says_that_an_id_is_not_known(answer: bytes, error: type[SourceError]) -> None:
    async with Peer([[answer]]) as peer, client(peer.url) as source:
        with pytest.raises(error) as caught:
            await source.look_up("c-1")
    assert not any(TOKEN in text for text in everything_said(caught.value))


async def test_no_organization_no_header() -> None:
    async with Peer([[http(PAGE)]]) as peer, client(peer.url + "/") as source:
        await source.get_page(PageRequest(limit=1), fits)
    assert "x-anyreach-org" not in peer.requests[0].headers
    assert peer.requests[0].target == "/core/conversations?limit=1"


async def test_the_servers_clock() -> None:
    dated = {"Date": "Tue, 10 Feb 2026 05:00:00 GMT"}
    async with (
        Peer([[http(PAGE, headers=dated)], [http(PAGE)], [http(PAGE, headers={"Date": "soon"})]]) as peer,
        client(peer.url) as source,
    ):
        answers = [await source.get_page(PageRequest(limit=1), fits) for _ in range(3)]
    assert [answer.served_at for answer in answers] == [parse_timestamp("2026-02-10T05:00:00Z"), None, None]
    assert peer.connections == 1


@pytest.mark.parametrize(
    ("age", "seconds"), [("90", 90), (" 0 ", 0), ("-5", 0), ("1e9", 0), ("soon", 0), ("9" * 30, 0)]
)
async def test_how_old_an_answer_from_a_cache_is(age: str, seconds: int) -> None:
    async with Peer([[http(PAGE, headers={"Age": age})]]) as peer, client(peer.url) as source:
        assert (await source.get_page(PageRequest(limit=1), fits)).age == seconds * SECOND


@pytest.mark.parametrize(
    "script",
    [
        [http_gzip(PAGE)],
        [http(gzip.compress(PAGE[:5]) + gzip.compress(PAGE[5:]), headers={"Content-Encoding": "GZIP"})],
        [http(b" \n" + PAGE)],
        [http(PAGE, headers={"Content-Type": "text/plain"})],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"e\r\n" + PAGE + b"\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\n" + PAGE, Step.CLOSE],
        [Trickle(http(PAGE), pause_seconds=0)],
    ],
    ids=["gzip", "gzip-members", "whitespace", "other-type", "chunked", "until-close", "trickle"],
)
async def test_pages_arrive_whole(script: Script) -> None:
    async with Peer([script]) as peer, client(peer.url) as source:
        assert (await source.get_page(PageRequest(limit=1), fits)).body.strip() == PAGE


ERRORS: list[tuple[str, Script, type[SourceError], str]] = [
    ("reset-at-once", [Step.RESET], UnreachableError, "connection broke"),
    ("closed-at-once", [Step.CLOSE], UnreachableError, "connection broke"),
    ("reset-in-head", [b"HTTP/1.1 200 OK\r\nContent-", Step.RESET], UnreachableError, "connection broke"),
    ("reset-in-body", [http(PAGE, declared_length=99), Step.RESET], UnreachableError, "127.0.0.1"),
    ("short-body", [http(PAGE, declared_length=99), Step.CLOSE], UnreachableError, "cut short"),
    ("short-gzip", [http(gzip.compress(PAGE)[:-3], headers={"Content-Encoding": "gzip"})], UnreachableError, "cut"),
    (
        "short-chunked",
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n63\r\n[{", Step.CLOSE],
        UnreachableError,
        "cut short",
    ),
    ("stall-at-once", [Step.STALL], UnreachableError, "not a byte for 0.3 s"),
    ("stall-in-body", [http(PAGE, declared_length=99), Step.STALL], UnreachableError, "not a byte for 0.3 s"),
    ("not-http", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Step.CLOSE], UnreachableError, "not HTTP"),
    ("html", [HTML], UnusableAnswerError, "text/html instead of a JSON array"),
    ("object", [http_json({"items": []})], UnusableAnswerError, "application/json instead"),
    ("nothing", [http(b"")], UnusableAnswerError, "nothing instead"),
    ("no-content", [b"HTTP/1.1 204 No Content\r\n\r\n"], UnusableAnswerError, "204"),
    ("not-gzip", [http(PAGE, headers={"Content-Encoding": "gzip"})], UnusableAnswerError, "not gzip"),
    ("other-encoding", [http(PAGE, headers={"Content-Encoding": "br"})], UnusableAnswerError, "br"),
    ("too-long", [http(b"[" + b" " * 2_000_000)], TooLargeError, "too much for memory"),
    (
        "gzip-bomb",
        [http(gzip_bomb(300_000_000), headers={"Content-Encoding": "gzip"})],
        TooLargeError,
        "too much for memory",
    ),
    ("401", [http_json({"detail": f"no such token: {TOKEN}."}, 401)], AccessError, "no such token: (token). The token"),
    ("401-html", [http(b"<html>", 401)], AccessError, "answered 401. The token"),
    ("403", [http_json({"message": "no"}, 403)], AccessError, "conversations:read"),
    ("404", [http_json({"detail": "Not Found"}, 404)], RequestRefusedError, "ANYREACH_BASE_URL"),
    ("422", [http_json({"detail": [{"loc": ["limit"], "msg": "too big"}]}, 422)], RequestRefusedError, "422: too big"),
    ("408", [http(b"", 408)], ServerFailedError, "408"),
    ("425", [http(b"", 425)], ServerFailedError, "425"),
    ("429", [http(b"", 429, {"Retry-After": "7"})], ThrottledError, "429"),
    ("500", [http(b"oops", 500)], ServerFailedError, "500"),
    ("502-cut", [http(b"{", 502, declared_length=50), Step.CLOSE], ServerFailedError, "502"),
    ("502-bomb", [http(gzip_bomb(50_000_000), 502, {"Content-Encoding": "gzip"})], ServerFailedError, "502"),
    ("503", [http(b"", 503)], ThrottledError, "503"),
    (
        "redirect",
        [http(b"", 302, {"Location": f"https://login.example/x?next={TOKEN}"})],
        RequestRefusedError,
        "302, a redirect to login.example. The token is not sent on",
    ),
    ("redirect-nowhere", [http(b"", 307, {"Location": "http://[::1"})], RequestRefusedError, "307, a redirect. "),
    ("redirect-to-token", [http(b"", 301, {"Location": f"//{TOKEN}/"})], RequestRefusedError, "to (token)"),
]


@pytest.mark.parametrize(("script", "kind", "says"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
async def test_what_goes_wrong_is_named_and_keeps_the_token(script: Script, kind: type[SourceError], says: str) -> None:
    async with Peer([script]) as peer:
        error = await failure_of(peer.url)
    assert type(error) is kind
    assert says in str(error)
    assert "127.0.0.1" in str(error)
    # One attempt is one request: retries are somebody else's decision.
    assert len(peer.requests) == 1


async def test_a_connection_that_breaks_on_reuse_is_one_attempt_too() -> None:
    async with Peer([[http(PAGE)], [Step.RESET]]) as peer, client(peer.url) as source:
        await source.get_page(PageRequest(limit=1), fits)
        with pytest.raises(UnreachableError):
            await source.get_page(PageRequest(limit=1), fits)
    assert len(peer.requests) == 2


async def test_the_client_goes_on_after_every_failure() -> None:
    broken = [script for name, script, _, _ in ERRORS if not name.startswith(("stall", "gzip-bomb"))]
    scripts = [script for each in broken for script in (each, [http(PAGE)])]
    async with Peer(scripts) as peer, client(peer.url) as source:
        for _ in broken:
            with pytest.raises(SourceError):
                await source.get_page(PageRequest(limit=1), fits)
            assert (await source.get_page(PageRequest(limit=1), fits)).body == PAGE


async def test_a_trickle_ends() -> None:
    async with Peer([[Trickle(http(b"[" + b" " * 100_000), pause_seconds=0.01)]]) as peer:
        error = await failure_of(peer.url, Limits(stall_seconds=5, total_seconds=0.3))
    assert type(error) is UnreachableError
    assert "no whole answer within 0.3 s" in str(error)


async def test_a_throttled_answer_says_how_long() -> None:
    async with Peer([[http(b"", 429, {"Retry-After": "7"})]]) as peer:
        error = await failure_of(peer.url)
    assert isinstance(error, ThrottledError)
    assert (error.retry_after_seconds, error.status) == (7.0, 429)


async def test_a_throttled_answer_without_retry_after_may_name_its_reset_which_is_bounded() -> None:
    async with Peer([[http(b"", 429, {"RateLimit": f'"day";r=0;t={seconds}'})] for seconds in (9, 10**7)]) as peer:
        errors = [await failure_of(peer.url), await failure_of(peer.url)]
    assert [getattr(error, "retry_after_seconds", None) for error in errors] == [9.0, 60.0]


async def test_an_answer_says_how_many_more_are_welcome() -> None:
    headers = {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "12"}
    async with Peer([[http(PAGE, 200, headers)]]) as peer, client(peer.url) as api:
        answer = await api.get_page(PageRequest(limit=10), lambda _: True)
    assert answer.quota == Quota(3, 12.0)


async def test_a_personal_token_is_told_of_its_organization() -> None:
    async with Peer([[http_json({"detail": "Token is missing organization claim."}, 401)]]) as peer:
        error = await failure_of(peer.url, credentials=Credentials("pat_51c0ffee", "org-1"))
    assert "check ANYREACH_TOKEN or --token-file, and ANYREACH_ORG_ID or --org-id: a personal token" in str(error)


async def test_nobody_listens() -> None:
    async with Peer([[http(PAGE)]]) as peer:
        url = peer.url
    error = await failure_of(url)
    assert type(error) is UnreachableError
    assert "no connection (" in str(error)
    assert str(error).endswith("). Check ANYREACH_BASE_URL and the network")


async def test_no_such_host() -> None:
    error = await failure_of("http://no-such-host.invalid")
    assert type(error) is UnreachableError
    assert "no-such-host.invalid: no such host" in str(error)


async def test_the_environment_cannot_divert_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which proxy to use is decided before, and the client told; see `exporter.route`."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    async with Peer([[http(PAGE)]]) as peer, Peer([[http(PAGE)]]) as proxy:
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with client(peer.url) as source:
            await source.get_page(PageRequest(limit=1), fits)
    assert peer.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert "proxy-authorization" not in peer.requests[0].headers
    assert proxy.requests == []


def proxy_at(peer: Peer) -> Proxy:
    return Proxy(f"127.0.0.1:{peer.port}", "HTTPS_PROXY", PROXY_AUTHORIZATION)


async def test_plain_http_through_a_proxy() -> None:
    async with Peer([[http(PAGE)]]) as peer, client("http://api.test/base", proxy=proxy_at(peer)) as source:
        for _ in range(2):
            assert (await source.get_page(PageRequest(limit=1), lambda _: True)).body == PAGE
    assert peer.connections == 1
    for received in peer.requests:
        assert received.target == "http://api.test/base/core/conversations?limit=1"
        assert received.headers["host"] == "api.test"
        assert received.headers["authorization"] == f"Bearer {TOKEN}"
        assert received.headers["proxy-authorization"] == PROXY_AUTHORIZATION


PROXY_ERRORS: list[tuple[str, Script, type[SourceError], str]] = [
    (
        "407",
        [http(b"", 407, {"Proxy-Authenticate": "Basic"})],
        RequestRefusedError,
        "credentials (407). Give them in HTTP",
    ),
    ("403", [http_json({"detail": f"not you: {TOKEN}"}, 403)], RequestRefusedError, "through to api.test (403)"),
    ("302", [http(b"", 302, {"Location": "https://login.example"})], RequestRefusedError, "through to api.test (302)"),
    ("429", [http(b"", 429)], ThrottledError, "429"),
    ("502", [http(b"", 502)], UnreachableError, "does not reach api.test (502)"),
    ("503", [http(b"", 503)], UnreachableError, "does not reach api.test (503)"),
    ("reset", [Step.RESET], UnreachableError, "connection broke"),
    ("close", [Step.CLOSE], UnreachableError, "connection broke"),
    ("stall", [Step.STALL], UnreachableError, "no connection within 1 s"),
    ("not-http", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Step.CLOSE], UnreachableError, "not HTTP"),
    ("no-tls", [b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0\r\n"], UnreachableError, "api.test"),
    ("tunnel-closed", [b"HTTP/1.1 200 OK\r\n\r\n", Step.CLOSE], UnreachableError, "api.test"),
    ("tunnel-reset", [b"HTTP/1.1 200 OK\r\n\r\n", Step.RESET], UnreachableError, "api.test"),
]


@pytest.mark.parametrize(("script", "kind", "says"), [e[1:] for e in PROXY_ERRORS], ids=[e[0] for e in PROXY_ERRORS])
async def test_what_a_proxy_does_wrong_is_named(script: Script, kind: type[SourceError], says: str) -> None:
    async with Peer([script]) as peer:
        proxy = proxy_at(peer)
        error = await failure_of("https://api.test", Limits(connect_seconds=1), proxy=proxy)
    assert type(error) is kind
    assert says in str(error)
    assert f"the proxy {proxy.address}" in str(error)
    (received,) = peer.requests
    assert received.target == "api.test:443"
    assert received.headers.keys() <= {"host", "user-agent", "accept", "accept-encoding", "proxy-authorization"}
    assert received.headers["proxy-authorization"] == PROXY_AUTHORIZATION
    assert received.headers["user-agent"].startswith("exporter/")


async def test_a_proxy_that_wants_other_credentials_for_plain_http() -> None:
    async with Peer([[http_json({"detail": PROXY_AUTHORIZATION}, 407)]]) as peer:
        error = await failure_of("http://api.test", proxy=proxy_at(peer))
    assert type(error) is RequestRefusedError
    assert "wants other credentials (407)" in str(error)


async def test_a_proxy_that_is_not_there() -> None:
    async with Peer([[http(PAGE)]]) as peer:
        gone = proxy_at(peer)
    nameless = Proxy("no-such-proxy.invalid:3128", "http_proxy")
    for scheme in ("http", "https"):
        error = await failure_of(f"{scheme}://api.test", proxy=gone)
        assert type(error) is UnreachableError
        assert str(error).startswith(f"the proxy {gone.address}: no connection")
        assert str(error).endswith("Check HTTPS_PROXY")
        error = await failure_of(f"{scheme}://api.test", proxy=nameless)
        assert type(error) is UnreachableError
        assert str(error).startswith("the proxy no-such-proxy.invalid:3128: no such host")
        assert str(error).endswith("Check http_proxy")


async def test_cookies_are_not_kept() -> None:
    sets_one = http(PAGE, headers={"Set-Cookie": "a=b"})
    # By name: aiohttp's own jar takes no cookies from an address anyway.
    async with Peer([[sets_one]]) as peer, client(peer.url.replace("127.0.0.1", "localhost")) as source:
        for _ in range(2):
            await source.get_page(PageRequest(limit=1), fits)
    assert "cookie" not in peer.requests[1].headers


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = http(gzip_bomb(300_000_000), headers={"Content-Encoding": "gzip"})
    async with Peer([[bomb]]) as peer, client(peer.url) as source:
        tracemalloc.start()
        try:
            with pytest.raises(TooLargeError):
                await source.get_page(PageRequest(limit=1), fits)
            assert tracemalloc.get_traced_memory()[1] < 10 * MOST_BYTES
        finally:
            tracemalloc.stop()


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    server, certificate = self_signed(tmp_path)
    async with Peer([[http(PAGE)]], ssl_context=server) as peer:
        error = await failure_of(peer.url)
        assert not isinstance(error, TransientError)
        assert "certificate cannot be verified (unable to get local issuer certificate)" in str(error)
        assert peer.requests == []
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with client(peer.url, ssl_context=trusting) as source:
            assert (await source.get_page(PageRequest(limit=1), fits)).body == PAGE


async def test_tls_to_a_plain_port() -> None:
    async with Peer([[http(PAGE)]]) as peer:
        error = await failure_of(peer.url.replace("http:", "https:"), Limits(connect_seconds=1))
    assert type(error) is UnreachableError


async def test_tls_to_a_plain_port_that_complains() -> None:
    async def complain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(complain, "127.0.0.1", 0) as server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await failure_of(f"https://{host}")
    assert type(error) is UnreachableError
    assert str(error) == (
        f"{host}: no TLS connection (wrong version number). Does it take https:// on this port? Check ANYREACH_BASE_URL"
    )


def test_nothing_prints_the_token() -> None:
    source = client("http://127.0.0.1:1")
    assert TOKEN not in repr(source) + str(source)
