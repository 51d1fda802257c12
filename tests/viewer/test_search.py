"""A search finds what the rows hold, page by page, once each, whether or not the export has a table of turns."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from exporter.contract import DAY, HOUR, MINUTE, format_instant
from exporter.sandbox import Row
from exporter.viewer import search
from exporter.viewer.export import Export, SlowQuestionError
from exporter.viewer.search import next_rows
from exporter.viewer.snippet import snippet_of
from tests.viewer.viewed import SINCE, TABLES, UNTIL, Viewer, as_text, conversation, make, many, said, viewing

pytestmark = pytest.mark.anyio

MARKUP = '<script>alert(1)</script> & "quoted" \\ / 100% _any_ it\'s'
ROWS: list[Row] = [
    *many(30),
    *(conversation(f"tie{n}", SINCE + DAY, "At the same time.") for n in range(7)),
    # A window may end between any two of these.
    *(conversation(f"close{n}", SINCE + DAY + n, "A microsecond later.") for n in range(1, 7)),
    conversation("odd", SINCE + HOUR, MARKUP, "ŞIRKET STRASSE Привет", channel="email", status="failed"),
    conversation(
        "other",
        SINCE + 2 * HOUR,
        "nothing",
        agent_id="agt_b",
        agent={"id": "agt_b", "name": "Bob"},
        agent_version_id="ver_2",
        duration=61,
    ),
    conversation("a/b", SINCE + 3 * HOUR, "slash"),
    conversation("..", SINCE + 4 * HOUR, "dots"),
    conversation("%2e\u202e?#&", SINCE + 5 * HOUR, "signs"),
    as_text(
        conversation(
            "tools",
            SINCE + 6 * HOUR,
            conversation={
                "items": [
                    {"type": "function_call", "call_id": "x", "name": "find", "arguments": '{"order": "Z-981"}'},
                    {"type": "function_call_output", "call_id": "x", "name": "find", "output": "left the Warehouse"},
                    said("user", "escaped: \ud800 lone", 0.0),
                ]
            },
        )
    ),
    conversation(
        "slow",
        SINCE + 8 * HOUR,
        conversation={
            "items": [said("assistant", str(n), 0.0, metrics={"e2e_latency": n}) for n in (0.5, 1.0, 2.5, 1.5)]
        },
    ),
    conversation("silent", SINCE + 7 * HOUR, conversation=None, user_id=None, agent=None, agent_id=None),
]
NEWEST_FIRST = [row.fields["id"] for row in sorted(ROWS, key=lambda row: (row.created_at, str(row.fields["id"])))][::-1]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("searched")
    asked: dict[str, dict[str, Any]] = {
        "turns": {"tables": TABLES},
        "transcript": {"partition_by": "hour", "timezone": "Europe/Berlin"},
    }

    async def make_all() -> None:
        for name, more in asked.items():
            await make(place / name, ROWS, **more)

    anyio.run(make_all)
    return {name: place / name for name in asked}


@pytest.fixture(params=["turns", "transcript"])
def root(request: pytest.FixtureRequest, roots: dict[str, Path]) -> Path:
    return roots[request.param]


async def walk(viewer: Viewer, **asked: object) -> list[str]:
    found: list[str] = []
    answer = (await viewer.get("conversations", **asked)).json
    while True:
        found += [row["id"] for row in answer["rows"]]
        if answer["cursor"] is None:
            assert answer["is_complete"]
            return found
        answer = (await viewer.get("conversations", cursor=answer["cursor"], **asked)).json


async def test_pages_hold_every_row_once_from_new_to_old(root: Path) -> None:
    async with viewing(root) as viewer:
        for limit in (5, 7, 200):
            assert await walk(viewer, limit=limit) == NEWEST_FIRST


async def test_small_windows_lead_to_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_FIRST_ROWS", 2)
    monkeypatch.setattr(search, "_GROWTH", 1)
    async with viewing(root) as viewer:
        assert await walk(viewer, limit=5) == NEWEST_FIRST
        assert await walk(viewer, limit=5, text="same time") == [f"tie{n}" for n in reversed(range(7))]


FOUND: list[tuple[dict[str, object], list[str]]] = [
    ({"channel": "email"}, ["odd"]),
    ({"status": "failed"}, ["odd"]),
    ({"agent_id": "agt_b"}, ["other"]),
    ({"agent_version_id": "ver_2"}, ["other"]),
    ({"duration_above": 61}, ["other"]),
    ({"user": "USER_TIE3"}, ["tie3"]),
    ({"user": "_any_"}, []),
    ({"since": "2026-02-09T00:30Z", "until": "2026-02-09T02:00Z"}, ["odd"]),
    ({"since": "2026-02-09T02:00Z", "until": "2026-02-09T02:00:00.000001Z"}, ["other"]),
    ({"text": "at the SAME time", "limit": 1}, ["tie6"]),
    ({"text": "<script>alert(1)"}, ["odd"]),
    ({"text": '& "quoted" \\ /'}, ["odd"]),
    ({"text": "100% _any_ it's"}, ["odd"]),
    ({"text": "100_"}, []),
    ({"text": "привет"}, ["odd"]),
    ({"text": "\\"}, ["odd"]),
    ({"text": "z-981"}, ["tools"]),
    ({"text": "the warehouse"}, ["tools"]),
    ({"text": "created_at"}, []),
    ({"text": "function_call"}, []),
    ({"text": "slash", "channel": "email"}, []),
    ({"channel": "' OR 1=1 --"}, []),
    ({"user": "%"}, ["%2e\u202e?#&"]),
]


async def test_a_search_finds_what_the_rows_hold(root: Path) -> None:
    async with viewing(root) as viewer:
        for asked, expected in FOUND:
            assert await viewer.found(**asked) == expected, asked


async def test_a_row_shows_what_a_list_needs(root: Path) -> None:
    async with viewing(root) as viewer:
        [row] = (await viewer.get("conversations", text="quoted")).json["rows"]
        assert row | {"at": 0, "snippet": ""} == {
            "id": "odd",
            "at": 0,
            "created_at": "2026-02-09T01:00:00Z",
            "agent_id": "agt_a",
            "agent_name": "Ann",
            "agent_version_id": None,
            "channel": "email",
            "direction": None,
            "status": "failed",
            "duration_seconds": 60,
            "user": "User_odd",
            "agent_number": None,
            "turns": 2,
            "has_recording": None,
            "snippet": "",
        }
        assert row["snippet"].startswith('<script>alert(1)</script> & "quoted" \\ / 100%')


async def test_choices_are_counted(root: Path) -> None:
    async with viewing(root) as viewer:
        found = (await viewer.get("facets")).json
        assert found["agents"] == [
            {"id": "agt_a", "name": "Ann", "count": len(ROWS) - 2},
            {"id": "agt_b", "name": "Bob", "count": 1},
        ]
        assert found["versions"] == [{"value": "ver_2", "count": 1}]
        assert found["channels"] == [{"value": "telephone", "count": len(ROWS) - 1}, {"value": "email", "count": 1}]
        assert (found["statuses"][1], found["note"]) == ({"value": "failed", "count": 1}, None)


async def test_slow_replies_are_found_where_there_are_turns(roots: dict[str, Path]) -> None:
    async with viewing(roots["turns"]) as viewer:
        assert await viewer.found(latency_above=2.5) == ["slow"]
        assert await viewer.found(latency_above=2.6) == []
        assert await viewer.found(latency_above=2.5, text="nothing") == []
        assert (await viewer.get("turns", id="slow")).json["slowest"] == {"index": 2, "seconds": 2.5}
        assert (await viewer.get("turns", id="other")).json["slowest"] is None
        assert (await viewer.get("turns", id="silent")).json["slowest"] is None


async def test_a_search_that_runs_out_of_time_says_how_far_it_has_come_and_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_SECONDS", 0.0)
    monkeypatch.setattr(search, "_FIRST_ROWS", 10)
    async with viewing(root) as viewer:
        first = (await viewer.get("conversations", channel="email")).json
        assert (first["rows"], first["is_complete"]) == ([], False)
        assert first["note"] == f"Searched back to {first['searched_until']}, and found no more yet"
        assert first["searched_until"] < format_instant(UNTIL - 9 * MINUTE)
        assert await walk(viewer, channel="email") == ["odd"]


async def test_a_first_window_that_takes_too_long_is_refused_with_advice(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: object, **__: object) -> object:
        raise SlowQuestionError("this took longer than 30 s, and was interrupted")

    async with viewing(root) as viewer:
        monkeypatch.setattr(Export, "search", slow)
        answer = await viewer.get("conversations")
        assert (answer.status, answer.json["error"]) == (
            503,
            "this took longer than 30 s, and was interrupted. Search a shorter time",
        )


async def test_what_has_no_column_cannot_be_searched_by(tmp_path: Path) -> None:
    await make(tmp_path / "few", many(2), fields=("id", "created_at", "updated_at", "status"))
    async with viewing(tmp_path / "few") as viewer:
        assert await viewer.found() == ["c0", "c1"]
        for asked, what in (
            ({"user": "x"}, "no column user_id"),
            ({"text": "x"}, "no transcripts"),
            ({"latency_above": 1}, "no table of turns"),
            ({"recording": "kept"}, "no recordings"),
        ):
            answer = await viewer.get("conversations", **asked)
            assert (answer.status, what in answer.json["error"]) == (400, True)
        assert (await viewer.get("facets")).json["agents"] == []


async def test_an_export_without_rows_has_nothing_to_find(tmp_path: Path) -> None:
    await make(tmp_path / "none", [], tables=TABLES)
    async with viewing(tmp_path / "none") as viewer:
        assert await viewer.found(text="x") == []
        assert (await viewer.get("about")).json["rows"] == 0
        assert (await viewer.get("facets")).json["agents"] == []
        assert (await viewer.get("turns", id="c1")).status == 404


def test_the_next_window_fits_into_the_time_that_is_left() -> None:
    assert next_rows(1_000, 0.001, 5.0) == 4_000
    assert next_rows(1_000_000, 1.0, 5.0) == 1_000_000
    assert next_rows(20_000, 2.0, 3.0) == 15_000
    assert next_rows(20_000, 2.0, -1.0) == 0


def test_a_snippet_shows_what_stands_around_a_text() -> None:
    assert snippet_of([None, "nothing", "a " * 100 + "Found\n\tit" + " b" * 100], "found") == (
        f"…{'a ' * 30}Found it{' b' * 28}…".replace("…a", "…a")
    )
    assert snippet_of(["it"], "It") == "it"
    assert snippet_of([None, "it"], "x") is None
