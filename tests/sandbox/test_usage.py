"""The usage summary of the sandbox counts what is asked for, in each of its ways."""

import json
from typing import Any

import pytest

from exporter.contract import DAY, HOUR, MINUTE, format_instant, parse_timestamp
from exporter.errors import UsageError
from exporter.sandbox import Behaviour, Row, behaviour_from_options
from exporter.sandbox.gate import Refusal
from exporter.sandbox.usage import usage_summary

DAY_1 = parse_timestamp("2026-02-10")


def row(identity: str, created_at: int, **fields: object) -> Row:
    known = {"id": identity, "status": "completed", "channel": "telephone", "direction": "inbound", "duration": 90}
    return Row(created_at, created_at, known | fields)


ROWS = [
    row("a", DAY_1),
    row("b", DAY_1 + HOUR, channel="text", duration=None, direction="outbound"),
    row("c", DAY_1 + DAY - MINUTE, channel="email", duration=30),
    row("d", DAY_1 + DAY, status="token_created", duration=None),
]
DELETED = [row("e", DAY_1 + HOUR)]


def counted(behaviour: Behaviour, start: int = DAY_1, end: int = DAY_1 + DAY, **headers: str) -> Any:
    query = {"from": format_instant(start), "to": format_instant(end)}
    found = usage_summary(ROWS, DELETED, query, headers, behaviour, DAY_1 + DAY + HOUR)
    return found if isinstance(found, Refusal) else json.loads(found)


@pytest.mark.parametrize(
    ("behaviour", "total"),
    [
        (Behaviour(), 3),
        (Behaviour(usage_ends="included"), 4),
        (Behaviour(usage_ends="excluded"), 2),
        (Behaviour(usage_ends="days-included"), 4),
        (Behaviour(usage_ends="days-excluded"), 3),
        (Behaviour(usage_leaves_out=("email", "token_created")), 2),
        (Behaviour(usage_keeps_deleted=True), 4),
        (Behaviour(usage_lag_seconds=2 * 3600), 2),
        (Behaviour(usage_off=-1), 2),
    ],
)
def test_what_counts(behaviour: Behaviour, total: int) -> None:
    found = counted(behaviour)
    assert found["total_calls"] == sum(day["total_calls"] for day in found["daily"]) == total


def test_days_minutes_and_kinds() -> None:
    found = counted(Behaviour(), DAY_1 - DAY, DAY_1 + 2 * DAY)
    assert [(day["date"], day["total_calls"]) for day in found["daily"]] == [
        ("2026-02-09", 0),
        ("2026-02-10", 3),
        ("2026-02-11", 1),
    ]
    kinds = ("voice_calls", "chat_calls", "inbound_calls", "outbound_calls", "voice_minutes", "chat_minutes")
    assert [found[name] for name in kinds] == [2, 2, 3, 1, 1.5, 0.5]
    assert counted(Behaviour(usage_minutes="up"), DAY_1)["voice_minutes"] == 2
    ended = counted(Behaviour(usage_day="ended", usage_zone="Asia/Tokyo", usage_daily="sparse"), DAY_1, DAY_1 + 2 * DAY)
    assert [(day["date"], day["total_calls"]) for day in ended["daily"]] == [("2026-02-10", 2), ("2026-02-11", 2)]


@pytest.mark.parametrize(
    ("behaviour", "end", "headers", "status"),
    [
        (Behaviour(usage="forbidden"), DAY_1 + DAY, {}, 403),
        (Behaviour(), DAY_1 + DAY, {"Authorization": "Bearer ak_sandbox_nosensitive"}, 403),
        (Behaviour(usage="absent"), DAY_1 + DAY, {}, 404),
        (Behaviour(), DAY_1 + 367 * DAY, {}, 422),
        (Behaviour(), DAY_1 - 1, {}, 422),
    ],
)
def test_refusals(behaviour: Behaviour, end: int, headers: dict[str, str], status: int) -> None:
    assert counted(behaviour, DAY_1, end, **headers).status == status


def test_a_zone_must_be_known() -> None:
    assert behaviour_from_options(["usage_leaves_out=email,text"]).usage_leaves_out == ("email", "text")
    with pytest.raises(UsageError, match="no time zone 'Mars/Olympus'"):
        behaviour_from_options(["usage_zone=Mars/Olympus"])
