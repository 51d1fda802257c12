import random
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR, SECOND, encode_cursor, format_instant, parse_timestamp
from exporter.sandbox import Behaviour, Row, make_conversations, serve
from exporter.sandbox.filters import parse_query
from exporter.sandbox.listing import Listing

BASE = parse_timestamp("2026-02-10T05:00:00Z")


def numbered(ages: list[int]) -> list[Row]:
    """Makes rows at BASE plus these microseconds; their ids are their positions."""
    return [Row(BASE + age, fields={"id": f"{n}", "status": "completed"}) for n, age in enumerate(ages)]


EIGHT = numbered([7, 6, 5, 5, 5, 2, 1, 0])


@pytest.mark.anyio
@pytest.mark.parametrize(("cursor", "expected"), [("strict", ["5", "6"]), ("inclusive", ["2", "3"])])
async def test_cursor(get: Any, cursor: Any, expected: list[str]) -> None:
    async with serve(EIGHT, Behaviour(cursor=cursor)) as sandbox:
        assert (await get(sandbox, cursor=encode_cursor(BASE + 5), limit=2)).ids == expected


@pytest.mark.anyio
async def test_cursor_and_bounds_work_together_and_an_empty_page_is_empty(get: Any) -> None:
    async with serve(EIGHT) as sandbox:
        bounds = {"created_after": format_instant(BASE + 1), "created_before": format_instant(BASE + 5)}
        assert (await get(sandbox, **bounds)).ids == ["2", "3", "4", "5", "6"]
        assert (await get(sandbox, cursor=encode_cursor(BASE + 2), **bounds)).ids == ["6"]
        nothing = await get(sandbox, cursor=encode_cursor(BASE))
        assert (nothing.status, nothing.body) == (200, b"[]")
        inverted = {"created_after": format_instant(BASE + 5), "created_before": format_instant(BASE)}
        assert (await get(sandbox, **inverted)).json == []


@pytest.mark.anyio
async def test_limits_and_silent_caps(get: Any) -> None:
    rows = make_conversations(1200, BASE, BASE + DAY, transcripts=False)
    async with serve(rows, Behaviour(default_limit=20)) as sandbox:
        assert len((await get(sandbox)).json) == 20
        assert len((await get(sandbox, limit=1000)).json) == 1000
        sandbox.behaviour = Behaviour(page_cap=100)
        assert len((await get(sandbox, limit=1000)).json) == 100
        assert len((await get(sandbox, limit=99)).json) == 99
        sandbox.behaviour = Behaviour(page_bytes=10_000)
        page = await get(sandbox, limit=1000)
        assert 1 < len(page.json) < 30
        assert len(page.body) < 10_000 + len(page.json) + 2
        sandbox.behaviour = Behaviour(page_bytes=1)
        assert len((await get(sandbox, limit=1000)).json) == 1


@pytest.mark.anyio
async def test_order_of_equals(get: Any) -> None:
    async with serve(EIGHT) as sandbox:
        fixed = [(await get(sandbox, limit=4)).ids for _ in range(4)]
        assert fixed == [["0", "1", "2", "3"]] * 4
        sandbox.behaviour = Behaviour(equals="shuffled")
        shuffled = [(await get(sandbox, limit=4)).ids for _ in range(12)]
        assert all(page[:2] == ["0", "1"] and len({*page, "2", "3", "4"}) == 5 for page in shuffled)
        assert len({tuple(page) for page in shuffled}) > 2
        sandbox.behaviour = Behaviour(equals="shuffled")
        assert [(await get(sandbox, limit=4)).ids for _ in range(12)] == shuffled
        assert {*(await get(sandbox, limit=8)).ids} == set("01234567")


@pytest.mark.anyio
async def test_order_of_rows(get: Any) -> None:
    async with serve(EIGHT, Behaviour(order="oldest")) as sandbox:
        assert (await get(sandbox, limit=3)).ids == ["7", "6", "5"]
        sandbox.behaviour = Behaviour(order="shuffled")
        pages = [(await get(sandbox, limit=5)).ids for _ in range(5)]
        assert all(set(page) == set("01234") for page in pages)
        assert len({tuple(page) for page in pages}) > 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cursor", encode_cursor(BASE + 2)),
        ("created_before", format_instant(BASE + 2)),
        ("created_after", format_instant(BASE + 2)),
        ("limit", "2"),
        ("fields", "id"),
        ("status", "failed"),
    ],
)
async def test_ignored_parameters(get: Any, name: str, value: str) -> None:
    async with serve(EIGHT) as sandbox:
        everything = (await get(sandbox)).body
        assert (await get(sandbox, **{name: value})).body != everything
        sandbox.behaviour = Behaviour(ignores=(name,))
        assert (await get(sandbox, **{name: value})).body == everything


