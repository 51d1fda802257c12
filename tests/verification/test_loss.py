"""A repair takes out enough to read everything again, no more than that, and by a change that the log accepts."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import format_instant
from exporter.coverage import Coverage, Interval
from exporter.log.fold import apply, fold
from exporter.log.state import Commit
from exporter.model import Change, QuarantineFile
from exporter.verification.loss import keep_lines, plan_loss, quarantine_origins
from tests.log.test_state import END, begin, commit, data_file


def quarantine_file(name: str) -> QuarantineFile:
    return QuarantineFile(path=f"_exporter/quarantine/{name}.jsonl", rows=1, size_bytes=10, sha256="0" * 64)


@st.composite
def logs(draw: st.DrawFn) -> list[Commit]:
    """Returns a log that reads the range from its end down, a stretch a commit, with gaps and some quarantine."""
    commits, end = [begin()], END
    while end > 0 and draw(st.booleans() if len(commits) > 3 else st.just(True)):
        start = draw(st.integers(max(0, end - 12), end - 1))
        cuts = sorted(draw(st.sets(st.integers(start, end), max_size=4)))
        number = len(commits) + 1
        windows = list(zip(cuts[::2], cuts[1::2], strict=False))
        change = Change(
            covers=(Interval(start, end),),
            adds=tuple(data_file(f"{number}-{low}", low, high) for low, high in windows),
            quarantines=(quarantine_file(str(number)),) if draw(st.booleans()) else (),
            read_since=number,
        )
        commits.append(commit(number, change))
        end = start
    return commits


@given(logs(), st.data())
def test_what_is_lost_is_no_more_than_the_spoiled_and_what_they_cut_into(
    commits: list[Commit], data: st.DataObject
) -> None:
    state = fold(commits)
    names = sorted([*state.files, *state.quarantine])
    spoiled = data.draw(st.sets(st.sampled_from(names))) if names else set()
    loss = plan_loss(state, commits, spoiled)
    assert spoiled <= {*loss.files, *loss.quarantine}
    assert set(loss.quarantine) == spoiled & set(state.quarantine)
    origins = quarantine_origins(commits)
    wanted = Coverage(state.files[path].window for path in spoiled & set(state.files))
    for path in loss.quarantine:
        wanted |= origins[path]
    # Here each commit covers its files, so that only the spoiled ones must go.
    assert loss.lost == wanted
    removes = (*loss.files, *loss.quarantine)
    after = apply(state, commit(state.number + 1, Change(uncovers=loss.lost.intervals, removes=removes), kind="repair"))
    assert after.coverage == state.coverage - loss.lost
    assert set(after.files) == set(state.files) - set(loss.files)
    assert after.left | after.coverage == Coverage([Interval(0, END)])


def test_a_file_that_reaches_beyond_what_is_lost_goes_whole() -> None:
    """A file does so if a later commit has made it of two."""
    first = Change(covers=(Interval(20, END),), adds=(data_file("a", 20, 30),), quarantines=(quarantine_file("q"),))
    second = Change(covers=(Interval(0, 20),), adds=(data_file("b", 10, 20),))
    paths = tuple(f"conversations/part-{name}.parquet" for name in "ab")
    merged = Change(removes=paths, adds=(data_file("c", 10, 30),))
    commits = [begin(), commit(2, first), commit(3, second), commit(4, merged, kind="compact")]
    loss = plan_loss(fold(commits), commits, {quarantine_file("q").path})
    assert (loss.lost, loss.files) == (Coverage([Interval(10, END)]), ("conversations/part-c.parquet",))


def test_rows_that_a_repair_has_kept_are_from_where_they_were() -> None:
    first = Change(covers=(Interval(10, END),), quarantines=(quarantine_file("q"),))
    path = quarantine_file("q").path
    repair = Change(uncovers=(Interval(30, END),), removes=(path,), quarantines=(quarantine_file("rest"),))
    commits = [begin(), commit(2, first), commit(3, repair, kind="repair")]
    rest = quarantine_file("rest").path
    assert quarantine_origins(commits)[rest] == Coverage([Interval(10, END)])
    # A time that is no longer covered cannot be lost.
    assert plan_loss(fold(commits), commits, {rest}).lost == Coverage([Interval(10, 30)])


@given(st.lists(st.integers(0, END)), st.lists(st.tuples(st.integers(0, END), st.integers(1, 5))))
def test_lines_are_kept_byte_for_byte_unless_their_time_is_lost(times: list[int], holes: list[tuple[int, int]]) -> None:
    lost = Coverage(Interval(start, start + length) for start, length in holes)
    lines = [
        b'{"reason":"r","created_at":"%s","id":"c","row":"\\r\\u2028"}\n' % format_instant(time).encode()
        for time in times
    ]
    assert keep_lines(lines, lost) == [
        line
        for line, time in zip(lines, times, strict=True)
        if not any(interval.start <= time < interval.end for interval in lost)
    ]


def test_recordings_stay_where_others_are_lost_and_take_nothing_along() -> None:
    recordings = data_file("r", 5, 25, path="recordings/part-r.parquet", table="recordings")
    commits = [
        begin(),
        commit(2, Change(covers=(Interval(0, 40),), adds=(data_file("1", 0, 10), data_file("2", 10, 30)))),
        commit(3, Change(adds=(recordings,)), kind="recordings"),
    ]
    state = fold(commits)
    loss = plan_loss(state, commits, {"conversations/part-1.parquet"})
    assert (loss.lost, loss.files) == (Coverage([Interval(0, 10)]), ("conversations/part-1.parquet",))
    loss = plan_loss(state, commits, {recordings.path})
    assert (loss.lost, loss.files, loss.recordings) == (Coverage(), (), (recordings.path,))
    assert not apply(state, commit(4, Change(removes=loss.recordings), kind="repair")).recordings
