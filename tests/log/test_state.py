"""The fold of the log agrees with sets of integers, and refuses what does not fit."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING
from exporter.coverage import Coverage, Interval
from exporter.errors import StoreError
from exporter.log.fold import apply, fold
from exporter.log.state import FORMAT_VERSION, Author, Commit, State, state_name
from exporter.model import Change, Counters, DataFile, QuarantineFile, TableFormat, Unproven
from exporter.settings import Request

AUTHOR = Author(run="r1", host="here", pid=1, software={"exporter": "0"})
END = 40


def commit(number: int, change: Change | None = None, **fields: Any) -> Commit:
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "number": number,
        "export_id": "x",
        "author": AUTHOR,
        "committed_at": 1000 + number,
        "kind": "export",
        "change": change or Change(),
        **fields,
    }
    return Commit(**values)


def begin(start: int = 0, end: int = END) -> Commit:
    return commit(1, kind="begin", request=Request(), range=Interval(start, end))


def data_file(name: str, start: int, end: int, **fields: Any) -> DataFile:
    values: dict[str, Any] = {
        "path": f"conversations/part-{name}.parquet",
        "table": "conversations",
        "partition": {},
        "rows": end - start,
        "size_bytes": 100,
        "sha256": "0" * 64,
        "created_at_min": start,
        "created_at_max": end - 1,
        "window": Interval(start, end),
        **fields,
    }
    return DataFile(**values)


def reading(name: str, start: int, end: int, **fields: Any) -> Change:
    values: dict[str, Any] = {"covers": (Interval(start, end),), "adds": (data_file(name, start, end),), **fields}
    return Change(**values)


@given(st.lists(st.tuples(st.integers(0, END - 1), st.integers(1, 9), st.booleans()), max_size=25))
def test_the_fold_agrees_with_sets(steps: list[tuple[int, int, bool]]) -> None:
    """Reads, and takes back, what the set of covered integers allows; the state must say the same after each."""
    commits, covered, live, read_at = [begin()], set[int](), dict[str, set[int]](), dict[int, int]()
    state = fold(commits)
    for start, length, takes_back in steps:
        number = len(commits) + 1
        wanted = set(range(start, min(start + length, END)))
        if takes_back:
            hit = {path: window for path, window in live.items() if window & wanted}
            gone = set().union(*hit.values())
            change = Change(uncovers=Coverage(Interval(one, one + 1) for one in gone).intervals, removes=tuple(hit))
            covered -= gone
            for path in hit:
                del live[path]
        else:
            free = wanted - covered
            intervals = Coverage(Interval(one, one + 1) for one in free).intervals
            files = tuple(data_file(f"{number}-{one.start}", one.start, one.end) for one in intervals)
            change = Change(covers=intervals, adds=files, read_since=100 - number)
            covered |= free
            live |= {file.path: set(range(file.window.start, file.window.end)) for file in files}
            read_at |= dict.fromkeys(free, 100 - number)
        commits.append(commit(number, change, counters=Counters(requests=2)))
        state = apply(state, commits[-1])
        assert state.coverage.length == len(covered)
        assert all(any(one in interval for interval in state.coverage) for one in covered)
        assert state.left.length == END - len(covered)
        assert set(state.files) == set(live)
        assert state.read_since == min((read_at[one] for one in covered), default=None)
        assert (state_name(state) == "complete") == (len(covered) == END)
    assert fold(commits) == state
    assert state.number == len(commits)
    assert state.counters.requests == 2 * (len(commits) - 1)


def test_a_commit_survives_its_file() -> None:
    unproven = Unproven(created_at=3, rows=9, reason="equal times")
    quarantined = QuarantineFile(path="_exporter/quarantine/1.jsonl", rows=1, size_bytes=2, sha256="0")
    change = reading("1", 0, 9, unproven=(unproven,), quarantines=(quarantined,), read_since=7)
    for one in (begin(), commit(2, change, counters=Counters(requests=3, seconds=0.25))):
        assert msgspec.json.decode(msgspec.json.encode(one), type=Commit) == one


@given(
    st.booleans(),
    st.none() | st.integers(0, END),
    st.sets(st.integers(0, END - 1)),
)
def test_the_share_is_that_of_the_range_from_where_its_data_begins(
    open_below: bool, data_start: int | None, covered: set[int]
) -> None:
    range_ = Interval(BEGINNING if open_below else 0, END)
    commits = [commit(1, kind="begin", request=Request(), range=range_)]
    for instant in sorted(covered):
        start = range_.start if instant == 0 else instant
        change = Change(covers=(Interval(start, instant + 1),))
        commits.append(commit(len(commits) + 1, change, data_start=data_start if len(commits) == 1 else None))
    state = fold(commits)
    share = state.covered_share
    if not covered:
        assert share == 0
    elif len(covered) == END:
        assert share == 1
    elif 0 in covered:
        first = min(set(range(END)) - covered)
        assert share == pytest.approx(len(covered - set(range(first))) / (END - first))
    elif data_start is None and open_below:
        assert share is None
    else:
        first = min(data_start or 0, END - 1)
        known, left = len(covered & set(range(first, END))), len(set(range(first, END)) - covered)
        assert share == pytest.approx(known / (known + max(1, left)))
    assert (share == 1) == (state.left == Coverage())


def test_a_row_that_is_older_than_the_guess_moves_the_start_of_the_data() -> None:
    early = commit(2, reading("1", 10, 20), data_start=15)
    state = fold([begin(), early])
    assert state.covered_share == pytest.approx(10 / 30)
    assert apply(state, commit(3, data_start=5)).covered_share == pytest.approx(10 / 35)
    # Where older data may begin now, the guess says nothing.
    assert apply(state, commit(3, kind="widen", range=Interval(-40, END))).covered_share == pytest.approx(10 / 80)
    later = apply(state, commit(3, kind="widen", range=Interval(0, END + 10)))
    assert later.covered_share == pytest.approx(10 / 40)


def test_nothing_has_begun() -> None:
    state = State()
    assert state_name(state) == "incomplete"
    assert not state.left
    assert state.read_since is None


@given(
    st.lists(
        st.tuples(st.integers(0, END - 1), st.integers(1, 9), st.sets(st.integers(0, END - 1), max_size=4)), max_size=9
    )
)
def test_doubts_leave_where_a_whole_reading_lifts_them(steps: list[tuple[int, int, set[int]]]) -> None:
    """What is proven is no longer in doubt, as in a set, except what the same commit doubts again."""
    doubted = set(range(0, END, 3))
    state = fold([begin(), commit(2, reading("1", 0, END, unproven=tuple(map(doubt, doubted))))])
    for number, (start, length, anew) in enumerate(steps, start=3):
        end = min(END, start + length)
        change = Change(proves=(Interval(start, end),), unproven=tuple(map(doubt, anew)))
        state = apply(state, commit(number, change, kind="repair"))
        doubted = {one for one in doubted if not start <= one < end} | anew
        assert sorted(one.created_at for one in state.unproven) == sorted(doubted)
    assert state_name(state) == ("unproven" if doubted else "complete")


def test_what_is_not_covered_cannot_be_proven() -> None:
    state = fold([begin(), commit(2, reading("1", 0, 9))])
    with pytest.raises(StoreError, match="proves what is not covered"):
        apply(state, commit(3, Change(proves=(Interval(5, 15),))))


def doubt(created_at: int) -> Unproven:
    return Unproven(created_at=created_at, rows=9, reason="equal times")


def test_a_doubt_about_a_window_that_is_not_committed_yet_stays_when_it_is() -> None:
    """The window counted as read before a bound was read differently elsewhere."""
    doubt = Unproven(created_at=3, rows=0, reason="a bound", since=1)
    state = fold([begin(), commit(2, reading("1", 5, END, unproven=(doubt,))), commit(3, reading("2", 0, 5))])
    assert state.unproven == (doubt,)
    assert state_name(state) == "unproven"


def test_of_a_doubt_that_is_read_again_in_part_the_rest_stays() -> None:
    wide, narrow = (Unproven(created_at=8, rows=9, reason="equal times", since=since) for since in (1, 6))
    again = Change(proves=(Interval(5, 9),), unproven=(narrow,))
    state = fold([begin(), commit(2, reading("1", 0, END, unproven=(wide,))), commit(3, again, kind="reread")])
    assert [(one.since, one.created_at) for one in state.unproven] == [(1, 4), (6, 8)]


def test_what_is_unproven_or_quarantined_is_not_complete() -> None:
    unproven = Unproven(created_at=3, rows=9, reason="equal times")
    quarantined = QuarantineFile(path="_exporter/quarantine/1.jsonl", rows=4, size_bytes=2, sha256="0")
    whole = fold([begin(), commit(2, reading("1", 0, END, unproven=(unproven,), quarantines=(quarantined,)))])
    assert state_name(whole) == "unproven"
    assert whole.quarantined_rows == 4
    again = reading(
        "2", 0, END, uncovers=(Interval(0, END),), removes=("conversations/part-1.parquet", quarantined.path)
    )
    repaired = apply(whole, commit(3, again, kind="repair"))
    assert state_name(repaired) == "complete"
    assert list(repaired.files) == ["conversations/part-2.parquet"]


def test_what_has_arrived_is_not_complete_until_it_is_settled() -> None:
    arrived = fold([begin(), commit(2, reading("1", 0, 15, arrives=True)), commit(3, reading("2", 15, END))])
    assert (arrived.unsettled, arrived.is_whole) == (Coverage([Interval(0, 15)]), False)
    assert state_name(arrived) == "unproven"
    dropped = Change(uncovers=(Interval(0, 15),), removes=("conversations/part-1.parquet",))
    assert not apply(arrived, commit(4, dropped, kind="repair")).unsettled
    settled = apply(arrived, commit(4, Change(settles=True)))
    assert settled.is_whole
    assert state_name(settled) == "complete"


def test_a_wider_range_is_incomplete_again() -> None:
    complete = fold([begin(10, 20), commit(2, reading("1", 10, 20))])
    wider = apply(complete, commit(3, kind="widen", range=Interval(5, 30)))
    assert wider.left == Coverage([Interval(5, 10), Interval(20, 30)])
    assert state_name(wider) == "incomplete"
    assert wider.request == Request()


def test_compaction_replaces_files_without_touching_coverage() -> None:
    two = fold([begin(), commit(2, reading("1", 0, 9, read_since=5)), commit(3, reading("2", 9, 12, read_since=6))])
    change = Change(removes=tuple(two.files), adds=(data_file("3", 0, 12),))
    one = apply(two, commit(4, change, kind="compact"))
    assert list(one.files) == ["conversations/part-3.parquet"]
    assert (one.coverage, one.read_since) == (two.coverage, 5)


def test_tables_have_windows_of_their_own() -> None:
    turns = data_file("1", 0, 9, table="turns", path="turns/part-1.parquet")
    state = fold([begin(), commit(2, reading("1", 0, 9, adds=(data_file("1", 0, 9), turns)))])
    assert len(state.files) == 2


def test_runs_and_times_are_kept() -> None:
    other = Author(run="r2", host="there", pid=2, software={"exporter": "1"})
    state = fold([begin(), commit(2), commit(3, author=other), commit(4, author=other)])
    assert state.runs == ("r1", "r2")
    assert (state.started_at, state.committed_at) == (1001, 1004)
    assert state.software == {"exporter": "1"}


BASE = fold([begin(), commit(2, reading("1", 0, 10))])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: commit(4), "is number 4, and 3 was to come"),
        (lambda: commit(3, export_id="y"), "another export"),
        (lambda: commit(3, kind="begin", request=Request(), range=Interval(0, END)), "begins an export"),
        (lambda: commit(3, request=Request(filters={"status": "failed"})), "changes the request"),
        (lambda: commit(3, range=Interval(1, END)), "narrows the range"),
        (lambda: commit(3, range=Interval(0, END - 1)), "narrows the range"),
        (lambda: commit(3, kind="repair", range=Interval(0, 1)), "narrows the range to less than is covered"),
        (lambda: commit(3, reading("2", 9, 12)), "covers what was covered already"),
        (lambda: commit(3, Change(covers=(Interval(10, 12), Interval(11, 13)))), "covers an interval twice"),
        (lambda: commit(3, Change(covers=(Interval(END - 1, END + 1),))), "outside the export's range"),
        (lambda: commit(3, Change(uncovers=(Interval(9, 11),))), "uncovers what was not covered"),
        (lambda: commit(3, Change(uncovers=(Interval(3, 4),))), "and keeps the file"),
        (lambda: commit(3, Change(removes=("conversations/part-9.parquet",))), "which is not there"),
        (
            lambda: commit(3, Change(adds=(data_file("2", 5, 6),), removes=("conversations/part-9.parquet",))),
            "which is not there",
        ),
        (lambda: commit(3, reading("1", 10, 12)), "is there already"),
        (lambda: commit(3, Change(adds=(data_file("2", 5, 6),))), "window is not its own"),
        (lambda: commit(3, reading("2", 10, 12, adds=(data_file("2", 10, 13),))), "window is not its own"),
        (
            lambda: commit(3, reading("2", 10, 12, adds=(data_file("2", 10, 12), data_file("3", 11, 12)))),
            "share a window",
        ),
        (
            lambda: commit(3, reading("2", 10, 12, adds=(data_file("2", 10, 12, created_at_max=12),))),
            "rows outside its window",
        ),
        (lambda: commit(3, reading("2", 10, 12, adds=(data_file("2", 10, 12, path="../x.parquet"),))), "is no part"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Commit], says: str) -> None:
    with pytest.raises(StoreError, match=says) as raised:
        apply(BASE, make())
    assert "_exporter/commits/0000000" in str(raised.value)


def test_an_export_has_to_begin() -> None:
    for first in (commit(1), commit(1, kind="begin", request=Request()), commit(1, kind="begin", range=Interval(0, 1))):
        with pytest.raises(StoreError, match=r"begins? an export"):
            fold([first])


# Table formats.

DELTA = TableFormat(kind="delta")


def by(run: str, number: int, change: Change | None = None, **fields: Any) -> Commit:
    return commit(number, change, author=msgspec.structs.replace(AUTHOR, run=run), **fields)


def test_with_a_table_all_that_other_runs_have_written_is_kept_until_it_is_forgotten() -> None:
    def rewritten(old: str, new: str) -> Change:
        return Change(adds=(data_file(new, 0, 10),), removes=(f"conversations/part-{old}.parquet",))

    commits = [
        begin(),
        by("r2", 2, reading("r2-1", 0, 10), table_format=DELTA),
        by("r2", 3, rewritten("r2-1", "r2-2")),
        by("r3", 4, rewritten("r2-2", "r3-1")),
        by("r4", 5, rewritten("r3-1", "r4-1")),
    ]
    state = fold(commits)
    assert state.table_format == DELTA
    assert state.kept == {"conversations/part-r2-2.parquet", "conversations/part-r3-1.parquet"}
    forgotten = apply(state, by("r5", 6, kind="vacuum", forgets=("conversations/part-r2-2.parquet",)))
    assert forgotten.kept == {"conversations/part-r3-1.parquet"}
    with pytest.raises(StoreError, match="forgets conversations/part-r2-2"):
        apply(forgotten, by("r6", 7, kind="vacuum", forgets=("conversations/part-r2-2.parquet",)))
    with pytest.raises(StoreError, match="forgets conversations/part-r4-1"):
        apply(forgotten, by("r6", 7, kind="vacuum", forgets=("conversations/part-r4-1.parquet",)))


def test_with_a_table_what_a_repair_takes_out_is_kept() -> None:
    change = Change(uncovers=(Interval(0, 10),), removes=("conversations/part-r2-1.parquet",))
    for table_format, kept in ((None, 0), (DELTA, 1)):
        commits = [begin(), by("r2", 2, reading("r2-1", 0, 10), table_format=table_format, keep_generations=3)]
        assert len(apply(fold(commits), by("r3", 3, change, kind="repair")).kept) == kept


def test_a_table_format_comes_once() -> None:
    state = fold([begin(), commit(2, table_format=DELTA)])
    with pytest.raises(StoreError, match="changes the table format"):
        apply(state, commit(3, table_format=TableFormat(kind="iceberg")))


def test_a_repair_may_end_the_range_earlier_and_a_file_with_it() -> None:
    state = fold([begin(), commit(2, reading("1", 0, 9))])
    (file,) = state.files.values()
    shorter = data_file("1", 0, 9, window=Interval(0, 9))
    longer = Change(
        covers=(Interval(9, END),), removes=(file.path,), adds=(data_file("1", 0, 9, window=Interval(0, END)),)
    )
    state = apply(state, commit(3, longer))
    back = Change(uncovers=(Interval(9, END),), removes=(file.path,), adds=(shorter,))
    state = apply(state, commit(4, back, kind="repair", range=Interval(0, 9)))
    assert (state.range, state.coverage, state.left) == (Interval(0, 9), Coverage([Interval(0, 9)]), Coverage())
    assert state.files == {file.path: shorter}


def test_nothing_is_known_from_after_the_run_began_by_its_machines_clock() -> None:
    commits = [begin(), commit(2, reading("1", 0, 9, read_since=5000))]
    assert fold(commits).read_since == 1001
    commits += [commit(3, kind="resume"), commit(4, reading("2", 9, 12, read_since=5000))]
    assert sorted(instant for instant, _ in fold(commits).reads) == [1001, 1003]
    assert fold([*commits, commit(5, Change(refreshes=(Interval(0, 12),), read_since=900))]).read_since == 900


def test_the_file_mode_is_private_until_a_commit_says_otherwise_and_then_stays() -> None:
    commits = [begin(), commit(2, file_mode="group"), commit(3), commit(4, file_mode="private"), commit(5)]
    states = [fold(commits[:count]).file_mode for count in range(1, 6)]
    assert states == ["private", "group", "group", "private", "private"]
