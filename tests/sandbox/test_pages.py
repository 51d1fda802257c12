import json
from typing import Any

import pytest

from exporter.contract import format_instant, parse_timestamp
from exporter.sandbox import Behaviour, Row, serve

pytestmark = pytest.mark.anyio

BASE = parse_timestamp("2026-02-10T05:00:00Z")
ROWS = [Row(BASE + n, fields={"id": f"{n}", "status": "token_created" if n < 12 else "failed"}) for n in range(20)]
NEWEST_FIRST = [f"{n}" for n in reversed(range(20))]


async def test_pages_end_early_or_come_empty(get: Any) -> None:
    async with serve(ROWS, Behaviour(short_pages=0.5)) as sandbox:
        pages = [(await get(sandbox)).ids for _ in range(20)]
        assert all(page == NEWEST_FIRST[: len(page)] and page for page in pages)
        assert len({len(page) for page in pages}) > 3
        assert NEWEST_FIRST in pages
        sandbox.behaviour = Behaviour(empty_pages=0.5)
        assert {len((await get(sandbox)).json) for _ in range(20)} == {0, 20}


async def test_elements_that_are_no_rows_lie_beside_all_rows(get: Any) -> None:
    async with serve(ROWS, Behaviour(odd_elements=1.0)) as sandbox:
        pages = [(await get(sandbox)).json for _ in range(40)]
    odd = []
    for page in pages:
        assert [row["id"] for row in page if isinstance(row, dict) and row] == NEWEST_FIRST
        odd += [json.dumps(one) for one in page if not isinstance(one, dict) or not one]
    assert len(odd) == 40
    assert set(odd) == {"null", "17", '"conversation"', "[]", "{}", "true"}


async def test_an_element_that_is_no_row_counts_towards_the_limit(get: Any) -> None:
    async with serve(ROWS, Behaviour(odd_elements=1.0)) as sandbox:
        for _ in range(20):
            page = (await get(sandbox, limit=5)).json
            assert [row["id"] for row in page if isinstance(row, dict) and row] == NEWEST_FIRST[:4]
            assert len(page) == 5
        assert (await get(sandbox, limit=1)).ids == NEWEST_FIRST[:1]


async def test_filters_after_the_limit_make_short_and_empty_pages(get: Any) -> None:
    async with serve(ROWS, Behaviour(filters="after-limit")) as sandbox:
        assert (await get(sandbox, status="failed", limit=10)).ids == NEWEST_FIRST[:8]
        assert (await get(sandbox, status="token_created", limit=8)).ids == []
        before = format_instant(BASE + 3)
        assert (await get(sandbox, status="token_created", limit=8, created_before=before)).ids == ["3", "2", "1", "0"]
        sandbox.behaviour = Behaviour(filters="after-limit", hides_token_created=True)
        assert (await get(sandbox, limit=10)).ids == NEWEST_FIRST[:8]


async def test_no_order_is_another_one_than_by_time_and_always_the_same(get: Any) -> None:
    async with serve(ROWS, Behaviour(order="unordered")) as sandbox:
        page, again, few = [(await get(sandbox, limit=limit)).ids for limit in (20, 20, 5)]
        assert page == again
        assert sorted(page) == sorted(NEWEST_FIRST)
        assert page not in (NEWEST_FIRST, NEWEST_FIRST[::-1])
        assert few == page[:5]
        assert (await get(sandbox, created_after=format_instant(BASE + 18))).ids in (["18", "19"], ["19", "18"])


async def test_switches_change_after_some_requests(get: Any) -> None:
    changing = Behaviour(changes_after=2, changes=("page_cap=3", "precision=s", "order=oldest"))
    async with serve(ROWS, changing) as sandbox:
        pages = [await get(sandbox) for _ in range(3)]
        assert [page.ids for page in pages] == [NEWEST_FIRST, NEWEST_FIRST, ["0", "1", "2"]]
        assert pages[1].json[0]["created_at"] == "2026-02-10T05:00:00.000019Z"
        assert pages[2].json[0]["created_at"] == "2026-02-10T05:00:00Z"
        sandbox.behaviour = Behaviour(rate=0.001, burst=1, changes_after=2, changes=("rate=1000000",))
        assert [(await get(sandbox)).status for _ in range(4)] == [200, 429, 200, 200]
