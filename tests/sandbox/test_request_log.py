import re
from typing import Any

import pytest

from exporter.contract import CONVERSATIONS_PATH, DAY, parse_timestamp
from exporter.sandbox import TOKEN, Behaviour, ServedAnswer, ServedRequest, make_conversations, serve
from exporter.sandbox.request_log import line_of

pytestmark = pytest.mark.anyio

NOON = parse_timestamp("2026-02-01T12:00:00.123456Z")


async def test_a_line_for_each_request(get: Any) -> None:
    lines: list[str] = []
    rows = make_conversations(7, NOON - DAY, NOON)
    async with serve(rows, Behaviour(script=("ok", "ok", "ok", "500", "html"))) as sandbox:
        sandbox.on_answer = lambda seen, answer: lines.append(line_of(seen, answer, NOON))
        page = await get(sandbox, limit=5, user_id="a,b c")
        one = await get(sandbox, str(sandbox.rows[0].facts()["id"]))
        await get(sandbox, "no-such-id")
        for _ in range(2):
            await get(sandbox)
    shape = re.compile(
        r"(2026-02-01T12:00:00\.123Z) GET (\S+) (\d+) rows=(\d+|-) bytes=(\d+) ms=\d+\.\d(?: fault=(.*))?"
    )
    told = [match.groups() for line in lines if (match := shape.fullmatch(line))]
    assert [(path, status, rows, fault) for _, path, status, rows, _, fault in told] == [
        (f"{CONVERSATIONS_PATH}?limit=5&user_id=a,b%20c", "200", str(len(page.json)), None),
        (f"{CONVERSATIONS_PATH}/{sandbox.rows[0].facts()['id']}", "200", "1", None),
        (f"{CONVERSATIONS_PATH}/no-such-id", "404", "-", None),
        (CONVERSATIONS_PATH, "500", "-", "500"),
        (CONVERSATIONS_PATH, "200", "-", "html"),
    ]
    assert [int(size) for *_, size, _ in told[:2]] == [len(page.body), len(one.body)]


def test_no_token_is_in_it() -> None:
    seen = ServedRequest(1, "/v1", {"token": TOKEN, "status": "completed"}, "localhost", f"Bearer {TOKEN}")
    line = line_of(seen, ServedAnswer(None, None, 0, 1.5, "stall"), NOON)
    assert line.split(" ", 2)[2] == "/v1?token=***&status=completed given-up rows=- bytes=0 ms=1500.0 fault=stall"


@pytest.mark.parametrize(("micros", "told"), [(0, "000"), (999, "000"), (7_000, "007"), (999_999, "999")])
def test_its_time_has_milliseconds_also_at_a_whole_second(micros: int, told: str) -> None:
    seen = ServedRequest(1, "/v1", {}, "localhost", None)
    at = parse_timestamp("2026-02-01T12:00:00Z") + micros
    line = line_of(seen, ServedAnswer(200, 0, 2, 0.0, None), at)
    assert line == f"2026-02-01T12:00:00.{told}Z GET /v1 200 rows=0 bytes=2 ms=0.0"


async def test_a_request_that_was_counted_has_a_line_whatever_happens_to_it(get: Any) -> None:
    lines: list[str] = []

    def fail(seen: ServedRequest) -> None:
        raise RuntimeError(f"request {seen.number}")

    async with serve(make_conversations(7, NOON - DAY, NOON)) as sandbox:
        sandbox.on_answer = lambda seen, answer: lines.append(line_of(seen, answer, NOON))
        await get(sandbox)
        sandbox.on_request = fail
        assert (await get(sandbox)).status == 500
    assert [line.split()[3] for line in lines] == ["200", "given-up"]
    assert sandbox.count == len(lines)
