import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.contract import CHANNELS, DAY, DIRECTIONS, MILLISECOND, STATUSES, format_instant, parse_timestamp
from exporter.sandbox import Behaviour, Row, Sandbox, make_conversations, serve
from exporter.sandbox.filters import contains
from tests.toolkit.sizes import size_of

UNTIL = parse_timestamp("2026-03-01")
SINCE = UNTIL - DAY
METADATA: list[dict[str, Any]] = [
    {},
    {"topic": "billing"},
    {"topic": "billing", "consent": True},
    {"crm": {"tier": "gold"}},
    {"tags": ["priority"]},
    {"tags": ["priority", "claim"]},
    {"coupon": None},
    {"attempt": 1},
    {"näme": "José"},
]
TIMES = st.integers(SINCE, UNTIL) | st.integers(SINCE // DAY, UNTIL // DAY).map(lambda day: day * DAY)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "direction": st.sampled_from(DIRECTIONS),
        "channel": st.sampled_from(CHANNELS),
        "status": st.sampled_from(STATUSES),
        "user_id": st.sampled_from(["usr_0", "USR_1", "12", "nobody", ""]),
        "agent_number": st.sampled_from(["+1202", "0101", "x"]),
        "agent_id": st.sampled_from(["agt_005eed01", "AGT_005eed01", "agt"]),
        "agent_version_id": st.sampled_from(["ver_005eed01_456", "ver"]),
        "web_widget_id": st.sampled_from(["wgt_pricing", "wgt"]),
        "duration_above": st.integers(0, 200).map(str),
        "duration_below": st.integers(0, 200).map(str),
        "user_turn_count_above": st.integers(-1, 12).map(str),
        "user_turn_count_below": st.integers(-1, 12).map(str),
        "custom_metadata": st.sampled_from(METADATA).map(json.dumps),
        "created_after": TIMES.map(format_instant),
        "created_before": TIMES.map(format_instant),
        "updated_after": TIMES.map(format_instant),
        "updated_before": TIMES.map(format_instant),
    },
)


