"""One conversation is shown with all that the export holds of it, from whichever table, whatever it is called."""

import asyncio
import json
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest

from exporter.contract import HOUR, SECOND, Kind
from exporter.encode.schema import TYPES, turns_schema
from exporter.encode.turns import TurnsEncoder
from exporter.privacy import Policy, Rule
from exporter.viewer import transcript
from exporter.viewer.transcript import decode_items
from tests.viewer.viewed import SINCE, TABLES, conversation, make, many, said, viewing

pytestmark = pytest.mark.anyio

IDS = ("a/b", "..", ".", "%2e%2e", "a b+c?d#e&f=g", "../../_manifest.json", "\u202eabc", "o'brien\"", "\\", "ü\u0000x")
START = (SINCE + HOUR) / SECOND
SPOKEN = {"started_speaking_at": START + 3, "stopped_speaking_at": START + 5.25, "e2e_latency": 0.75}
ITEMS = [
    said("system", "Be kind.", START),
    said("assistant", "Hello.", START + 3, metrics=SPOKEN),
    {
        "type": "function_call",
        "call_id": "x",
        "name": "find",
        "arguments": '{"n": 12345678901234567890}',
        "created_at": START + 6,
    },
    said("user", "שלום <b>bold</b>", START + 7, interrupted=True, transcript_confidence=0.25),
    {
        "type": "function_call_output",
        "call_id": "x",
        "name": "find",
        "output": "no",
        "is_error": True,
        "created_at": START + 8,
    },
]
ROWS = [
    *(conversation(identity, SINCE + n, f"I am {identity}.") for n, identity in enumerate(IDS)),
    conversation(
        "whole",
        SINCE + HOUR,
        conversation={"items": ITEMS},
        custom_metadata={"order": 12345678901234567890},
        summary="s" * 100_001,
        user_turn_count=2**60,
        agent_number="+4915112345678",
    ),
    conversation("silent", SINCE + 2 * HOUR, conversation=None),
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("shown")
    masked = Policy(rules={"user_id": Rule(action="drop"), "agent_number": Rule(action="mask")}, quarantine="keep")

    async def make_all() -> None:
        await make(place / "turns", ROWS, tables=TABLES, policy=masked)
        await make(place / "transcript", ROWS)
        await make(place / "none", many(2), fields=("id", "created_at", "updated_at", "status"))

    anyio.run(make_all)
    return {name: place / name for name in ("turns", "transcript", "none")}


@pytest.fixture(params=["turns", "transcript"])
def root(request: pytest.FixtureRequest, roots: dict[str, Path]) -> Path:
    return roots[request.param]


async def test_a_conversation_is_found_by_its_id_whatever_that_is(root: Path) -> None:
    async with viewing(root) as viewer:
        for identity in IDS:
            found = await viewer.get("conversation", id=identity)
            assert (found.status, found.json["row"]["id"]) == (200, identity), identity
            turns = (await viewer.get("turns", id=identity)).json["turns"]
            assert [turn["text"] for turn in turns] == [f"I am {identity}."]
        for what in ("conversation", "turns", "recording"):
            answer = await viewer.get(what, id="' OR ''='")
            assert (answer.status, answer.json["error"]) == (404, "there is no conversation with this id in the export")


async def test_all_columns_are_shown_but_the_transcript(root: Path) -> None:
    async with viewing(root) as viewer:
        answer = (await viewer.get("conversation", id="whole")).json
        row = answer["row"]
        assert (row["created_at"], row["duration"], row["agent"]) == (
            "2026-02-09T01:00:00Z",
            60,
            {"id": "agt_a", "name": "Ann"},
        )
        assert json.loads(row["custom_metadata"]) == {"order": 12345678901234567890}
        # A browser would round it, and a text of this length would fill it.
        assert (row["user_turn_count"], len(row["summary"])) == (str(2**60), 100_000)
        assert answer["shortened"] == {"summary": 100_001}
        assert "conversation" not in row
        assert answer["recording"] is None


async def test_turns_are_the_same_from_either_table(root: Path) -> None:
    async with viewing(root) as viewer:
        found = (await viewer.get("turns", id="whole")).json
        assert found["from_source"] == root.name
        assert [turn["index"] for turn in found["turns"]] == [0, 1, 2, 3]
        _, hello, call, hebrew = found["turns"]
        assert (hello["start_seconds"], hello["end_seconds"], hello["latency"]) == (3.0, 5.25, {"e2e_latency": 0.75})
        assert (call["tool_calls"][0]["arguments"], call["tool_calls"][0]["seconds"]) == (
            '{"n": 12345678901234567890}',
            2.0,
        )
        assert (hebrew["text"], hebrew["interrupted"], hebrew["confidence"]) == ("שלום <b>bold</b>", True, 0.25)
        assert (found["total"], found["next"]) == (5, None)
        assert (found["clock"]["basis"], found["clock"]["starts_at"]) == ("conversation", "2026-02-09T01:00:00Z")
        page = (await viewer.get("turns", id="whole", limit=2)).json
        assert ([turn["index"] for turn in page["turns"]], page["next"]) == ([0, 1], 2)
        there = (await viewer.get("turns", id="whole", at=7.5, limit=2)).json
        assert (there["from"], [turn["index"] for turn in there["turns"]], there["next"]) == (2, [2, 3], 4)
        far = (await viewer.get("turns", id="whole", from_=10**12 - 1)).json
        assert (far["turns"], far["total"], far["next"]) == ([], 5, None)
        silent = (await viewer.get("turns", id="silent")).json
        assert (silent["turns"], silent["total"]) == ([], 0)


async def test_an_export_without_transcripts_says_so(roots: dict[str, Path]) -> None:
    async with viewing(roots["none"]) as viewer:
        answer = (await viewer.get("turns", id="c1")).json
        assert (answer["turns"], answer["clock"], answer["from_source"]) == ([], None, None)
        assert answer["note"].startswith("The export holds neither turns nor transcripts")
        about = (await viewer.get("about")).json
        assert (about["has_turns"], about["can_search_text"], about["has_recordings"]) == (False, False, False)


async def test_what_a_policy_has_done_is_said(roots: dict[str, Path]) -> None:
    async with viewing(roots["turns"]) as viewer:
        about = (await viewer.get("about")).json
        assert {one["field"]: one["action"] for one in about["policy"]["fields"]} == {
            "user_id": "drop",
            "agent_number": "mask:4",
        }
        assert (about["rows"], about["encrypted"]) == (len(ROWS), False)
        row = (await viewer.get("conversation", id="whole")).json["row"]
        assert ("user_id" in row, row["agent_number"]) == (False, "+*********5678")
        assert b"User_whole" not in (await viewer.get("conversations")).body
    async with viewing(roots["transcript"]) as viewer:
        assert (await viewer.get("about")).json["policy"] is None


async def test_very_many_turns_are_read_once_and_shown_page_by_page(
    roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    many_turns = json.dumps({"items": [said("user", f"Turn {n}", START + n) for n in range(20_000)]})
    readings = []

    def decode(text: str | None) -> pa.Table:
        readings.append(text)
        return decode_items(many_turns)

    monkeypatch.setattr(transcript, "decode_items", decode)
    async with viewing(roots["transcript"]) as viewer:
        start: int | None = 0
        shown = 0
        while start is not None and start < 3000:
            two = [viewer.get("turns", id="whole", from_=start, limit=1000) for _ in range(2)]
            page, same = [answer.json for answer in await asyncio.gather(*two)]
            assert page == same
            shown, start = shown + len(page["turns"]), page["next"]
        assert (shown, page["total"]) == (3000, 20_000)
        [last] = (await viewer.get("turns", id="whole", from_=19_999)).json["turns"]
        assert (last["text"], last["start_seconds"]) == ("Turn 19999", 19_999.0)
        assert len(readings) == 1


def test_items_are_decoded_as_a_run_decodes_them() -> None:
    text = json.dumps({"items": [*ITEMS, 1, "x", {"type": "odd", "content": [1]}]})
    encoder = TurnsEncoder()
    batch = pa.RecordBatch.from_arrays(
        [pa.array(["c"]), pa.array([0], TYPES[Kind.TIMESTAMP]), pa.array([text])], ["id", "created_at", "conversation"]
    )
    made: dict[str, Any] = pa.Table.from_batches(encoder.encode(batch)).to_pydict()
    assert decode_items(text).to_pydict() == {
        name: made[name] for name in turns_schema().names if not name.startswith("conversation_")
    }
