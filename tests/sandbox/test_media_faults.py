import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict

from exporter.contract import CONVERSATIONS_PATH, parse_timestamp
from exporter.sandbox import MEDIA_FAULTS, RECORDINGS_HOST, MediaBehaviour, MediaHost, Row, Sandbox, serve

pytestmark = pytest.mark.anyio

CALL = {"id": "a", "recording_details": {"recording_url": f"{RECORDINGS_HOST}/a.mp3", "duration": 3}}
ROW = Row(parse_timestamp("2026-02-10"), fields=CALL)


@dataclass
class Answer:
    """Holds what a plain client sees; `error` is what broke off."""

    status: int = 0
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    body: bytes = b""
    error: Exception | None = None

    def whole(self, host: MediaHost) -> bool:
        return self.status == 200 and self.error is None and self.body == host.content("a")


@dataclass
class Source:
    """Gives links and answers of one recording that meets a fault."""

    sandbox: Sandbox
    host: MediaHost
    client: aiohttp.ClientSession

    async def link(self) -> str:
        url = f"{self.sandbox.url}{CONVERSATIONS_PATH}/a"
        async with self.client.get(url, headers={"Authorization": f"Bearer {self.sandbox.token}"}) as response:
            link = (await response.json())["recording_details"]["recording_url"]
            assert isinstance(link, str)
            return link

    async def receive(self, link: str) -> bytes:
        """Returns all that comes over one connection. aiohttp itself asks again where one breaks before an answer."""
        host, port = self.host.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"GET {link.removeprefix(self.host.url)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            return await reader.read(-1)
        finally:
            writer.close()

    async def get(self, url: str = "", *, at_most: int | None = None, headers: dict[str, str] | None = None) -> Answer:
        answer = Answer()
        try:
            async with self.client.get(url or await self.link(), headers=headers, allow_redirects=False) as response:
                answer.status, answer.headers = response.status, CIMultiDict(response.headers)
                async for chunk in response.content.iter_any():
                    answer.body += chunk
                    if at_most is not None and len(answer.body) >= at_most:
                        break
        except aiohttp.ClientError as error:
            answer.error = error
        return answer


@asynccontextmanager
async def meeting(fault: Any, **switches: Any) -> AsyncIterator[Source]:
    behaviour = MediaBehaviour(faults={fault: 1}, **switches)
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        serve([ROW], media=behaviour) as sandbox,
        aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as client,
    ):
        assert sandbox.media is not None
        yield Source(sandbox, sandbox.media, client)


@pytest.mark.parametrize(("fault", "status"), [("early-404", 404), ("429", 429), ("503", 503)])
async def test_a_refusal_heals_after_as_many_attempts_as_it_should(fault: str, status: int) -> None:
    async with meeting(fault, heals_after=2, retry_after_seconds=7) as source:
        answers = [await source.get() for _ in range(3)]
        assert [answer.status for answer in answers] == [status, status, 200]
        assert {answer.headers.get("Retry-After") for answer in answers[:2]} == {None if status == 404 else "7"}
        assert {answer.headers["Content-Type"].partition(";")[0] for answer in answers[:2]} == {"application/xml"}
        assert answers[2].whole(source.host)
        assert source.host.attempts["a"] == 3


async def test_a_drop_gives_no_answer_at_all() -> None:
    async with meeting("drop") as source:
        with pytest.raises(ConnectionResetError):
            await source.receive(await source.link())
        assert (await source.get()).whole(source.host)


