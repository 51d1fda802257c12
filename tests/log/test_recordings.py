"""Parts of recordings live in the log beside windows, and say what is left of them without being read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import SECOND
from exporter.coverage import Interval
from exporter.encode.recordings import recordings_schema
from exporter.errors import StoreError
from exporter.layout import part_path
from exporter.log.fold import apply, fold
from exporter.log.manifest import render_manifest
from exporter.log.recordings import count_recordings, hides_recordings, partitions_to_look_at
from exporter.log.state import FORMAT_VERSION, Author, Commit, State, state_name
from exporter.model import CONVERSATIONS, RECORDINGS, Change, DataFile
from exporter.privacy import Policy, Rule
from exporter.settings import Request

AUTHOR = Author(run="r1", host="here", pid=1, software={})
END = 100
#: Partitions of 10 instants each.
WIDTH = 10
SCHEMAS = {CONVERSATIONS: pa.schema([("id", pa.string())]), RECORDINGS: recordings_schema()}


def commit(number: int, kind: str = "export", change: Change | None = None, **fields: Any) -> Commit:
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "number": number,
        "export_id": "x",
        "author": AUTHOR,
        "committed_at": number,
        "kind": kind,
        "change": change or Change(),
        **fields,
    }
    return Commit(**values)


def after(state: State, kind: str, change: Change | None = None, **fields: Any) -> State:
    return apply(state, commit(state.number + 1, kind, change, **fields))


def begun() -> State:
    return fold([commit(1, "begin", request=Request(), range=Interval(0, END))])


def partition_at(instant: int) -> dict[str, str]:
    return {"created_hour": str(instant // WIDTH)}


def text_at(instant: int) -> str:
    return f"created_hour={instant // WIDTH}"


def part(table: str, name: str, start: int, end: int, **fields: Any) -> DataFile:
    partition = partition_at(start)
    values: dict[str, Any] = {
        "path": part_path(table, partition, name),
        "table": table,
        "partition": partition,
        "rows": 1,
        "size_bytes": 10,
        "sha256": "0",
        "created_at_min": start,
        "created_at_max": end - 1,
        "window": Interval(start, end),
        **fields,
    }
    return DataFile(**values)


def conversations(name: str, start: int, end: int, recorded: int | None, unrecorded: int | None = 0) -> Change:
    file = part(CONVERSATIONS, name, start, end, recorded_rows=recorded, unrecorded_rows=unrecorded)
    return Change(covers=(Interval(start, end),), adds=(file,))


def recordings(
    name: str, start: int, end: int, removes: Sequence[str] = (), looked_at: dict[str, int] | None = None, **counts: int
) -> Change:
    file = part(
        RECORDINGS, name, start, end, rows=sum(counts.values()), statuses=counts, media_files=counts.get("stored", 0)
    )
    return Change(adds=(file,), removes=tuple(removes), looked_at=looked_at or {})


def due(state: State, now: int = 10**12, wait_seconds: float = 0, **options: Any) -> list[str]:
    found = partitions_to_look_at(state, now=now, wait_seconds=wait_seconds, **options)
    return [one["created_hour"] for one in found]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 8), st.booleans()), max_size=20), st.randoms())
def test_windows_of_recordings_may_overlap_in_any_order_and_change_nothing_else(
    steps: list[tuple[int, int, bool]], chance: Any
) -> None:
    state = after(begun(), "export", conversations("1", 0, 10, 3))
    plain, live = state, dict[str, DataFile]()
    for number, (start, length, removes) in enumerate(steps):
        gone = [chance.choice(sorted(live))] if removes and live else []
        change = recordings(str(number), start, min(start + length, 9) + 1 if length else start + 1, gone, stored=1)
        kind = chance.choice(("recordings", "compact", "repair"))
        state = after(state, kind, change)
        for path in gone:
            del live[path]
        live |= {file.path: file for file in change.adds}
    assert {file.path: file for file in state.recordings} == live
    assert (state.coverage, state.conversations) == (plain.coverage, plain.conversations)
    assert (state.totals.rows, state.totals.open_rows) == (plain.totals.rows, plain.totals.open_rows)
    assert (state_name(state), state.covered_share) == (state_name(plain), plain.covered_share)
    assert state.totals.files == 1 + len(live)


def test_other_tables_keep_their_windows_to_themselves() -> None:
    state = after(begun(), "export", conversations("1", 0, 10, 3))
    state = after(state, "recordings", recordings("a", 0, 10, stored=1))
    overlapping = part(CONVERSATIONS, "2", 5, 9)
    with pytest.raises(StoreError, match="whose window is not its own"):
        after(state, "recordings", Change(adds=(overlapping,)))
    for change, says in (
        (recordings("a", 0, 10, stored=1), "is there already"),
        (Change(adds=(part(RECORDINGS, "b", 0, 3, created_at_max=3),)), "rows outside its window"),
        (Change(removes=("recordings/created_hour=0/part-z.parquet",)), "which is not there"),
        (Change(looked_at={"created_hour=0": 4}), "not there yet"),
    ):
        with pytest.raises(StoreError, match=says):
            after(state, "recordings", change)


def test_recordings_stay_where_conversations_are_uncovered() -> None:
    state = after(begun(), "export", conversations("1", 0, 10, 3))
    state = after(state, "recordings", recordings("a", 0, 10, stored=1))
    gone = part_path(CONVERSATIONS, partition_at(0), "1")
    state = after(state, "repair", Change(uncovers=(Interval(0, 10),), removes=(gone,)))
    assert [file.table for file in state.files.values()] == [RECORDINGS]
    kept = conversations("1", 0, 10, 3).adds[0]
    with pytest.raises(StoreError, match="keeps the file"):
        after(replace(state, live={kept.path: kept}, coverage=begun().left), "repair", Change(uncovers=(kept.window,)))


def test_what_a_run_wants_is_stored_until_another_says_otherwise() -> None:
    state = begun()
    assert (state.keeps_recordings, state.has_recordings) == (None, False)
    state = after(state, "resume", keeps_recordings=False)
    assert (state.keeps_recordings, state.has_recordings) == (False, False)
    state = after(state, "resume", keeps_recordings=True)
    assert (state.keeps_recordings, state.has_recordings) == (True, True)
    state = after(after(state, "export"), "resume", keeps_recordings=False)
    assert (state.keeps_recordings, state.has_recordings) == (False, True)
    assert after(begun(), "recordings").has_recordings


def test_a_partition_is_looked_at_once_and_again_when_conversations_have_come() -> None:
    state = after(begun(), "export", conversations("1", 0, 10, 3))
    state = after(state, "export", conversations("2", 10, 15, 1))
    assert due(state) == ["1", "0"]
    state = after(state, "recordings", recordings("a", 0, 10, looked_at={text_at(0): state.number}, stored=3))
    assert due(state) == ["1"]
    # Merging changes no row.
    merged = conversations("3", 0, 10, 3).adds
    old = (part_path(CONVERSATIONS, partition_at(0), "1"),)
    state = after(state, "compact", Change(adds=merged, removes=old))
    assert due(state) == ["1"]
    # The look rests on an earlier commit than the one that adds conversations.
    before = state.number
    state = after(state, "sync", conversations("4", 15, 20, 1))
    state = after(state, "recordings", Change(looked_at={text_at(10): before}))
    assert due(state) == ["1"]
    state = after(state, "recordings", Change(looked_at={text_at(10): state.number}))
    assert due(state) == []
    # Whatever takes rows of recordings away has them looked for again.
    damaged = (part_path(RECORDINGS, partition_at(0), "a"),)
    assert due(after(state, "repair", Change(removes=damaged))) == ["0"]
    assert due(after(state, "recordings", recordings("b", 0, 10, damaged, stored=3))) == []


def test_rows_that_are_not_final_and_young_conversations_are_looked_at_again() -> None:
    now = 200 * SECOND
    state = replace(begun(), range=Interval(0, 1000 * SECOND))
    for number, unrecorded in enumerate((2, 0, None)):
        start, end = number * WIDTH, number * WIDTH + 5
        state = after(state, "export", conversations(str(number), start, end, 0, unrecorded))
    assert due(state, now=SECOND, wait_seconds=1) == ["2", "0"]
    assert due(state, now=now, wait_seconds=1) == []
    state = after(state, "recordings", recordings("a", 10, 15, stored=1, gone=1))
    assert due(state, now=now) == []
    assert due(state, now=now, again=("gone",)) == ["1"]
    state = after(state, "recordings", recordings("b", 10, 15, failed=1))
    assert due(state, now=now) == ["1"]


def test_counts_add_up_and_tell_what_is_not_known() -> None:
    state = after(begun(), "export", conversations("1", 0, 10, 5))
    state = after(state, "export", conversations("2", 10, 20, 2))
    counts = count_recordings(state)
    assert (counts.recorded, counts.left, counts.oldest_left) == (7, 7, 0)
    state = after(state, "recordings", recordings("a", 0, 10, stored=2, gone=1, expired=1, failed=1))
    state = after(state, "recordings", recordings("b", 10, 12, refused=1))
    counts = count_recordings(state)
    assert counts[:7] == (7, 2, 1, 1, 1, 1, 1)
    assert (counts.media_files, counts.oldest_left) == (2, 10)
    # Some appeared late: nobody has counted them, and none that was counted is left.
    state = after(state, "recordings", recordings("c", 10, 14, stored=3))
    assert count_recordings(state)[:7] == (9, 5, 1, 1, 1, 1, 0)
    state = after(state, "export", conversations("3", 20, 30, None))
    assert (count_recordings(state).recorded, count_recordings(state).left) == (None, None)
    state = after(state, "recordings", Change(looked_at={text_at(20): state.number}))
    assert count_recordings(state)[:7] == (9, 5, 1, 1, 1, 1, 0)


def test_the_manifest_says_so_once_there_are_some() -> None:
    state = after(begun(), "export", conversations("1", 0, 10, 2))
    plain = msgspec.json.decode(render_manifest(state, schemas=SCHEMAS))
    assert plain.keys().isdisjoint({"media", "recordings"})
    assert list(plain["tables"]) == [CONVERSATIONS]
    wanted = msgspec.json.decode(render_manifest(after(state, "resume", keeps_recordings=True), schemas=SCHEMAS))
    assert wanted["tables"][RECORDINGS]["files"] == []
    state = after(state, "recordings", recordings("a", 0, 10, stored=1))
    manifest = msgspec.json.decode(render_manifest(state, schemas=SCHEMAS))
    assert [file["path"] for file in manifest["tables"][RECORDINGS]["files"]] == [state.recordings[0].path]
    assert [column["name"] for column in manifest["tables"][RECORDINGS]["schema"]] == recordings_schema().names
    assert manifest["media"] == {"files": 1, "bytes": 0}
    others = dict.fromkeys(("gone", "expired", "failed", "refused"), 0)
    assert manifest["recordings"] == {"with": 2, "stored": 1, "left": 1, **others}
    assert manifest["totals"]["rows"] == plain["totals"]["rows"]


def test_a_part_of_an_older_exporter_says_that_nobody_counted() -> None:
    old = msgspec.to_builtins(part(CONVERSATIONS, "1", 0, 5))
    for name in ("recorded_rows", "unrecorded_rows", "statuses", "media_files", "media_bytes"):
        del old[name]
    assert msgspec.convert(old, DataFile).recorded_rows is None
    assert msgspec.convert({}, Change).looked_at == {}


@pytest.mark.parametrize(
    ("path", "action", "hides"),
    [
        ("recording_details", "drop", True),
        ("recording_details.recording_url", "drop", True),
        ("recording_details.recording_url", "hash", True),
        ("recording_details.recording_url", "no-query", False),
        ("recording_details", "keep", False),
        ("summary", "drop", False),
    ],
)
def test_rules_that_hide_which_conversations_have_a_recording(path: str, action: Any, hides: bool) -> None:
    assert hides_recordings(Policy(rules={path: Rule(action=action)})) == hides
