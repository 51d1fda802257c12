import asyncio
import gzip
import threading
import tracemalloc
import zlib
from pathlib import Path
from urllib.parse import unquote

import pytest

from exporter.bearer import TokenSource
from exporter.contract import DAY, SECOND, TimestampStyle, encode_cursor, parse_timestamp
from exporter.errors import (
    AccessError,
    NoConnectionError,
    RequestRefusedError,
    ServerFailedError,
    SourceError,
    ThrottledError,
    TokenRenewedError,
    TooLargeError,
    TransientError,
    UnreachableError,
    UnusableAnswerError,
    UsageError,
)
from exporter.fetch.pace.quota import Quota
from exporter.fetch.wire.answer import Answer, Presence
from exporter.fetch.wire.client import Client
from exporter.fetch.wire.line import Limits
from exporter.model import PageRequest
from exporter.route import Proxy
from exporter.settings import Credentials
from tests.toolkit.disclosure import everything_said
from tests.toolkit.peer import Peer, Script, Step, Trickle, gzip_bomb, http, http_gzip, http_json, self_signed

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
    ca_file: Path | None = None,
    wait_seconds: float | None = None,
) -> Client:
    return Client(
        base_url,
        credentials or Credentials(TOKEN),
        concurrency=2,
        filters=filters or {},
        fields=fields,
        limits=limits,
        proxy=proxy,
        ca_file=ca_file,
        wait_seconds=wait_seconds,
    )


async def failure_of(
    base_url: str, limits: Limits = LIMITS, credentials: Credentials | None = None, proxy: Proxy | None = None
) -> SourceError:
    """Returns the error of one request; nothing that it refers to may hold the token or a proxy's password."""
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


async def test_refusals_that_repeat_the_token_and_the_one_before() -> None:
    credentials = Credentials(TOKEN, source=TokenSource("the file", lambda _stopped: f"{TOKEN}_next"))
    old = http(f'{{"detail": "not {TOKEN}"}}'.encode(), status=401)
    both = http(f'{{"detail": "neither {TOKEN} nor {TOKEN}_next"}}'.encode(), status=401)
    async with Peer([[old], [both]]) as peer, client(peer.url, credentials=credentials) as source:
        for kind, said in (
            (TokenRenewedError, ": not (token); check the file"),
            (AccessError, ": neither (token) nor (token); check the file; the file gave that token only just now"),
        ):
            with pytest.raises(AccessError) as caught:
                await source.get_page(PageRequest(limit=10), fits)
            assert (type(caught.value), str(caught.value).partition("401")[2]) == (kind, said)
            assert not any(TOKEN in text for text in everything_said(caught.value))
        sent = [request.headers["authorization"] for request in peer.requests]
        assert sent == [f"Bearer {TOKEN}", f"Bearer {TOKEN}_next"]


async def test_a_cancellation_stops_the_reading_of_a_token() -> None:
    began, ended = threading.Event(), threading.Event()

    def read(stopped: threading.Event) -> str:
        began.set()
        assert stopped.wait(60)
        ended.set()
        raise UsageError("stopped")

    credentials = Credentials(TOKEN, source=TokenSource("the file", read))
    async with Peer([[http(status=401)]]) as peer, client(peer.url, credentials=credentials) as source:
        task = asyncio.create_task(source.get_page(PageRequest(limit=10), fits))
        while not began.is_set():  # noqa: ASYNC110 - the loop goes on meanwhile
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended.wait(60)


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
    # The peer reads `+` as a space, as servers do, so this is what a server understands.
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
        answer = await source.get_one(identity, fits)
        assert isinstance(answer, Answer)
        assert answer.body == b'{"id":"a/b"}'
        with pytest.raises(UnusableAnswerError, match="instead of a JSON object"):
            await source.get_one(identity, fits)
        assert await source.get_one(identity, fits) == Presence(is_known=False)
    assert peer.requests[0].target == "/core/conversations/a%2Fb"