@pytest.mark.anyio
async def test_rows_become_visible_late(get: Any) -> None:
    now = BASE + 4
    rows = [*numbered([4, 3, 2]), Row(BASE, fields={"id": "imported"}, visible_from=BASE + 4 * SECOND)]
    async with serve(rows, Behaviour(visible_delay=2), clock=lambda: now) as sandbox:
        assert (await get(sandbox)).ids == []
        now = BASE + 2 * SECOND + 3
        assert (await get(sandbox)).ids == ["1", "2"]
        assert (await get(sandbox, "0")).status == 404
        assert (await get(sandbox, "1")).status == 200
        now = BASE + 4 * SECOND
        assert (await get(sandbox)).ids == ["0", "1", "2", "imported"]


@pytest.mark.anyio
async def test_token_created_may_be_left_out_without_a_status_filter(get: Any) -> None:
    rows = [Row(BASE + n, fields={"id": f"{n}", "status": "token_created" if n % 2 else "failed"}) for n in range(4)]
    async with serve(rows) as sandbox:
        assert (await get(sandbox)).ids == ["3", "2", "1", "0"]
        sandbox.behaviour = Behaviour(hides_token_created=True)
        assert (await get(sandbox)).ids == ["2", "0"]
        assert (await get(sandbox, status="token_created")).ids == ["3", "1"]


@pytest.mark.anyio
async def test_rows_come_change_and_go_while_it_runs(get: Any) -> None:
    async with serve(EIGHT) as sandbox:
        assert (await get(sandbox, "4")).status == 200
        sandbox.insert(Row(BASE + 5, fields={"id": "late"}))
        assert (await get(sandbox, "late")).json["id"] == "late"
        sandbox.delete("4")
        sandbox.update("3", BASE + 9 * SECOND, status="failed")
        assert set((await get(sandbox)).ids) == {"0", "1", "2", "3", "5", "6", "7", "late"}
        assert (await get(sandbox, "4")).status == 404
        changed = (await get(sandbox, "3")).json
        assert changed == {
            "created_at": "2026-02-10T05:00:00.000005Z",
            "updated_at": "2026-02-10T05:00:09.000000Z",
            "id": "3",
            "status": "failed",
        }
        assert (await get(sandbox, status="failed")).json == [changed]
        assert len(sandbox.rows) == 8
        with pytest.raises(KeyError):
            sandbox.delete("4")


@pytest.mark.anyio
async def test_a_row_that_moves_is_listed_where_it_is(get: Any) -> None:
    async with serve(EIGHT) as sandbox:
        sandbox.move("4", BASE + 9, BASE + 9 * SECOND)
        assert (await get(sandbox)).ids == ["4", "0", "1", "2", "3", "5", "6", "7"]
        moved = (await get(sandbox, "4")).json
        assert (moved["created_at"], moved["updated_at"], moved["status"]) == (
            "2026-02-10T05:00:00.000009Z",
            "2026-02-10T05:00:09.000000Z",
            "completed",
        )


@pytest.mark.anyio
async def test_a_row_is_stored_finer_than_it_is_served(get: Any) -> None:
    rows = [Row(BASE, fields={"id": f"{tenths}"}, tenths=tenths) for tenths in (9, 0, 5)]
    async with serve(rows) as sandbox:
        assert (await get(sandbox)).ids == ["9", "5", "0"]
        assert {row["created_at"] for row in (await get(sandbox)).json} == {"2026-02-10T05:00:00.000000Z"}
        assert (await get(sandbox, created_before=format_instant(BASE))).ids == ["0"]
        assert (await get(sandbox, created_before=format_instant(BASE + 1))).ids == ["9", "5", "0"]
        assert (await get(sandbox, cursor=encode_cursor(BASE))).ids == []


@pytest.mark.anyio
async def test_a_made_up_row_keeps_what_an_update_does_not_name(get: Any) -> None:
    rows = make_conversations(5, BASE, BASE + DAY)
    async with serve(rows) as sandbox:
        before = (await get(sandbox)).json[2]
        sandbox.update(before["id"], BASE + 2 * DAY, status="failed")
        after = (await get(sandbox, before["id"])).json
        assert after == {**before, "status": "failed", "updated_at": "2026-02-12T05:00:00.000000Z"}


