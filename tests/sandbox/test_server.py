import asyncio
import socket
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from exporter.contract import CONVERSATIONS_PATH, DAY, FIELDS, SECOND, parse_timestamp
from exporter.errors import ExporterError
from exporter.sandbox import (
    ORGANIZATION,
    PERSONAL_TOKEN,
    PERSONAL_TOKEN_NOSENSITIVE,
    TOKEN_NOSCOPE,
    TOKEN_NOSENSITIVE,
    Behaviour,
    Row,
    Sandbox,
    ServedRequest,
    make_conversations,
    run_sandbox,
    serve,
)

pytestmark = pytest.mark.anyio

SINCE = parse_timestamp("2026-02-10")
ROWS = make_conversations(30, SINCE, SINCE + DAY)
SENSITIVE = {field.name for field in FIELDS if field.sensitive}


async def test_tokens(get: Any) -> None:
    async with serve(ROWS) as sandbox:
        assert (await get(sandbox)).status == 200
        for wrong in ("ak_other", "sandbox", "pat_other"):
            assert (await get(sandbox, token=wrong)).status == 401
        assert (await get(sandbox, token=TOKEN_NOSCOPE)).status == 403
        without = await get(sandbox, token=PERSONAL_TOKEN)
        assert (without.status, without.json) == (401, {"detail": "Token is missing organization claim."})
        assert (await get(sandbox, token=PERSONAL_TOKEN, organization=ORGANIZATION)).status == 200
        assert (await get(sandbox, token=PERSONAL_TOKEN, organization="org_other")).status == 403
        assert (await get(sandbox, organization="org_other")).status == 200
        sandbox.behaviour = Behaviour(checks_organization=True)
        assert (await get(sandbox, organization="org_other")).status == 403
        assert (await get(sandbox, organization=ORGANIZATION)).status == (await get(sandbox)).status == 200


async def test_no_token_or_another_scheme(client: aiohttp.ClientSession) -> None:
    async with serve(ROWS) as sandbox:
        for headers in ({}, {"Authorization": sandbox.token}, {"Authorization": f"Basic {sandbox.token}"}):
            async with client.get(sandbox.url + CONVERSATIONS_PATH, headers=headers) as response:
                assert response.status == 401


@pytest.mark.parametrize("token", [TOKEN_NOSENSITIVE, PERSONAL_TOKEN_NOSENSITIVE])
async def test_sensitive_fields_are_absent_without_the_scope(get: Any, token: str) -> None:
    async with serve(ROWS) as sandbox:
        full = (await get(sandbox)).json
        bare = (await get(sandbox, token=token, organization=ORGANIZATION)).json
        assert [{name: row[name] for name in row if name not in SENSITIVE} for row in full] == bare
        assert set(full[0]) - set(bare[0]) == SENSITIVE
        one = (await get(sandbox, bare[0]["id"], token=token, organization=ORGANIZATION)).json
        assert one == bare[0]
        chosen = await get(sandbox, token=token, organization=ORGANIZATION, fields="id,summary", limit=1)
        assert chosen.json == [{"id": bare[0]["id"]}]


async def test_fields_and_single_rows(get: Any) -> None:
    async with serve(ROWS) as sandbox:
        full = (await get(sandbox)).json
        chosen = (await get(sandbox, fields="id, status,created_at,nonsense")).json
        assert chosen == [{name: row[name] for name in ("id", "status", "created_at")} for row in full]
        assert (await get(sandbox, full[3]["id"])).json == full[3]
        missing = await get(sandbox, "nobody")
        assert (missing.status, missing.json) == (404, {"detail": "Conversation not found."})


async def test_extra_fields(get: Any) -> None:
    async with serve(ROWS, Behaviour(extra_fields=True)) as sandbox:
        assert {"queue_seconds", "sentiment"} <= set((await get(sandbox)).json[0])
        assert set((await get(sandbox, fields="id")).json[0]) == {"id"}


async def test_odd_rows_are_served_untouched(get: Any) -> None:
    raw = '{"created_at":"2026-02-10T00:00:00Z","x":123456789012345678901234567890,"s":"\\ud800\\u0000","s":NaN}'
    async with serve([Row(SINCE, raw=raw), Row(SINCE + 1, raw="null")]) as sandbox:
        assert (await get(sandbox)).body == b"[null," + raw.encode() + b"]"
        assert (await get(sandbox, status="completed")).json == []
        assert (await get(sandbox, "x")).status == 404


async def test_every_answer_tells_the_server_time(get: Any) -> None:
    now = SINCE
    async with serve(ROWS, Behaviour(script=("ok", "500")), clock=lambda: now) as sandbox:
        answers = [await get(sandbox), await get(sandbox), await get(sandbox, "nobody"), await get(sandbox, token="x")]
        assert [answer.status for answer in answers] == [200, 500, 404, 401]
        assert {answer.headers["Date"] for answer in answers} == {"Tue, 10 Feb 2026 00:00:00 GMT"}
        now = SINCE + 5 * SECOND
        assert (await get(sandbox)).headers["Date"] == formatdate(now / SECOND, usegmt=True)