@pytest.mark.parametrize("identity", [".", ".."])
async def test_what_no_path_can_name_is_not_asked_for(identity: str) -> None:
    async with Peer([[http(b"{}", status=404)]]) as peer, client(peer.url) as source:
        assert (await source.look_up(identity)).is_known
        assert await source.get_one(identity, fits) == Presence(is_known=True)
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


def coded(body: bytes, *codings: str) -> bytes:
    """Returns an answer that names each coding on a line of its own."""
    named = b"".join(b"Content-Encoding: %s\r\n" % coding.encode() for coding in codings)
    status, rest = http(body).split(b"\r\n", 1)
    return status + b"\r\n" + named + rest


def encoded(body: bytes, *codings: str) -> Script:
    return [coded(body, *codings)]


def headed(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> Script:
    """Returns an answer whose head has these lines."""
    return [b"\r\n".join([status, *lines, b"Content-Length: %d" % len(PAGE), b"", PAGE])]


def in_chunks(*pieces: bytes, trailer: bytes = b"") -> Script:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n" + trailer + b"\r\n"]


BARE = zlib.compressobj(wbits=-15)
PACKED = gzip.compress(PAGE)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LATIN = '[{"id":"Grüße"}]'
#: Headers that curl, or a program with the usual client, accepts.
WHOLE: dict[str, Script] = {
    "gzip": [http_gzip(PAGE)],
    "gzip-members": encoded(gzip.compress(PAGE[:5]) + gzip.compress(PAGE[5:]), "GZIP"),
    "gzip-empty-member": encoded(gzip.compress(b"") + PACKED, "gzip"),
    "gzip-padded": encoded(PACKED + bytes(100), "gzip"),
    "gzip-padded-by-one": encoded(PACKED + b"\0", "gzip"),
    "gzip-members-padded": encoded(gzip.compress(PAGE[:5]) + bytes(8) + gzip.compress(PAGE[5:]) + bytes(8), "gzip"),
    "gzip-line-end": encoded(PACKED + b"\r\n", "gzip"),
    "gzip-trickle": [Trickle(coded(PACKED + bytes(3) + gzip.compress(b" ") + b"x", "gzip"), pause_seconds=0)],
    "x-gzip": encoded(PACKED, "x-gzip"),
    "gzip-twice": encoded(gzip.compress(PACKED), "gzip, gzip"),
    "gzip-on-two-lines": encoded(gzip.compress(PACKED), "gzip", "gzip"),
    "gzip-identity": encoded(PACKED, "gzip, identity"),
    "deflate": encoded(zlib.compress(PAGE), "deflate"),
    "deflate-bare": encoded(BARE.compress(PAGE) + BARE.flush(), "deflate"),
    "deflate-padded": encoded(zlib.compress(PAGE) + b"\n", "deflate"),
    "deflate-in-gzip": encoded(gzip.compress(zlib.compress(PAGE)), "deflate, gzip"),
    "identity": encoded(PAGE, "identity"),
    "no-coding": encoded(PAGE, "none"),
    "empty-coding": encoded(PAGE, ""),
    "coding-that-is-a-charset": encoded(PAGE, "UTF-8"),
    "whitespace": [http(b" \n" + PAGE)],
    "heartbeats": in_chunks(*[b"\n"] * 1500, PAGE),
    "many-heartbeats": [http(b" " * 900_000 + PAGE)],
    "heartbeats-in-gzip": [http_gzip(b"\r\n" * 1500 + PAGE)],
    "whitespace-after": [http(PAGE + b"\n" * 900_000)],
    "byte-order-mark": [http(BYTE_ORDER_MARK + PAGE)],
    "byte-order-mark-in-gzip": [http_gzip(BYTE_ORDER_MARK + PAGE)],
    "byte-order-mark-in-pieces": in_chunks(b"\xef", b"\xbb\xbf", PAGE),
    "other-type": [http(PAGE, headers={"Content-Type": "text/plain"})],
    "no-type": headed(),
    "no-sense-type": headed(b"Content-Type: ;;;"),
    "utf-16": [http(PAGE.decode().encode("utf-16"), headers={"Content-Type": "application/json; charset=utf-16"})],
    "utf-16-unsaid": [http(PAGE.decode().encode("utf-16-le"))],
    "utf-32": [http(PAGE.decode().encode("utf-32"))],
    "chunked": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"e\r\n" + PAGE + b"\r\n0\r\n\r\n"],
    "chunks-with-trailers": in_chunks(PAGE, trailer=b"X-Sum: 1\r\nServer-Timing: x\r\n"),
    "chunks-with-extensions": [in_chunks()[0], b"000E;a=b\r\n" + PAGE + b"\r\n0;x\r\n\r\n"],
    "until-close": [b"HTTP/1.1 200 OK\r\n\r\n" + PAGE, Step.CLOSE],
    "http-1.0": [b"HTTP/1.0 200 OK\r\n\r\n" + PAGE, Step.CLOSE],
    "http-1.0-gzip": [b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + PACKED, Step.CLOSE],
    "long-header": headed(b"X-Long: " + b"x" * 9000),
    "longer-header": headed(b"X-Long: " + b"x" * 90_000),
    "long-reason": headed(status=b"HTTP/1.1 200 " + b"r" * 9000),
    "no-reason": headed(status=b"HTTP/1.1 200"),
    "many-headers": headed(*[b"X-One: 1"] * 150),
    "more-headers": headed(*[b"X-One: 1"] * 1500),
    "header-of-two-lines": headed(b"X-Fold: a", b" b"),
    "odd-headers": headed(
        b"x-EMPTY:", b"X-Name: Gr\xfc\xdfe", b"X-Bell: \x07", b"Set-Cookie: a[b]=;;=", b"Date: a", b"Date: b"
    ),
    "early-hints": [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", http(PAGE)],
    "continue": [b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + http(PAGE)],
    "line-feeds": [http(PAGE).replace(b"\r\n", b"\n")],
    "upgrade-offered": headed(b"Connection: Upgrade", b"Upgrade: h2c"),
    "203": [http(PAGE, 203)],
    "more-than-its-length": [http(PAGE) + b"\r\n\r\n"],
    "trickle": [Trickle(http(PAGE), pause_seconds=0)],
}


@pytest.mark.parametrize("script", WHOLE.values(), ids=WHOLE)
async def test_pages_arrive_whole(script: Script) -> None:
    async with Peer([script]) as peer, client(peer.url) as source:
        body = (await source.get_page(PageRequest(limit=1), fits)).body
    assert bytes(body).strip() == PAGE
    assert body[:1] == b"["


async def test_a_body_of_megabytes_comes_as_any_other() -> None:
    page = b'[{"id":"' + bytes(range(97, 123)) * 100_000 + b'"}]'
    scripts = [[http(page)], [http_gzip(page)], in_chunks(page[:9], page[9:])]
    async with Peer(scripts) as peer, client(peer.url) as source:
        came = [(await source.get_page(PageRequest(limit=1), lambda _: True)).body for _ in scripts]
    assert list(map(bytes, came)) == [page] * 3


async def test_heartbeats_take_no_room() -> None:
    async with Peer([in_chunks(*[b" " * 10_000] * 20, PAGE)]) as peer, client(peer.url) as source:
        assert (await source.get_page(PageRequest(limit=1), lambda size_bytes: size_bytes <= len(PAGE))).body == PAGE


@pytest.mark.parametrize("charset", ["ISO-8859-1", '"latin1"', "windows-1252"])
async def test_a_charset_counts_for_what_is_not_utf8(charset: str) -> None:
    named = {"Content-Type": f"application/json; charset={charset}"}
    bodies = [LATIN.encode("latin-1"), LATIN.encode(), PAGE, b'[{"id":"\xc3\x28 \x81"}]']
    async with Peer([[http(body, headers=named)] for body in bodies]) as peer, client(peer.url) as source:
        came = [(await source.get_page(PageRequest(limit=1), fits)).body for _ in bodies]
    assert came[:3] == [LATIN.encode(), LATIN.encode(), PAGE]
    # In windows-1252 one of these bytes has no meaning; what is no text stays as it came.
    assert came[3] == bodies[3] if "1252" in charset else bytes(came[3]).decode()


@pytest.mark.parametrize("charset", ["utf-8", "unicode_escape", "rot13", "zlib", "no-such-charset", ""])
async def test_no_other_charset_changes_a_body(charset: str) -> None:
    body = b'[{"id":"\\u00e9 \xff"}]'
    script = [http(body, headers={"Content-Type": f"application/json; charset={charset}"})]
    async with Peer([script]) as peer, client(peer.url) as source:
        assert (await source.get_page(PageRequest(limit=1), fits)).body == body


async def test_a_slash_that_the_api_wants_is_learned() -> None:
    """Only the path of the redirect is learned: the same question is asked again at that path."""
    to_slash = http(b"", 307, {"Location": "http://127.0.0.1:1/core/conversations/?limit=99"})
    by_id = http(b"", 301, {"Location": "/core/conversations/c-1/"})
    scripts = [[to_slash], [http(PAGE)], [http(PAGE)], [by_id], [http(b"{}")], [http(b"{}", 404)]]
    async with Peer(scripts) as peer, client(peer.url) as source:
        for _ in range(2):
            assert (await source.get_page(PageRequest(limit=1), fits)).body == PAGE
        assert (await source.look_up("c-1")).is_known
        assert not (await source.look_up("c-2")).is_known
    assert [received.target for received in peer.requests] == [
        "/core/conversations?limit=1",
        "/core/conversations/?limit=1",
        "/core/conversations/?limit=1",
        "/core/conversations/c-1",
        "/core/conversations/c-1/",
        "/core/conversations/c-2/",
    ]


async def test_a_slash_that_is_wanted_and_unwanted_ends() -> None:
    there, back = (http(b"", 308, {"Location": f"/core/conversations{end}"}) for end in ("/", ""))
    async with Peer([[there], [back]]) as peer:
        error = await failure_of(peer.url)
        assert f"answered 308, a redirect to {peer.url}/core/conversations. " in str(error)
    assert isinstance(error, RequestRefusedError)
    assert str(error).endswith("sends requests in a circle")
    assert len(peer.requests) == 2


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
    (
        "object",
        [http_json({"items": []})],
        UnusableAnswerError,
        "answered 200 with a JSON object of items instead of a",
    ),
    ("nothing", [http(b"")], UnusableAnswerError, "nothing instead"),
    ("no-content", [b"HTTP/1.1 204 No Content\r\n\r\n"], UnusableAnswerError, "204"),
    ("not-gzip", [http(PAGE, headers={"Content-Encoding": "gzip"})], UnusableAnswerError, "not gzip"),
    (
        "other-encoding",
        [http(b"\x0b\x02\x80[]", headers={"Content-Encoding": "br"})],
        UnusableAnswerError,
        "with the encoding br, which was not asked for, instead",
    ),
    ("packed-unsaid", [http(gzip.compress(PAGE))], UnusableAnswerError, "gzip, which no Content-Encoding announces,"),
    (
        "damaged-gzip",
        [http(gzip.compress(PAGE)[:-8] + b"12345678", headers={"Content-Encoding": "gzip"})],
        UnusableAnswerError,
        "a body that is not gzip, though it says so, or is damaged (incorrect data check)",
    ),
    (
        "damaged-member",
        [http(gzip.compress(PAGE) + gzip.compress(PAGE)[:-8] + b"12345678", headers={"Content-Encoding": "gzip"})],
        UnusableAnswerError,
        "incorrect data check",
    ),
    (
        "deflate-short",
        [http(zlib.compress(PAGE)[:-3], headers={"Content-Encoding": "deflate"})],
        UnreachableError,
        "cut",
    ),
    ("null", [http(b"null")], UnusableAnswerError, "with the JSON value null instead of a JSON array"),
    ("string", [http(b'"ok"')], UnusableAnswerError, "with a JSON string instead of a JSON array"),
    (
        "envelope",
        [http_json({"data": [{"id": "c-1", "message": "hush"}], "next": None})],
        UnusableAnswerError,
        "with a JSON object of data, next instead of a JSON array. Is",
    ),
    (
        "error-object",
        [http_json({"error": {"message": f"try again, {TOKEN}"}})],
        UnusableAnswerError,
        "with a JSON object of error instead of a JSON array: try again, (token). Is",
    ),
    (
        "odd-keys",
        [http_json({TOKEN: 1, "\x1b[31m": 2, **{f"{number}" * 99: 0 for number in range(9)}})],
        UnusableAnswerError,
        "with a JSON object of (token), [31m, 000000000000000000000000000000, 1",
    ),
    (
        "too-long-a-head",
        [http(PAGE, headers={"X": "x" * 200_000})],
        UnreachableError,
        "of HTTP: Got more than 102400 bytes",
    ),
    (
        "two-lengths",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n" + http(PAGE).split(b"\r\n", 1)[1], Step.CLOSE],
        UnreachableError,
        "the answer breaks a rule of HTTP: Duplicate Content-Length",
    ),
    ("206", [http(PAGE, 206)], UnusableAnswerError, "206 instead of 200"),
    ("too-long", [http(b"[" + b" " * 2_000_000)], TooLargeError, "too much for memory"),
    ("too-many-heartbeats", in_chunks(*[b" " * 500_000] * 4, PAGE), TooLargeError, "a megabyte of space"),
    (
        "gzip-bomb",
        [http(gzip_bomb(300_000_000), headers={"Content-Encoding": "gzip"})],
        TooLargeError,
        "too much for memory",
    ),
    (
        "401",
        [http_json({"detail": f"no such token: {TOKEN}."}, 401)],
        AccessError,
        "no such token: (token); check ANYREACH_TOKEN",
    ),
    ("401-html", [http(b"<html>", 401)], AccessError, "answered 401: the token"),
    ("403", [http_json({"message": "no"}, 403)], AccessError, "conversations:read"),
    ("404", [http_json({"detail": "Not Found"}, 404)], RequestRefusedError, "ANYREACH_BASE_URL"),
    ("422", [http_json({"detail": [{"loc": ["limit"], "msg": "too big"}]}, 422)], RequestRefusedError, "422: too big"),
    ("408", [http(b"", 408)], ServerFailedError, "408"),
    ("425", [http(b"", 425)], ServerFailedError, "425"),
    ("429", [http(b"", 429, {"Retry-After": "7"})], ThrottledError, "429"),
    ("403-throttle", [http(b"", 403, {"Retry-After": "7"})], ThrottledError, "403"),
    ("500", [http(b"oops", 500)], ServerFailedError, "500"),
    ("502-cut", [http(b"{", 502, declared_length=50), Step.CLOSE], ServerFailedError, "502"),
    ("502-bomb", [http(gzip_bomb(50_000_000), 502, {"Content-Encoding": "gzip"})], ServerFailedError, "502"),
    ("503", [http(b"", 503)], ThrottledError, "503"),
    (
        "redirect",
        [http(b"", 302, {"Location": f"https://login.example/x?next={TOKEN}"})],
        RequestRefusedError,
        "302, a redirect to https://login.example/x. The token is not sent on",
    ),
    (
        "redirect-nowhere",
        [http(b"", 307, {"Location": "http://[::1"})],
        RequestRefusedError,
        "307, a redirect that does not say where to",
    ),
    ("redirect-to-token", [http(b"", 301, {"Location": f"//{TOKEN}/"})], RequestRefusedError, "to http://(token)/"),
]


