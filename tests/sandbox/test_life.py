from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR, SECOND, Instant, parse_timestamp
from exporter.errors import UsageError
from exporter.sandbox import Behaviour, Sandbox, make_conversations, serve
from exporter.sandbox.life import Life, parse_rate

pytestmark = pytest.mark.anyio

START = parse_timestamp("2026-02-01T12:00:00Z")


def sandbox_of(rows: int, seed: int = 0, clock: Callable[[], Instant] = lambda: START) -> Sandbox:
    return Sandbox(make_conversations(rows, START - DAY, START, seed=seed), Behaviour(), clock)


def content(sandbox: Sandbox) -> list[Any]:
    return [(row.created_at, row.updated_at, row.content()) for row in sandbox.rows]


def by_id(sandbox: Sandbox) -> dict[Any, Any]:
    return {row.facts()["id"]: row for row in sandbox.rows}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), rows=st.integers(0, 12), steps=st.lists(st.integers(1, 40), max_size=6))
def test_the_same_seed_lives_the_same_life_however_often_somebody_looks(seed: int, rows: int, steps: list[int]) -> None:
    often, once = sandbox_of(rows, seed), sandbox_of(rows, seed)
    lives = [Life(sandbox, events_per_second=5, start=START, seed=seed) for sandbox in (often, once)]
    now = START
    for step in steps:
        now += step * SECOND
        lives[0].advance(now)
    lives[1].advance(now)
    assert content(often) == content(once)
    counts = [(life.created, life.changed, life.deleted) for life in lives]
    assert counts[0] == counts[1]
    assert abs(sum(counts[0]) - 5 * (now - START) // SECOND) <= 1


def test_another_seed_lives_another_life() -> None:
    one, other = sandbox_of(50), sandbox_of(50)
    Life(one, events_per_second=1, start=START, seed=1).advance(START + HOUR)
    Life(other, events_per_second=1, start=START, seed=2).advance(START + HOUR)
    assert content(one) != content(other)


def test_its_counts_are_what_has_happened() -> None:
    sandbox = sandbox_of(300)
    before = by_id(sandbox)
    life = Life(sandbox, events_per_second=1, start=START)
    life.advance(START + 20 * 60 * SECOND)
    after = by_id(sandbox)
    assert life.created > life.changed > life.deleted > 60
    assert len(after) == len(before) + life.created - life.deleted
    assert all(START <= row.created_at <= START + 20 * 60 * SECOND for id_, row in after.items() if id_ not in before)
    changed = [row for row in after.values() if row.updated_at > max(row.created_at, START)]
    assert 0 < len(changed) <= life.changed


def test_conversations_in_progress_grow_and_end() -> None:
    sandbox = sandbox_of(0)
    life = Life(sandbox, events_per_second=1, start=START)
    served: dict[Any, list[dict[str, Any]]] = {}
    for second in range(1200):
        life.advance(START + second * SECOND)
        for id_, row in by_id(sandbox).items():
            fields: dict[str, Any] = row.content()
            if not served.get(id_) or served[id_][-1] != fields:
                served.setdefault(id_, []).append(fields)
    stories = [story for story in served.values() if story[0]["status"] == "in_progress"]
    assert Counter(len(story) for story in stories).keys() >= {1, 2, 3}
    for story in stories:
        for earlier, later in pairwise(story):
            if earlier["status"] != "in_progress":
                continue  # its metadata changes long after it is over
            items, more = earlier["conversation"]["items"], later["conversation"]["items"]
            assert more[: len(items)] == items
            assert earlier["user_turn_count"] == sum(item.get("role") == "user" for item in items)
            assert earlier["duration"] is earlier["summary"] is earlier["recording_details"] is None
    over = [story[-1] for story in stories if story[-1]["status"] != "in_progress"]
    assert len(over) > len(stories) / 2


async def test_a_deleted_conversation_answers_404(get: Any) -> None:
    async with serve(make_conversations(40, START - DAY, START), clock=lambda: START) as sandbox:
        before = by_id(sandbox).keys()
        life = Life(sandbox, events_per_second=1, start=START)
        while not life.deleted:
            life.advance(START + (life.created + life.changed + 2) * SECOND)
        (gone,) = before - by_id(sandbox).keys()
        assert (await get(sandbox, gone)).status == 404


@pytest.mark.parametrize(
    ("text", "rate"), [("5/s", 5), ("0.5/s", 0.5), ("30/min", 0.5), ("1800/h", 0.5), ("43200/d", 0.5)]
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "5", "5/", "/s", "5 per s", "-1/s", "0/s", "1001/s", "nan/s", "٥/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--live .*: must be a rate such as 5/s"):
        parse_rate(text)


def test_an_organization_lives_a_life_of_its_own() -> None:
    made = {name: make_conversations(40, START - DAY, START, organization=name) for name in ("org_2", "org_3")}
    sandbox = Sandbox([], Behaviour(), lambda: START, others=made)
    life = Life(sandbox, events_per_second=1, start=START, organization="org_2")
    life.advance(START + 300 * SECOND)
    rows = sandbox.rows_of("org_2")
    assert len(rows) == 40 + life.created - life.deleted
    assert {row.facts()["organization_id"] for row in rows} == {"org_2"}
    assert sandbox.rows_of("org_3") == made["org_3"]
    assert not sandbox.rows