def texts(reading: dict[str, int]) -> tuple[str, ...]:
    """Writes a shift by hours for each of some parameters."""
    return tuple(f"{name}:{hours:+d}h" for name, hours in reading.items())


@given(
    ages=st.lists(st.integers(0, 2 * DAY), max_size=30),
    tenths=st.lists(st.integers(0, 9), min_size=30, max_size=30),
    asked=st.dictionaries(st.sampled_from(["created_after", "created_before", "cursor"]), st.integers(0, 2 * DAY)),
    shifts=st.dictionaries(st.sampled_from(["created_after", "created_before", "cursor"]), st.integers(-30, 30)),
    excludes=st.sets(st.sampled_from(["created_after", "created_before"])),
    compares=st.sampled_from(["stored", "served", "day"]),
    strict=st.booleans(),
)
def test_bounds_mean_what_the_switches_say(
    ages: list[int],
    tenths: list[int],
    asked: dict[str, int],
    shifts: dict[str, int],
    excludes: set[str],
    compares: Literal["stored", "served", "day"],
    strict: bool,
) -> None:
    # Some bounds hit a row.
    asked = {name: age if age % 2 or not ages else ages[age % len(ages)] for name, age in asked.items()}
    behaviour = Behaviour(
        cursor="strict" if strict else "inclusive",
        precision="s",
        compares=compares,
        reads=texts(shifts),
        excludes=tuple(excludes),
    )
    rows = [Row(BASE + age, fields={"id": str(n)}, tenths=tenths[n]) for n, age in enumerate(ages)]
    parameters = {
        name: encode_cursor(BASE + age) if name == "cursor" else format_instant(BASE + age)
        for name, age in asked.items()
    }
    query = parse_query({"limit": "1000", **parameters}, behaviour)
    page = Listing(rows).page(query, behaviour, BASE, random.Random(0))

    def matches(row: Row) -> bool:
        unit = {"stored": 1, "served": SECOND, "day": DAY}[compares]
        at = row.created_at // unit * unit * 10 + (row.tenths if compares == "stored" else 0)
        bound = {name: (BASE + age + shifts.get(name, 0) * HOUR) * 10 for name, age in asked.items()}
        return (
            ("created_after" not in bound or at >= bound["created_after"] + ("created_after" in excludes))
            and ("created_before" not in bound or at <= bound["created_before"] - ("created_before" in excludes))
            and ("cursor" not in bound or at <= bound["cursor"] - strict)
        )

    assert {row.facts()["id"] for row in page} == {row.facts()["id"] for row in rows if matches(row)}
    assert [(row.created_at, row.tenths) for row in page] == sorted(
        ((row.created_at, row.tenths) for row in page), reverse=True
    )


@given(
    ages=st.lists(st.integers(0, 12), max_size=30),
    limit=st.integers(1, 8),
    cursor=st.none() | st.integers(-1, 13),
    after=st.none() | st.integers(-1, 13),
    before=st.none() | st.integers(-1, 13),
    strict=st.booleans(),
    shuffled=st.booleans(),
    oldest=st.booleans(),
    hidden=st.booleans(),
)
def test_a_page_is_what_a_sort_and_a_filter_give(
    ages: list[int],
    limit: int,
    cursor: int | None,
    after: int | None,
    before: int | None,
    strict: bool,
    shuffled: bool,
    oldest: bool,
    hidden: bool,
) -> None:
    behaviour = Behaviour(
        cursor="strict" if strict else "inclusive",
        equals="shuffled" if shuffled else "fixed",
        order="oldest" if oldest else "newest",
        visible_delay=5e-6 if hidden else 0,
    )
    parameters = {"limit": str(limit)}
    if cursor is not None:
        parameters["cursor"] = encode_cursor(BASE + cursor)
    if after is not None:
        parameters["created_after"] = format_instant(BASE + after)
    if before is not None:
        parameters["created_before"] = format_instant(BASE + before)
    page = Listing(numbered(ages)).page(parse_query(parameters, behaviour), behaviour, BASE + 12, random.Random(0))

    kept = [
        (age, n)
        for n, age in enumerate(ages)
        if (after is None or age >= after)
        and (before is None or age <= before)
        and (cursor is None or age < cursor or (age == cursor and not strict))
        and (not hidden or age <= 7)
    ]
    expected = sorted(kept, key=lambda pair: (pair[0], -pair[1]), reverse=not oldest)[:limit]
    assert [row.created_at - BASE for row in page] == [age for age, _ in expected]
    assert len({row.facts()["id"] for row in page}) == len(page)
    if not shuffled:
        assert [row.facts()["id"] for row in page] == [str(n) for _, n in expected]