@pytest.mark.parametrize(("script", "kind", "says"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
async def test_what_goes_wrong_is_named_and_keeps_the_token(script: Script, kind: type[SourceError], says: str) -> None:
    async with Peer([script]) as peer:
        error = await failure_of(peer.url)
    assert type(error) is kind
    assert says in str(error)
    assert "127.0.0.1" in str(error)
    # One attempt is one request, because another part decides on retries.
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
    assert type(error) is NoConnectionError
    address = url.removeprefix("http://")
    assert str(error).startswith(f"{address}: no connection (connection refused)")
    assert error.brief == f"no connection to {address} (refused)"
    assert str(error).endswith("). Check ANYREACH_BASE_URL and the network")


@pytest.mark.parametrize(
    ("script", "brief"),
    [
        ([http(b"", 429)], "slowed down by the API (429)"),
        ([http(b"", 503)], "no page from {host} (503)"),
        ([http_json({"detail": "Oh no. Sorry"}, 502)], "no page from {host} (502)"),
        ([Step.STALL], "no answer from {host}"),
        ([Step.RESET], "no whole answer from {host}"),
    ],
)
async def test_a_failure_is_also_said_in_a_few_words(script: Script, brief: str) -> None:
    async with Peer([script]) as peer:
        host = f"127.0.0.1:{peer.port}"
        error = await failure_of(peer.url)
    assert error.brief == brief.format(host=host)


async def test_no_such_host() -> None:
    error = await failure_of("http://no-such-host.invalid")
    assert type(error) is NoConnectionError
    assert "no-such-host.invalid: no such host" in str(error)
    assert error.brief == "no such host as no-such-host.invalid"


async def test_the_environment_cannot_divert_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`exporter.route` decides which proxy to use, and tells the client."""
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
    ("stall", [Step.STALL], NoConnectionError, "no connection within 1 s"),
    ("not-http", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Step.CLOSE], UnreachableError, "not HTTP"),
    ("no-tls", [b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0\r\n"], NoConnectionError, "api.test"),
    ("tunnel-closed", [b"HTTP/1.1 200 OK\r\n\r\n", Step.CLOSE], NoConnectionError, "api.test"),
    ("tunnel-reset", [b"HTTP/1.1 200 OK\r\n\r\n", Step.RESET], NoConnectionError, "api.test"),
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
        assert type(error) is NoConnectionError
        assert str(error).startswith(f"the proxy {gone.address}: no connection")
        assert str(error).endswith("Check HTTPS_PROXY")
        error = await failure_of(f"{scheme}://api.test", proxy=nameless)
        assert type(error) is NoConnectionError
        assert str(error).startswith("the proxy no-such-proxy.invalid:3128: no such host")
        assert str(error).endswith("Check http_proxy")


async def test_cookies_are_not_kept() -> None:
    sets_one = http(PAGE, headers={"Set-Cookie": "a=b"})
    # The host has a name, because aiohttp's own jar takes no cookies from an address.
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
        async with client(peer.url, ca_file=certificate) as source:
            assert (await source.get_page(PageRequest(limit=1), fits)).body == PAGE


async def test_a_server_is_reached_as_soon_as_it_has_accepted_a_connection() -> None:
    async with Peer([[Step.STALL]]) as peer, client(peer.url, limits=Limits(), wait_seconds=10.0) as source:
        is_reached = [source.is_reached]
        task = asyncio.create_task(source.get_page(PageRequest(limit=10), fits))
        while not peer.requests:  # noqa: ASYNC110 - the peer tells nobody
            await asyncio.sleep(0)
        is_reached.append(source.is_reached)
        assert is_reached == [False, True]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_port_without_tls_is_not_reached_by_an_address_with_it() -> None:
    async with Peer([[Step.STALL]]) as peer:
        url = peer.url.replace("http:", "https:")
        async with client(url, wait_seconds=0.3) as source:
            with pytest.raises(NoConnectionError):
                await source.get_page(PageRequest(limit=10), fits)
            assert not source.is_reached


async def test_tls_to_a_plain_port() -> None:
    async with Peer([[http(PAGE)]]) as peer:
        error = await failure_of(peer.url.replace("http:", "https:"), Limits(connect_seconds=1))
    assert type(error) is NoConnectionError


async def test_tls_to_a_plain_port_that_complains() -> None:
    async def complain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(complain, "127.0.0.1", 0) as server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await failure_of(f"https://{host}")
    assert type(error) is NoConnectionError
    assert str(error) == (
        f"{host}: no TLS connection (wrong version number). Does it take https:// on this port? Check ANYREACH_BASE_URL"
    )


def test_nothing_prints_the_token() -> None:
    source = client("http://127.0.0.1:1")
    assert TOKEN not in repr(source) + str(source)
