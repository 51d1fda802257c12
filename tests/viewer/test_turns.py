"""Turns have the times of the items that they are made of, and calls their results, whatever the items hold."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.viewer.clock import Clock
from exporter.viewer.transcript import decode_items
from exporter.viewer.turns import Items, pair_calls

AT = 1_770_000_000.0
CLOCK = Clock(AT, "conversation")


def turns_of(items: object, clock: Clock | None = CLOCK) -> list[dict[str, Any]]:
    made = Items(decode_items(json.dumps({"items": items})), AT)
    return made.page(0, 1000, clock)


def said(text: str, at: float, role: str = "user", **more: object) -> dict[str, object]:
    return {"type": "message", "role": role, "content": [text], "created_at": at, **more}


def call(call_id: str, at: float, **more: object) -> dict[str, object]:
    return {"type": "function_call", "call_id": call_id, "name": "find", "arguments": "{}", "created_at": at, **more}


def output(call_id: str, at: float, text: str = "found", is_error: bool = False) -> dict[str, object]:
    known = {"call_id": call_id, "name": "find", "output": text, "is_error": is_error, "created_at": at}
    return {"type": "function_call_output", **known}


def test_a_turn_begins_when_it_was_spoken_or_else_when_its_item_was_made() -> None:
    metrics = {"started_speaking_at": AT + 2.5, "stopped_speaking_at": AT + 4, "e2e_latency": 0.7, "tts_node_ttfb": 0.1}
    spoken, made = turns_of([said("a", AT + 2, metrics=metrics, transcript_confidence=0.5), said("b", AT + 9)])
    assert (spoken["start_seconds"], spoken["end_seconds"]) == (2.5, 4.0)
    assert (spoken["at"], spoken["confidence"]) == ("2026-02-02T02:40:02.500Z", 0.5)
    assert spoken["latency"] == {"e2e_latency": 0.7, "tts_node_ttfb": 0.1}
    assert (made["start_seconds"], made["end_seconds"], made["latency"]) == (9.0, None, {})
    known = Clock(AT, "recording")
    assert [
        turn["is_start_estimated"] for turn in turns_of([said("a", AT, metrics=metrics), said("b", AT)], known)
    ] == [
        False,
        True,
    ]


def test_a_time_that_nobody_told_is_unknown() -> None:
    odd = {"started_speaking_at": 12.5, "stopped_speaking_at": 1e300}
    turn, far = turns_of([{"type": "message", "content": "a"}, said("b", AT + 1, metrics=odd)])
    assert (turn["at"], turn["start_seconds"], turn["end_seconds"], turn["is_start_estimated"]) == (
        None,
        None,
        None,
        False,
    )
    assert (far["start_seconds"], far["end_seconds"]) == (1.0, None)


def test_a_result_is_part_of_its_call_wherever_it_stands() -> None:
    items = [call("a", AT), said("wait", AT + 1), output("a", AT + 2.5, "no", True), output("b", AT)]
    made = Items(decode_items(json.dumps({"items": items})), AT)
    [first] = made.page(0, 1, CLOCK)
    assert first["tool_calls"] == [
        {"name": "find", "arguments": "{}", "result": "no", "error": True, "seconds": 2.5, "call_id": "a"}
    ]
    # The page of the result alone is empty, and a result without a call stands for itself.
    assert [turn["index"] for turn in made.page(1, 2, CLOCK)] == [1]
    [alone] = made.page(3, 1, CLOCK)
    assert (alone["type"], alone["tool_calls"][0]["result"], alone["tool_calls"][0]["seconds"]) == (
        "function_call_output",
        "found",
        None,
    )
    assert made.total == 4


@given(st.lists(st.tuples(st.sampled_from(["function_call", "function_call_output", "odd"]), st.sampled_from("ab"))))
def test_each_result_has_one_call_before_it(kinds: Sequence[tuple[str, str]]) -> None:
    called = [(index, kind, call_id) for index, (kind, call_id) in enumerate(kinds)]
    pairs = pair_calls(called)
    assert len(set(pairs.values())) == len(pairs)
    for before, after in pairs.items():
        assert before < after
        assert kinds[before] == ("function_call", kinds[after][1])
        assert kinds[after][0] == "function_call_output"
    for call_id in "ab":
        left = [kind for index, kind, of in called if of == call_id and index not in {*pairs, *pairs.values()}]
        # No call that is left comes before a result that is left.
        assert left == sorted(left, key=lambda kind: kind == "function_call") or "odd" in left


def test_what_has_no_column_is_shown_as_it_was_served() -> None:
    [handoff, picture] = turns_of(
        [{"type": "agent_handoff", "to": "9007199254740993.0"}, said("a", AT, content=["a", {"image": "\ud800"}])]
    )
    assert json.loads(handoff["raw"]) == {"extra": {"to": "9007199254740993.0"}}
    assert json.loads(picture["raw"]) == {"content": ["a", {"image": "\ud800"}]}
    assert picture["text"] == "a"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(
    ["id", "type", "role", "content", "created_at", "metrics", "call_id", "name", "arguments", "output", "is_error"]
)
items = st.lists(st.dictionaries(members, json_values | st.just("function_call"), max_size=6) | json_values, max_size=4)


@given(items)
def test_every_item_is_shown_or_folded_whatever_it_holds(found: list[Any]) -> None:
    made = Items(decode_items(json.dumps({"items": found})), AT)
    shown = {turn["index"] for turn in made.page(0, 1000, CLOCK)}
    assert shown <= set(range(len(found)))
    assert made.total == len(found)
    for index in range(len(found)):
        assert {turn["index"] for turn in made.page(index, 1, CLOCK)} == shown & {index}


def test_a_place_in_the_recording_is_found_among_items_without_times() -> None:
    items = [said(str(n), AT + 10 * n) if n % 2 else {"type": "odd"} for n in range(100)]
    made = Items(decode_items(json.dumps({"items": items})), AT)
    assert [made.index_at(AT + seconds) for seconds in (-5, 0, 10, 39.9, 1e6)] == [0, 0, 1, 3, 99]
    assert (made.first, made.last) == (AT + 10, AT + 990)
    late = said("late", AT + 1, metrics={"started_speaking_at": AT + 5, "stopped_speaking_at": AT + 7})
    spoken = Items(decode_items(json.dumps({"items": [said("soon", AT), late]})), AT)
    assert [spoken.index_at(AT + seconds) for seconds in (3, 5)] == [0, 1]
    assert (spoken.first, spoken.last) == (AT, AT + 7)
    empty = Items(decode_items(None), AT)
    assert (empty.total, empty.index_at(AT), empty.page(0, 5, CLOCK)) == (0, 0, [])


def test_a_very_long_text_is_cut_and_that_is_said() -> None:
    [long, call_] = turns_of([said("a" * 100_001, AT), call("a", AT, arguments="b" * 100_001)])
    assert (len(long["text"]), long["shortened"], call_["shortened"]) == (100_000, True, True)