@pytest.mark.parametrize("form", ["seconds", "date", "absent"])
async def test_rate_limit(get: Any, form: Any) -> None:
    async with serve(ROWS, Behaviour(rate=0.01, burst=2, retry_after=form), clock=lambda: SINCE) as sandbox:
        answers = [await get(sandbox) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        header = answers[-1].headers.get("Retry-After")
        if form == "absent":
            assert header is None
        elif form == "seconds":
            assert header is not None
            assert 90 <= int(header) <= 100
        else:
            assert header is not None
            assert 90 <= parsedate_to_datetime(header).timestamp() - SINCE / SECOND <= 100


async def test_rate_limit_refills(get: Any) -> None:
    async with serve(ROWS, Behaviour(rate=1e6)) as sandbox:
        assert [(await get(sandbox)).status for _ in range(5)] == [200] * 5


async def test_requests_in_flight(client: aiohttp.ClientSession, get: Any) -> None:
    async with serve(ROWS, Behaviour(max_in_flight=2, faults=("stall",), fault_rate=1)) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        inside = asyncio.Event()
        sandbox.on_request = lambda seen: inside.set() if seen.number == 2 else None
        stalled = [
            asyncio.ensure_future(client.get(sandbox.url + CONVERSATIONS_PATH, headers=headers)) for _ in range(2)
        ]
        await inside.wait()
        answer = await get(sandbox)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        for waiting in stalled:
            waiting.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)


async def test_answers_are_told_of_though_they_be_refused(get: Any) -> None:
    async with serve(ROWS, Behaviour(script=("ok", "500"))) as sandbox:
        told: list[str] = []
        sandbox.on_request = lambda seen: told.append(f"asked {seen.number}")
        sandbox.on_answer = lambda seen, _: told.append(f"answered {seen.number}")
        statuses = [(await get(sandbox)).status, (await get(sandbox)).status, (await get(sandbox, token="none")).status]
        assert statuses == [200, 500, 401]
        assert told == [f"{what} {number}" for number in (1, 2, 3) for what in ("asked", "answered")]


async def test_latency_does_not_hold_up_others(get: Any) -> None:
    async with serve(ROWS, Behaviour(latency=0.01)) as sandbox:
        answers = await asyncio.gather(*(get(sandbox) for _ in range(5)))
        assert [answer.status for answer in answers] == [200] * 5


async def test_token_revoked_and_role_changed(get: Any) -> None:
    async with serve(ROWS, Behaviour(role_changed_after=1, revoked_after=2)) as sandbox:
        first, second, third = [await get(sandbox) for _ in range(3)]
        assert set(first.json[0]) >= SENSITIVE
        assert SENSITIVE.isdisjoint(second.json[0])
        assert third.status == 401
        sandbox.behaviour = Behaviour(revoked_after=1)
        assert [(await get(sandbox)).status for _ in range(2)] == [200, 401]


async def test_requests_are_logged_and_can_be_reacted_to(get: Any) -> None:
    async with serve(ROWS) as sandbox:

        def insert_at_second(seen: ServedRequest) -> None:
            if seen.number == 2:
                sandbox.insert(Row(SINCE + DAY, fields={"id": "late"}))

        sandbox.on_request = insert_at_second
        assert "late" not in (await get(sandbox, limit=3)).ids
        assert (await get(sandbox, limit=3, status="completed")).status == 200
        assert (await get(sandbox, limit=3)).ids[0] == "late"
        assert [seen.number for seen in sandbox.requests] == [1, 2, 3]
        assert sandbox.requests[1].query == {"limit": "3", "status": "completed"}
        assert sandbox.requests[1].path == CONVERSATIONS_PATH
        assert sandbox.requests[1].authorization == f"Bearer {sandbox.token}"


async def test_warming_changes_nothing(get: Any) -> None:
    async with serve(ROWS) as cold, serve(ROWS) as warm:
        warm.warm()
        assert (await get(warm)).body == (await get(cold)).body


async def test_run_sandbox_serves_until_cancelled(client: aiohttp.ClientSession) -> None:
    ready: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    running = asyncio.ensure_future(run_sandbox(ROWS[:3], port=0, on_ready=ready.set_result))
    address = (await ready).url
    assert address.startswith("http://127.0.0.1:")
    async with client.get(address + CONVERSATIONS_PATH, headers={"Authorization": "Bearer ak_sandbox"}) as response:
        assert len(await response.json()) == 3
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(address)


async def test_a_taken_port_is_an_error_that_names_it_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ExporterError) as refused:
            await run_sandbox((), port=port, on_ready=print)
    assert str(refused.value) == f"--port {port}: Address already in use; give another one"
    assert refused.value.exit_status == 1