async def test_a_cut_leaves_half_and_a_range_brings_the_rest() -> None:
    async with meeting("cut", heals_after=2) as source:
        first = await source.get()
        size = int(first.headers["Content-Length"])
        assert isinstance(first.error, aiohttp.ClientPayloadError)
        assert 0 < len(first.body) == size // 2
        tag = first.headers["ETag"]
        second = await source.get(headers={"Range": f"bytes={size // 2}-", "If-Range": tag})
        assert (second.status, len(second.body), second.error is None) == (206, (size - size // 2) // 2, False)
        done = size // 2 + len(second.body)
        third = await source.get(headers={"Range": f"bytes={done}-", "If-Range": tag})
        assert first.body + second.body + third.body == source.host.content("a")
        assert (await source.get()).whole(source.host)


async def test_a_cut_that_never_ends_brings_half_of_what_is_left_each_time() -> None:
    async with meeting("cut-always", bytes_each=100) as source:
        got = b""
        for left in (100, 50, 25, 13, 7, 4, 2, 1, 1):
            assert len(got) == 100 - left
            answer = await source.get(headers={"Range": f"bytes={len(got)}-"})
            assert answer.error is not None
            got += answer.body
        assert got == source.host.content("a")[:99]


async def test_a_host_without_ranges_begins_at_the_beginning() -> None:
    async with meeting("norange") as source:
        first, second = await source.get(), await source.get(headers={"Range": "bytes=100-"})
        assert first.error is not None and len(first.body) == len(second.body) // 2
        assert "Accept-Ranges" not in first.headers
        assert second.whole(source.host)


async def test_a_weak_tag_stays_though_the_bytes_change() -> None:
    async with meeting("weak") as source:
        first, second = await source.get(), await source.get()
        assert first.headers["ETag"] == second.headers["ETag"]
        assert first.headers["ETag"].startswith('W/"')
        assert first.headers["Content-Length"] == second.headers["Content-Length"]
        assert first.error is not None and not second.body.startswith(first.body)
        assert second.whole(source.host)
        mixed = await source.get(headers={"Range": f"bytes={len(first.body)}-"})
        assert mixed.status == 206 and first.body + mixed.body != second.body
        assert (await source.get(headers={"Range": "bytes=9-", "If-Range": first.headers["ETag"]})).status == 200


async def test_a_recording_that_changed_has_another_tag() -> None:
    async with meeting("changed") as source:
        first = await source.get()
        assert first.error is not None
        again = await source.get(headers={"Range": f"bytes={len(first.body)}-", "If-Range": first.headers["ETag"]})
        assert again.whole(source.host)
        assert again.headers["ETag"] != first.headers["ETag"]
        assert not again.body.startswith(first.body)


async def test_a_range_is_refused_and_the_whole_is_not() -> None:
    async with meeting("416") as source:
        first = await source.get()
        size = int(first.headers["Content-Length"])
        refused = await source.get(headers={"Range": f"bytes={len(first.body)}-"})
        assert first.error is not None
        assert (refused.status, refused.headers["Content-Range"]) == (416, f"bytes */{size}")
        assert (await source.get()).whole(source.host)


async def test_a_range_comes_without_saying_which() -> None:
    async with meeting("no-content-range") as source:
        first = await source.get()
        rest = await source.get(headers={"Range": f"bytes={len(first.body)}-", "If-Range": first.headers["ETag"]})
        assert first.error is not None
        assert (rest.status, "Content-Range" in rest.headers) == (206, False)
        assert first.body + rest.body == source.host.content("a")
        assert (await source.get()).whole(source.host)


@pytest.mark.parametrize("dialect", ["expires", "path"])
async def test_a_link_is_dead_on_first_use_and_another_one_lives(dialect: str) -> None:
    async with meeting("expired", dialect=dialect) as source:
        first, second = await source.link(), await source.link()
        for _ in range(3):
            answer = await source.get(first)
            assert answer.status == 403
            assert b"Request has expired" in answer.body
        assert (await source.get(second)).whole(source.host)
        assert (await source.get(first)).status == 403


async def test_no_length() -> None:
    async with meeting("no-length") as source:
        answer = await source.get()
        assert answer.whole(source.host)
        assert "Content-Length" not in answer.headers
        assert answer.headers["Transfer-Encoding"] == "chunked"


async def test_slow() -> None:
    async with meeting("slow", bytes_each=1000, slow_rate=10_000) as source:
        assert (await source.get()).whole(source.host)
        source.host.behaviour = MediaBehaviour(faults={"slow": 1}, slow_rate=100)
        answer = await source.get(at_most=1)
        assert (len(answer.body), answer.error) == (5, None)


async def test_unknown_type() -> None:
    async with meeting("unknown-type") as source:
        answer = await source.get()
        assert answer.whole(source.host)
        assert answer.headers["Content-Type"] == "application/x-recording"


async def test_a_redirect_is_signed_in_the_path_as_well() -> None:
    async with meeting("redirect", dialect="path") as source:
        target = (await source.get()).headers["Location"]
        assert target.startswith(f"{source.host.url}/moved/signed/") and target.endswith("/a/a.wav")
        assert (await source.get(target)).whole(source.host)


async def test_a_good_redirect_leads_to_the_recording() -> None:
    async with meeting("redirect") as source:
        answer = await source.get()
        assert answer.status == 302
        assert answer.headers["Location"].startswith(f"{source.host.url}/moved/a/a.wav?")
        assert (await source.get(answer.headers["Location"])).whole(source.host)


@pytest.mark.parametrize(
    ("fault", "location"),
    [
        ("redirect-name", "http://media.internal:{port}/moved/a/a.wav?"),
        ("redirect-http", "http://recordings.sandbox.invalid/a/a.wav"),
        ("redirect-literal", "https://169.254.169.254/"),
        ("redirect-private", "https://10.0.0.7/"),
        ("redirect-loop", "/a/a.wav?"),
    ],
)
async def test_a_bad_redirect_leads_where_nobody_must_go(fault: str, location: str) -> None:
    async with meeting(fault, redirect_host="media.internal") as source:
        port = source.host.url.rpartition(":")[2]
        for _ in range(3):
            answer = await source.get()
            assert answer.status == 302
            assert answer.headers["Location"].startswith(location.format(port=port))


async def test_a_loop_leads_to_the_same_link() -> None:
    async with meeting("redirect-loop") as source:
        link = await source.link()
        assert source.host.url + (await source.get(link)).headers["Location"] == link


async def test_a_long_body_goes_beyond_what_was_said() -> None:
    async with meeting("long", bytes_each=5000) as source:
        head, _, body = (await source.receive(await source.link())).partition(b"\r\n\r\n")
        assert b"Content-Length: 5000" in head
        assert (body[:5000], len(body)) == (source.host.content("a"), 6000)


async def test_bytes_without_end() -> None:
    async with meeting("endless") as source:
        answer = await source.get(at_most=3_000_000)
        whole = source.host.content("a")
        assert (answer.status, answer.error) == (200, None)
        assert "Content-Length" not in answer.headers
        assert answer.body.startswith(whole) and len(answer.body) >= 3_000_000


async def test_more_bytes_than_anybody_wants_are_announced_and_come() -> None:
    async with meeting("oversized") as source:
        answer = await source.get(at_most=3_000_000)
        assert answer.headers["Content-Length"] == "50000000000"
        assert len(answer.body) >= 3_000_000
        source.host.behaviour = MediaBehaviour(faults={"oversized": 1}, oversized_bytes=200_001)
        answer = await source.get()
        assert (len(answer.body), answer.error) == (200_001, None)


async def test_gzip_though_nobody_asked_for_it() -> None:
    async with meeting("gzip") as source:
        answer = await source.get(headers={"Accept-Encoding": "identity"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.body) == source.host.content("a") != answer.body


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "begins"),
    [
        ("empty", 200, "audio/wav", b""),
        ("html", 200, "text/html", b"<!DOCTYPE html>"),
        ("html-as-audio", 200, "audio/wav", b"<!DOCTYPE html>"),
        ("json", 200, "application/json", b"{"),
        ("gone", 410, "application/xml", b"<?xml"),
        ("forbidden", 403, "application/xml", b"<?xml"),
    ],
)
async def test_what_is_no_recording_never_becomes_one(
    fault: str, status: int, content_type: str, begins: bytes
) -> None:
    async with meeting(fault) as source:
        for _ in range(3):
            answer = await source.get()
            assert (answer.status, answer.error) == (status, None)
            assert answer.headers["Content-Type"].partition(";")[0] == content_type
            assert answer.body.startswith(begins)
            assert len(answer.body) < 200 and (begins or not answer.body)


@pytest.mark.parametrize("fault", MEDIA_FAULTS)
async def test_no_fault_meets_a_conversation_that_it_is_not_meant_for(fault: str) -> None:
    async with meeting(fault) as source:
        source.host.pinned = {"a": None}
        assert (await source.get()).whole(source.host)
