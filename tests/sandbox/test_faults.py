import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from exporter.contract import CONVERSATIONS_PATH, DAY, parse_timestamp
from exporter.sandbox import FAULTS, Behaviour, Fault, Sandbox, make_conversations, serve

pytestmark = pytest.mark.anyio

SINCE = parse_timestamp("2026-02-10")
ROWS = make_conversations(40, SINCE, SINCE + DAY)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with serve(ROWS) as running:
        yield running


@pytest.fixture
async def plain() -> AsyncIterator[aiohttp.ClientSession]:
    """Makes a client that shows what is on the wire: nothing is decompressed."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def ask(client: aiohttp.ClientSession, sandbox: Sandbox) -> Any:
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    return client.get(sandbox.url + CONVERSATIONS_PATH, headers=headers, allow_redirects=False)


async def arrived(response: aiohttp.ClientResponse) -> bytes:
    """Returns the bytes of the body that came before it broke off."""
    parts: list[bytes] = []
    with pytest.raises(aiohttp.ClientError):
        while True:
            part = await response.content.readany()
            if not part and response.content.at_eof():
                return b"".join(parts)
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("fault", ["500", "502", "503", "504"])
async def test_server_errors(sandbox: Sandbox, get: Any, fault: Fault) -> None:
    sandbox.behaviour = Behaviour(script=(fault,))
    answer = await get(sandbox)
    assert answer.status == int(fault)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert (await get(sandbox)).status == 200


async def test_reset_before_the_body(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    # It comes twice, because this client asks a second time of its own accord.
    sandbox.behaviour = Behaviour(script=("reset", "reset"))
    with pytest.raises(aiohttp.ClientOSError, match=r"reset"):
        async with ask(client, sandbox):
            pass


@pytest.mark.parametrize("fault", ["reset-mid-body", "short-body"])
async def test_a_body_that_breaks_off(sandbox: Sandbox, client: aiohttp.ClientSession, get: Any, fault: Fault) -> None:
    whole = (await get(sandbox)).body
    sandbox.behaviour = Behaviour(script=(fault,))
    async with ask(client, sandbox) as response:
        assert response.status == 200
        assert response.content_length == len(whole)
        got = await arrived(response)
        assert len(got) < len(whole)
        assert whole.startswith(got)


async def test_half_a_json_text_with_a_right_length(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.behaviour = Behaviour(script=("half-json",))
    async with ask(client, sandbox) as response:
        body = await response.read()
        assert (response.status, response.content_type, response.content_length) == (200, "application/json", len(body))
        with pytest.raises(ValueError, match="line 1"):
            json.loads(body)


async def test_a_page_of_html_and_json_by_another_name(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.behaviour = Behaviour(script=("html", "wrong-type"))
    async with ask(client, sandbox) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert (await response.text()).startswith("<!DOCTYPE html>")
    async with ask(client, sandbox) as response:
        assert (response.status, response.content_type) == (200, "text/plain")
        assert len(json.loads(await response.read())) == 40


async def test_a_stall_ends_when_the_client_leaves(sandbox: Sandbox, client: aiohttp.ClientSession, get: Any) -> None:
    sandbox.behaviour = Behaviour(script=("stall",))
    arrived = asyncio.Event()
    sandbox.on_request = lambda _seen: arrived.set()
    waiting = asyncio.ensure_future(ask(client, sandbox))
    await arrived.wait()
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await get(sandbox)).status == 200


async def test_a_stall_in_mid_body(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.behaviour = Behaviour(script=("stall-mid-body",))
    async with ask(client, sandbox) as response:
        assert response.status == 200
        got = await response.content.readany()
        assert 0 < len(got) < (response.content_length or 0)


async def test_a_stop_does_not_wait_for_a_stall(client: aiohttp.ClientSession) -> None:
    async with serve(ROWS, Behaviour(faults=("stall-mid-body",), fault_rate=1)) as sandbox:
        response = await ask(client, sandbox)
    async with response:
        await arrived(response)


async def test_trickle(sandbox: Sandbox, client: aiohttp.ClientSession, get: Any) -> None:
    whole = (await get(sandbox)).body
    sandbox.behaviour = Behaviour(script=("trickle",), trickle_rate=200)
    async with ask(client, sandbox) as response:
        assert 0 < len(await response.content.readany()) < len(whole)
    sandbox.behaviour = Behaviour(script=("trickle",), trickle_rate=len(whole) * 5)
    assert (await get(sandbox)).body == whole


async def test_gzip(sandbox: Sandbox, plain: aiohttp.ClientSession, get: Any) -> None:
    whole = (await get(sandbox)).body
    sandbox.behaviour = Behaviour(script=("gzip", "gzip"))
    async with ask(plain, sandbox) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await response.read()) == whole
    assert (await get(sandbox)).body == whole


async def test_gzip_bomb(sandbox: Sandbox, plain: aiohttp.ClientSession) -> None:
    sandbox.behaviour = Behaviour(script=("gzip-bomb",), oversized_bytes=5_000_000)
    async with ask(plain, sandbox) as response:
        body = await response.read()
        assert response.headers["Content-Encoding"] == "gzip"
    assert len(body) < 10_000
    assert zlib.decompress(body, wbits=31) == b" " * 5_000_000 + b"[]"


async def test_oversized(sandbox: Sandbox, client: aiohttp.ClientSession, get: Any) -> None:
    whole = (await get(sandbox)).body
    sandbox.behaviour = Behaviour(script=("oversized",), oversized_bytes=2_500_000)
    async with ask(client, sandbox) as response:
        assert response.content_length is None
        assert await response.read() == b" " * 2_500_000 + whole


async def test_redirect_to_another_host_shows_what_is_sent_there(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.behaviour = Behaviour(script=("redirect",))
    async with ask(client, sandbox) as response:
        assert response.status == 307
        location = response.headers["Location"]
    async with client.get(location) as followed:
        assert followed.status == 401
    assert sandbox.requests[0].host.startswith("127.0.0.1")
    assert sandbox.requests[1].host.startswith("localhost")
    assert sandbox.requests[1].authorization is None


async def test_the_rate_and_kinds_of_faults_follow_the_seed(sandbox: Sandbox, get: Any) -> None:
    behaviour = Behaviour(fault_rate=0.5, faults=("500", "502", "html"), seed=4)
    runs = []
    for chosen in (behaviour, behaviour, Behaviour(fault_rate=0.5, faults=("500", "502", "html"), seed=5)):
        sandbox.behaviour = chosen
        answers = [await get(sandbox, limit=1) for _ in range(40)]
        runs.append([(answer.status, answer.headers["Content-Type"]) for answer in answers])
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == 4
    assert 10 < sum(kind.startswith("text/html") for _, kind in runs[0]) < 30


async def test_every_fault_can_be_met(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    for fault in FAULTS:
        sandbox.behaviour = Behaviour(script=(fault,), oversized_bytes=10)  # type: ignore[arg-type]
        if fault in ("stall", "reset"):
            continue
        async with ask(client, sandbox) as response:
            assert response.status in (200, 307, 500, 502, 503, 504)