def holds(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(name in value and holds(value[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(holds(one, each) for one in value) for each in wanted)
    return json.dumps(value) == json.dumps(wanted)


def is_wanted(row: dict[str, Any], name: str, value: str) -> bool:
    """Applies a filter as source.md words it to a row as it was served; in microseconds, texts sort as times do."""
    if name in ("user_id", "agent_number"):
        return row[name] is not None and value.lower() in row[name].lower()
    if name == "custom_metadata":
        return holds(row[name], json.loads(value))
    if name.startswith(("created_", "updated_")):
        field = name.split("_")[0] + "_at"
        instant, bound = parse_timestamp(row[field]), parse_timestamp(value)
        return instant >= bound if name.endswith("after") else instant <= bound
    if name.endswith(("_above", "_below")):
        number = row[name[:-6]]
        return number is not None and (number >= int(value) if name.endswith("above") else number <= int(value))
    return bool(row[name] == value)


@pytest.fixture(scope="module")
async def office() -> AsyncIterator[Sandbox]:
    async with serve(make_conversations(600, SINCE, UNTIL, seed=3, transcripts=False)) as sandbox:
        yield sandbox


@pytest.mark.anyio
@settings(max_examples=size_of(60, 150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, limit=st.sampled_from([1, 7, 1000]))
async def test_filters_match_a_naive_reading_of_the_reference(
    office: Sandbox, get: Any, query: dict[str, str], limit: int
) -> None:
    every = (await get(office, limit=1000)).json
    expected = [row for row in every if all(is_wanted(row, name, value) for name, value in query.items())]
    assert (await get(office, limit=limit, **query)).json == expected[:limit]


@pytest.mark.anyio
async def test_bounds_are_inclusive_in_stored_microseconds(get: Any) -> None:
    base = parse_timestamp("2026-02-10T05:00:00Z")
    rows = [Row(base + n, base + 10 * n, {"id": str(n), "duration": n}) for n in range(5)]
    async with serve(rows, Behaviour(precision="s")) as sandbox:
        between = {"created_after": format_instant(base + 1), "created_before": format_instant(base + 3)}
        assert (await get(sandbox, **between)).ids == ["3", "2", "1"]
        updated = {"updated_after": format_instant(base + 10), "updated_before": format_instant(base + 30)}
        assert (await get(sandbox, **updated)).ids == ["3", "2", "1"]
        assert (await get(sandbox, duration_above=1, duration_below=3)).ids == ["3", "2", "1"]


@pytest.mark.anyio
async def test_bounds_can_be_compared_with_what_is_served(get: Any) -> None:
    base = parse_timestamp("2026-02-10T05:00:00Z")
    rows = [Row(base + n * 400 * MILLISECOND, fields={"id": str(n)}) for n in range(5)]
    async with serve(rows, Behaviour(precision="s", compares="served")) as sandbox:
        # Served: 0 0 0 1 1 seconds.
        assert (await get(sandbox, created_before=format_instant(base))).ids == ["2", "1", "0"]
        sandbox.behaviour = Behaviour(precision="s", rounding="half-up", compares="served")
        # Served: 0 0 1 1 2 seconds.
        assert (await get(sandbox, created_after=format_instant(base + 1_000_000))).ids == ["4", "3", "2"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "many"),
        ("status", "done"),
        ("direction", "Inbound"),
        ("channel", ""),
        ("duration_above", "1.5"),
        ("user_turn_count_below", ""),
        ("custom_metadata", "order_id"),
        ("custom_metadata", "[]"),
        ("created_after", "yesterday"),
        ("updated_before", "2026-02-30"),
        ("created_before", "2026-02-10T05:00:00 00:00"),
        ("cursor", "2026-02-10"),
        ("cursor", "bm90IGEgdGltZQ=="),
        ("cursor", "AAECAwT/"),
    ],
)
async def test_what_cannot_be_understood_is_422_unless_ignored(
    office: Sandbox, get: Any, name: str, value: str
) -> None:
    refused = await get(office, **{name: value})
    assert refused.status == 422
    assert refused.json["detail"].startswith(name)
    office.behaviour = Behaviour(ignores=(name,))
    try:
        assert (await get(office, **{name: value})).status == 200
    finally:
        office.behaviour = Behaviour()


@pytest.mark.anyio
async def test_unknown_parameters_are_let_pass(office: Sandbox, get: Any) -> None:
    assert (await get(office, colour="blue")).body == (await get(office)).body


@pytest.mark.anyio
async def test_unknown_parameters_are_refused_or_applied_if_so_told(office: Sandbox, get: Any) -> None:
    plain = (await get(office)).json
    trunk = next(row["trunk_id"] for row in plain if row["trunk_id"])
    try:
        office.behaviour = Behaviour(unknown="refused")
        refused = await get(office, colour="blue")
        assert (refused.status, refused.json) == (422, {"detail": "colour: no such parameter"})
        assert (await get(office, direction="inbound", limit=5, fields="id")).status == 200
        office.behaviour = Behaviour(unknown="applied")
        assert (await get(office, colour="blue")).json == []
        found = (await get(office, trunk_id=trunk)).json
        assert found and all(row["trunk_id"] == trunk for row in found)
        assert (await get(office, user_turn_count_above="x")).status == 422
    finally:
        office.behaviour = Behaviour()


@pytest.mark.parametrize(
    ("value", "wanted", "answer"),
    [
        ({"a": 1}, {"a": True}, False),
        ({"a": 1.0}, {"a": 1}, True),
        ({"a": [1, {"b": 2, "c": 3}]}, {"a": [{"b": 2}]}, True),
        ({"a": [1]}, {"a": 1}, False),
        ({"a": None}, {"a": None}, True),
        ({}, {"a": None}, False),
        (None, {}, False),
    ],
)
def test_containment(value: object, wanted: object, answer: bool) -> None:
    assert contains(value, wanted) is answer
