"""What somebody has accepted is told from every doubt that is new, whatever becomes of files and windows."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.coverage import Coverage, Interval
from exporter.errors import StoreError
from exporter.log.acceptance import (
    Acceptance,
    Doubts,
    WithheldRows,
    new_doubts,
    still_accepted,
    withheld_rows,
)
from exporter.log.fold import apply, fold
from exporter.log.state import State, state_name
from exporter.model import Change, QuarantineFile, Unproven
from tests.log.test_state import END, begin, commit, data_file, reading


def acceptance(doubts: Doubts) -> Acceptance:
    return Acceptance(at=5, by="ann@here", note="known", doubts=doubts)


def accepted(state: State) -> State:
    return apply(state, commit(state.number + 1, kind="accept", accepts=acceptance(state.new_doubts)))


def changed(state: State, change: Change, kind: str = "sync") -> State:
    return apply(state, commit(state.number + 1, change, kind=kind))


def time(created_at: int, rows: int = 9, since: int | None = None, reason: str = "equal times") -> Unproven:
    return Unproven(created_at, rows, reason, since)


def lines(name: str, rows: int = 1, rest_of: str | None = None) -> QuarantineFile:
    return QuarantineFile(path=name, rows=rows, size_bytes=2, sha256="0", window=Interval(0, END), rest_of=rest_of)


def doubted(*unproven: Unproven) -> State:
    return fold([begin(), commit(2, reading("1", 0, END, unproven=unproven))])


@pytest.mark.parametrize(
    ("again", "is_new"),
    [
        (time(8, since=2), False),
        (time(8, rows=3, since=2), False),
        (time(6, since=3), False),
        (time(8, rows=10, since=2), True),
        (time(8, since=1), False),
        (time(8, rows=0, since=1), True),
        (time(9, since=2), True),
        (time(9, since=8), True),
        (time(1), True),
        (time(8, since=2, reason="another"), True),
    ],
)
def test_a_time_is_new_if_more_of_it_is_in_doubt(again: Unproven, is_new: bool) -> None:
    state = accepted(doubted(time(8, since=2)))
    assert (len(state.new_doubts), state_name(state)) == (0, "unproven")
    state = changed(state, Change(proves=(Interval(0, END),), unproven=(again,)))
    assert len(state.new_doubts) == is_new
    assert len(state.acceptances) == (not is_new)


def test_of_a_time_that_is_proven_in_part_the_rest_stays_accepted() -> None:
    state = changed(accepted(doubted(time(8, since=2))), Change(proves=(Interval(4, 6),)))
    assert (len(state.unproven), len(state.new_doubts), len(state.acceptances[0].doubts)) == (2, 0, 2)
    state = changed(state, Change(unproven=(time(5, since=4),)))
    assert len(state.new_doubts) == 1


def test_an_acceptance_leaves_with_its_doubts_and_a_doubt_that_comes_back_is_new() -> None:
    state = accepted(doubted(time(8), time(3)))
    state = changed(state, Change(proves=(Interval(8, 9),)))
    assert [one.doubts.unproven for one in state.acceptances] == [(time(3),)]
    state = changed(state, Change(proves=(Interval(0, END),)))
    assert (state.acceptances, state_name(state)) == ((), "complete")
    assert changed(state, Change(unproven=(time(3),))).new_doubts.unproven == (time(3),)


def test_rows_that_stay_in_quarantine_are_known_in_whatever_file_and_others_are_new() -> None:
    state = fold([begin(), commit(2, reading("1", 0, END, quarantines=(lines("a", 3), lines("b"))))])
    state = accepted(state)
    state = changed(state, Change(removes=("a", "b"), quarantines=(lines("c", 2, rest_of="a"),)))
    assert (len(state.new_doubts), len(state.acceptances[0].doubts)) == (0, 2)
    state = changed(state, Change(removes=("c",), quarantines=(lines("d", 1, rest_of="c"), lines("e", 4))))
    assert (len(state.new_doubts), state.new_doubts.quarantine) == (4, (lines("e", 4),))
    both = accepted(state)
    assert (len(both.new_doubts), [len(one.doubts) for one in both.acceptances]) == (0, [1, 4])
    gone = changed(state, Change(removes=("d", "e")))
    assert (gone.acceptances, state_name(gone)) == ((), "complete")


def test_rows_without_fields_are_counted_where_they_lie() -> None:
    files = (
        data_file("1", 0, 5, withheld_rows=3),
        data_file("2", 5, 10),
        data_file("3", 20, 30, withheld_rows=2),
        data_file("4", 30, END - 1),
    )
    state = accepted(fold([begin(), commit(2, Change(covers=(Interval(0, END - 1),), adds=files))]))
    assert (len(state.new_doubts), len(state.acceptances[0].doubts)) == (0, 2)
    one, two, three, _ = files
    merged = data_file("5", 0, 10, withheld_rows=3)
    state = changed(state, Change(removes=(one.path, two.path), adds=(merged,)), "compact")
    assert len(state.new_doubts) == 0
    more = changed(state, Change(removes=(three.path,), adds=(data_file("6", 20, 30, withheld_rows=3),)))
    assert more.new_doubts.withheld == (WithheldRows(Interval(20, 30), 1),)
    fewer = changed(state, Change(removes=(merged.path,), adds=(data_file("7", 0, 10, withheld_rows=1),)))
    assert fewer.acceptances[0].doubts.withheld == (
        WithheldRows(Interval(0, 10), 1),
        WithheldRows(Interval(20, 30), 2),
    )
    back = changed(fewer, Change(removes=("conversations/part-7.parquet",), adds=(merged,)))
    assert back.new_doubts.withheld == (WithheldRows(Interval(0, 10), 2),)


windows = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 5), st.integers(1, 4)).map(
        lambda one: data_file("x", one[0], one[0] + one[1], withheld_rows=one[2])
    ),
    max_size=6,
).map(lambda files: withheld_rows(files))


@given(st.lists(windows, max_size=3), windows)
def test_no_more_rows_are_accepted_than_were_and_none_elsewhere(
    known: list[tuple[WithheldRows, ...]], now: tuple[WithheldRows, ...]
) -> None:
    acceptances = [acceptance(Doubts(withheld=one)) for one in known]
    places = Coverage(rows.interval for one in (*known, now) for rows in one)

    def sums(withheld: tuple[WithheldRows, ...]) -> Counter[Interval]:
        found = Counter[Interval]()
        for rows in withheld:
            (place,) = [place for place in places if rows.interval.start in place]
            found[place] += rows.rows
        return found

    there, before = sums(now), sums(tuple(rows for one in known for rows in one))
    assert sums(new_doubts(Doubts(withheld=now), acceptances).withheld) == there - before
    left = list(still_accepted(acceptances, Doubts(withheld=now), {}))
    assert sums(tuple(rows for one in left for rows in one.doubts.withheld)) == there & before


def test_what_is_unsettled_cannot_be_accepted() -> None:
    state = fold([begin(), commit(2, reading("1", 0, END, arrives=True, unproven=(time(3),)))])
    assert (len(state.new_doubts), state.is_accepted) == (1, False)
    assert (len(accepted(state).new_doubts), accepted(state).is_accepted) == (0, False)


def test_what_does_not_fit_is_refused() -> None:
    state = doubted(time(3))
    for wrong in (Doubts(unproven=(time(4),)), Doubts(quarantine=(lines("a"),))):
        with pytest.raises(StoreError, match="accepts a doubt that is not there"):
            apply(state, commit(3, kind="accept", accepts=acceptance(wrong)))
    for kind, accepts in (("accept", None), ("sync", acceptance(Doubts()))):
        with pytest.raises(StoreError, match="an acceptance, and it alone"):
            apply(state, commit(3, kind=kind, accepts=accepts))


def test_a_doubt_that_another_reading_splits_counts_once() -> None:
    state = accepted(doubted(time(8, since=2)))
    state = changed(state, Change(unproven=(time(8, since=5),)))
    assert (len(state.unproven), len(state.new_doubts), len(state.acceptances[0].doubts)) == (2, 0, 1)
    assert state.acceptances[0].doubts.times == (time(8, since=2),)


def named(state: State) -> list[tuple[Unproven, ...]]:
    return [one.doubts.unproven for one in state.acceptances]


def test_what_one_reading_has_in_pieces_another_has_as_a_whole() -> None:
    whole, pieces = time(8, since=2), (time(8, since=5), time(4, rows=0, since=2))
    state = accepted(doubted(*pieces))
    everything = (Interval(0, END),)
    for again in ((whole,), pieces, (time(8, since=7), time(6, rows=0, since=2)), (whole,)):
        state = changed(state, Change(proves=everything, unproven=again))
        assert (len(state.new_doubts), len(state.acceptances)) == (0, 1)
    assert named(state) == [(whole,)]
    # A piece without rows says only where a list ended: nobody has accepted that it ended higher up.
    state = changed(state, Change(proves=everything, unproven=(time(4, rows=0, since=1),)))
    assert (len(state.new_doubts), state.acceptances) == (1, ())


def test_pieces_that_were_accepted_one_by_one_are_accepted_as_a_whole() -> None:
    state = accepted(accepted_after(doubted(time(4, since=2)), time(8, since=4)))
    assert [len(one.doubts) for one in state.acceptances] == [1, 1]
    state = changed(state, Change(proves=(Interval(0, END),), unproven=(time(8, since=2),)))
    assert (len(state.new_doubts), named(state)) == (0, [(time(8, since=2),)])


def accepted_after(state: State, more: Unproven) -> State:
    """Returns the accepted state with another doubt that touches the accepted one."""
    return changed(accepted(state), Change(unproven=(more,)))


def test_a_group_of_rows_that_touches_another_is_accepted_with_no_more_rows_than_its_own() -> None:
    upper, lower = time(8, rows=14, since=4), time(4, rows=12, since=2)
    state = accepted(doubted(upper, lower))
    for rows, is_new in ((12, False), (13, True)):
        again = (upper, time(4, rows=rows, since=2))
        after = changed(state, Change(proves=(Interval(0, END),), unproven=again))
        assert len(after.new_doubts) == is_new
