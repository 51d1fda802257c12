import json
from collections import Counter
from itertools import pairwise

import pytest

from exporter.contract import (
    CHANNELS,
    DAY,
    DIRECTIONS,
    FIELD_NAMES,
    HOUR,
    MINUTE,
    SECOND,
    STATUSES,
    Instant,
    parse_timestamp,
)
from exporter.errors import UsageError
from exporter.sandbox import DENSITIES, Behaviour, Density, Row, make_conversations
from exporter.sandbox.render import View, render

UNTIL: Instant = parse_timestamp("2026-03-01")
SINCE: Instant = UNTIL - 28 * DAY
VIEW = View.of(Behaviour())


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(3000, SINCE, UNTIL, seed=7)


@pytest.fixture(scope="module")
def documents(rows: list[Row]) -> list[dict[str, object]]:
    return [json.loads(render(row, VIEW)) for row in rows]


def test_same_seed_same_bytes(rows: list[Row]) -> None:
    again = make_conversations(3000, SINCE, UNTIL, seed=7)
    # They are read in another order, and after the filters have looked: a row's content must not depend on either.
    again[1].facts()
    texts = [render(row, VIEW) for row in reversed(again[:200])]
    assert texts[::-1] == [render(row, VIEW) for row in rows[:200]]
    assert [(row.created_at, row.updated_at) for row in rows] == [(row.created_at, row.updated_at) for row in again]


def test_another_seed_other_rows(rows: list[Row]) -> None:
    other = make_conversations(3000, SINCE, UNTIL, seed=8)
    assert {row.facts()["id"] for row in rows}.isdisjoint(row.facts()["id"] for row in other)


def test_rows_have_every_documented_field_and_unique_ids(documents: list[dict[str, object]]) -> None:
    assert all(set(document) == set(FIELD_NAMES) for document in documents)
    assert len({str(document["id"]) for document in documents}) == len(documents)


def test_every_value_of_every_enum_occurs(documents: list[dict[str, object]]) -> None:
    assert {document["status"] for document in documents} == set(STATUSES)
    assert {document["channel"] for document in documents} == set(CHANNELS)
    assert {document["direction"] for document in documents} == set(DIRECTIONS)
    assert len({str(document["agent_version_id"]) for document in documents}) > 5
    shapes = {type(document["initial_context"]).__name__ for document in documents}
    assert shapes == {"NoneType", "str", "dict"}
    assert Counter(str(document["status"]) for document in documents).most_common(1)[0][0] == "completed"


def test_fields_agree_with_one_another(rows: list[Row], documents: list[dict[str, object]]) -> None:
    for row, document in zip(rows, documents, strict=True):
        assert SINCE <= row.created_at < UNTIL
        assert row.updated_at >= row.created_at
        assert (document["web_widget_id"] is not None) == (document["channel"] == "webrtc")
        assert (document["trunk_id"] is not None) == (document["channel"] == "telephone")
        never_started = document["status"] in ("token_created", "triggered", "ringing", "unanswered")
        assert (document["conversation"] is None) == never_started == (document["user_turn_count"] is None)
        if document["duration"] is not None:
            assert int(str(document["duration"])) * SECOND <= row.updated_at - row.created_at


def test_transcripts_have_the_documented_form(documents: list[dict[str, object]]) -> None:
    kinds: Counter[str] = Counter()
    for document in documents:
        conversation = document["conversation"]
        if conversation is None:
            continue
        assert isinstance(conversation, dict)
        calls = {}
        users = 0
        for item in conversation["items"]:
            kinds[item["type"]] += 1
            if item["type"] == "message":
                assert item["role"] in ("user", "assistant", "system", "developer")
                assert isinstance(item["content"], list | str)
                assert isinstance(item["interrupted"], bool)
                users += item["role"] == "user"
            elif item["type"] == "function_call":
                calls[item["call_id"]] = item["name"]
                assert isinstance(json.loads(item["arguments"]), dict)
            elif item["type"] == "function_call_output":
                assert calls.pop(item["call_id"]) == item["name"]
                assert isinstance(item["output"], str)
                assert isinstance(item["is_error"], bool)
            assert isinstance(item["created_at"], float | int)
        assert not calls
        assert users == document["user_turn_count"]
        times = [item["created_at"] for item in conversation["items"]]
        assert times == sorted(times)
    assert set(kinds) == {"message", "function_call", "function_call_output", "agent_handoff"}


def test_sizes_are_those_of_a_call_centre(rows: list[Row]) -> None:
    sizes = [len(render(row, VIEW)) for row in rows]
    assert 4000 < sum(sizes) / len(sizes) < 7000
    assert max(sizes) < 32_000


def test_without_transcripts() -> None:
    rows = make_conversations(50, SINCE, UNTIL, transcripts=False)
    assert all(row.document("", "")["conversation"] is None for row in rows)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_every_density_keeps_to_count_range_and_order(density: Density, count: int) -> None:
    for since, until in ((SINCE, UNTIL), (SINCE + 5, SINCE + 6), (SINCE, SINCE + 90 * SECOND)):
        rows = make_conversations(count, since, until, density=density)
        assert len(rows) == count
        assert all(since <= row.created_at < until for row in rows)
        assert all(newer.created_at >= older.created_at for newer, older in pairwise(rows))


def _busiest(rows: list[Row], width: Instant) -> float:
    """Returns the greatest share of the rows that a window of a grid holds."""
    return max(Counter((row.created_at - SINCE) // width for row in rows).values()) / len(rows)


def test_densities_differ_as_they_should() -> None:
    made = {name: make_conversations(8000, SINCE, UNTIL, density=name) for name in ("flat", "one-burst", "many-bursts")}
    assert _busiest(made["flat"], DAY) < 0.06
    burst = sum(0.6 <= (row.created_at - SINCE) / (UNTIL - SINCE) <= 0.63 for row in made["one-burst"])
    assert 0.74 < burst / 8000 < 0.78
    assert _busiest(made["many-bursts"], 20 * MINUTE) > 0.02


def test_office_hours() -> None:
    rows = make_conversations(8000, SINCE, UNTIL, density="office")
    by_hour = Counter(row.created_at // HOUR % 24 for row in rows)
    by_weekday = Counter((row.created_at // DAY + 3) % 7 for row in rows)
    assert by_hour[10] > 20 * by_hour[3]
    assert min(by_weekday[day] for day in range(5)) > 4 * by_weekday[5] > 0


def test_bulk_groups_are_exactly_equal() -> None:
    groups = Counter(row.created_at for row in make_conversations(20_000, SINCE, UNTIL, density="bulk"))
    assert max(groups.values()) == 4000
    assert any(size == 2 for size in groups.values())
    assert sum(size for size in groups.values() if size > 1) > 13_000


@pytest.mark.parametrize(
    "arguments",
    [{"count": -1}, {"seed": -1}, {"density": "dense"}, {"until": SINCE}],
    ids=lambda given: next(iter(given)),
)
def test_refuses(arguments: dict[str, object]) -> None:
    defaults: dict[str, object] = {"count": 1, "since": SINCE, "until": UNTIL}
    with pytest.raises(UsageError):
        make_conversations(**{**defaults, **arguments})  # type: ignore[arg-type]
