"""What floors take out agrees with a model of instants, and the log refuses what would bring it back."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, SECOND
from exporter.coverage import Coverage, Interval
from exporter.errors import StoreError
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS
from exporter.log.dropped import DroppedFiles
from exporter.log.expiry import (
    expiring,
    is_expired_leftover,
    raised_floors,
    row_floor,
    without_expired,
)
from exporter.log.fold import apply, fold
from exporter.log.privacy import PrivacyChange
from exporter.log.state import State
from exporter.model import Change, QuarantineFile, Unproven
from exporter.settings import Request
from tests.log.test_state import END, begin, commit, data_file, reading

NAMES = (CONVERSATIONS, RECORDINGS, "conversation", "summary")
RANGE = Interval(0, END)
floors_of = st.dictionaries(st.sampled_from(NAMES), st.integers(-5, END + 5))


@given(floors_of, st.dictionaries(st.sampled_from(NAMES), st.integers(1, 50)), st.integers(0, 2 * END))
def test_floors_only_rise(floors: dict[str, int], retention: dict[str, int], now: int) -> None:
    raised = raised_floors(floors, retention, RANGE, now * SECOND)
    assert raised.keys() <= retention.keys()
    for name, age in retention.items():
        floor = min(now * SECOND - age * SECOND, END - 1 if name == CONVERSATIONS else now * SECOND)
        before = floors.get(name, BEGINNING)
        assert max(floor, before) == raised.get(name, before)
    again = raised_floors({**floors, **raised}, retention, RANGE, now * SECOND)
    assert not again


@given(
    floors_of,
    floors_of,
    st.integers(0, END - 1),
    st.integers(1, 9),
    st.sampled_from((CONVERSATIONS, TURNS, RECORDINGS, None)),
)
def test_a_file_concerns_the_floors_that_pass_over_its_rows(
    before: dict[str, int], after: dict[str, int], start: int, length: int, table: str | None
) -> None:
    raised = {name: floor for name, floor in after.items() if floor > before.get(name, BEGINNING)}
    window = Interval(start, start + length)
    file: Any = QuarantineFile(path="q", rows=1, size_bytes=1, sha256="", window=window)
    if table is not None:
        file = data_file("1", start, start + length, table=table, path=f"{table}/part-1.parquet")
    held = {
        CONVERSATIONS: {CONVERSATIONS, "conversation", "summary"},
        TURNS: {CONVERSATIONS, "conversation"},
        RECORDINGS: {RECORDINGS, CONVERSATIONS} - ({CONVERSATIONS} if table is None else set()),
        None: {CONVERSATIONS, "conversation", "summary"},
    }[table]
    found = dict(expiring(file, before, raised))
    for name in NAMES:
        passed = set(range(before.get(name, -100), raised.get(name, before.get(name, -100))))
        concerned = name in held and bool(passed & set(range(start, start + length)))
        assert (name in found) == concerned, name


def expired(number: int, floor: int, change: Change, **more: Any) -> Any:
    privacy = PrivacyChange(floors={CONVERSATIONS: floor})
    return commit(number, change, kind="expire", range=Interval(floor, END), privacy=privacy, **more)


@given(st.integers(1, END - 1), st.lists(st.integers(1, END - 1), max_size=5, unique=True))
def test_what_lies_below_leaves_the_log(floor: int, cuts: list[int]) -> None:
    edges = sorted({0, END, *cuts})
    windows = [Interval(one, other) for one, other in pairwise(edges)]
    commits = [begin(), *(commit(n, reading(str(n), w.start, w.end, read_since=n)) for n, w in enumerate(windows, 2))]
    doubt = commit(len(commits) + 1, Change(unproven=(Unproven(floor - 1, 1, "x"), Unproven(floor, 1, "x"))))
    state = fold([*commits, doubt])
    removes = [file.path for file in state.conversations if file.window.start < floor]
    adds = [
        data_file("rest", floor, file.window.end)
        for file in state.conversations
        if file.window.start < floor < file.window.end
    ]
    change = Change(uncovers=(Interval(0, floor),), removes=tuple(removes), adds=tuple(adds))
    after = apply(state, expired(state.number + 1, floor, change))
    assert after.coverage == Coverage([Interval(floor, END)])
    assert after.range == Interval(floor, END)
    assert not after.left
    assert all(file.window.start >= floor for file in after.conversations)
    assert [one.created_at for one in after.unproven] == [floor]
    assert not Coverage([Interval(0, floor)]) & Coverage(i for _, read in after.reads for i in read)
    assert not after.kept
    assert after.dropped == ()


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (commit(3, range=Interval(5, END), kind="expire"), "narrows"),
        (commit(3, range=Interval(5, END), kind="sync"), "narrows"),
        (expired(3, 5, Change()), "narrows"),
        (commit(3, kind="sync", privacy=PrivacyChange(floors={"summary": 5})), "lets rows expire"),
    ],
)
def test_the_log_refuses_what_is_no_expiry(what: Any, why: str) -> None:
    state = fold([begin(), commit(2, reading("1", 0, END))])
    with pytest.raises(StoreError, match=why):
        apply(state, what)


def test_a_floor_never_falls() -> None:
    privacy = PrivacyChange(floors={"summary": 5})
    state = fold([begin(), commit(2, kind="expire", privacy=privacy)])
    with pytest.raises(StoreError, match="brings back"):
        apply(state, commit(3, kind="expire", privacy=PrivacyChange(floors={"summary": 4})))


def test_nobody_widens_the_range_below_a_floor_unseen() -> None:
    state = fold([begin(), commit(2, reading("1", 0, END))])
    change = Change(uncovers=(Interval(0, 9),), removes=("conversations/part-1.parquet",))
    state = apply(state, expired(3, 9, change))
    assert row_floor(state.privacy.floors) == 9
    assert row_floor({"conversation": 7}, TURNS) == 7
    assert row_floor({"conversation": 7}) == BEGINNING


def test_dropped_files_go_whole() -> None:
    old, cut, new = data_file("1", 0, 5), data_file("2", 5, 15), data_file("3", 15, 20)
    dropped = DroppedFiles("r", {one.path: one for one in (old, cut, new)}, Coverage([Interval(0, 20)]))
    (left,) = without_expired((dropped,), {}, {CONVERSATIONS: 10})
    assert (list(left.files), left.holes) == ([new.path], Coverage([Interval(10, 20)]))
    assert without_expired((dropped,), {}, {CONVERSATIONS: 20}) == ()
    assert without_expired((dropped,), {}, {"user_id": 0}) == (dropped,)


@pytest.mark.parametrize(
    ("path", "goes"),
    [
        ("_exporter/dropped/r/conversations/created_date=2026-02-10/part-a.parquet.dropped", True),
        ("_exporter/dropped/r/conversations/created_date=2026-02-10/part-named.parquet.dropped", False),
        ("_exporter/dropped/r/recordings/created_date=2026-02-09/part-a.parquet.dropped", True),
        ("_exporter/dropped/r/recordings/created_date=2026-02-11/part-a.parquet.dropped", False),
        (f"_exporter/dropped/r/media/created_date=2026-02-10/{'0' * 64}.ogg.dropped", True),
        (f"_exporter/dropped/r/media/created_date=2026-02-11/{'0' * 64}.ogg.dropped", False),
        ("conversations/created_date=2026-02-10/part-a.parquet", False),
    ],
)
def test_what_is_left_of_dropped_files(path: str, goes: bool) -> None:
    named = {"conversations/created_date=2026-02-10/part-named.parquet": None}
    floors = {RECORDINGS: 1_770_724_800_000_000}  # 2026-02-10T12:00:00Z
    assert is_expired_leftover(path, named, floors, Request()) == goes
    assert State().privacy.floors == {}
