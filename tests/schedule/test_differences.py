"""Tests that each difference is found once and of the right kind, however the two sides are cut into batches."""

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import SECOND, Instant
from exporter.coverage import Coverage, Interval
from exporter.schedule.differences import Difference, LastRead, Versions, find_differences, join_some

T0 = 1_770_000_000 * SECOND
READ = T0 + 1000 * SECOND
LAST_READ = LastRead([(READ, Coverage([Interval(T0, T0 + 3600 * SECOND)]))], lag=60 * SECOND)

Row = tuple[str, Instant, Instant | None]
Rows = dict[str, tuple[Instant, Instant | None]]

STATES = st.sampled_from([None, READ - 900 * SECOND, READ - 600 * SECOND, READ, READ - 60 * SECOND])
#: `created_at` in seconds; how the list and the dataset have it (absent, or with this `updated_at`); a served
#: `created_at` that is coarser in one of the two.
KNOWN = st.tuples(st.integers(0, 40), st.booleans(), STATES, st.booleans(), STATES, st.integers(0, 999_999))


def batches(rows: list[Row], cuts: list[int]) -> Iterator[Versions]:
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, end in pairwise(edges):
        yield tuple(map(list, zip(*rows[start:end], strict=True)))  # type: ignore[misc]


def ordered(rows: Rows) -> list[Row]:
    found = [(identity, created_at, updated_at) for identity, (created_at, updated_at) in rows.items()]
    return sorted(found, key=lambda row: -row[1])


def naive(listed: Rows, kept: Rows) -> dict[str, str]:
    found = dict.fromkeys(kept.keys() - listed.keys(), "deleted")
    for identity, (created_at, there) in listed.items():
        if identity not in kept:
            at = created_at if there is None else there
            found[identity] = "later" if at >= READ - 60 * SECOND else "missing"
        elif there is not None and (here := kept[identity][1]) is not None and there != here:
            found[identity] = "later" if there >= READ - 60 * SECOND else "changed"
    return found


@given(st.lists(KNOWN, max_size=40), st.lists(st.integers(0, 40)), st.lists(st.integers(0, 40)), st.booleans())
def test_all_differences_are_found_once(
    known: list[tuple[int, bool, Instant | None, bool, Instant | None, int]],
    cuts: list[int],
    others: list[int],
    apart: bool,
) -> None:
    listed: Rows = {}
    kept: Rows = {}
    for number, (second, is_listed, there, is_kept, here, beside) in enumerate(known):
        if is_listed:
            listed[f"c{number}"] = T0 + second * SECOND + beside, there
        if is_kept:
            kept[f"c{number}"] = T0 + second * SECOND, here
    here_rows = ordered(kept)
    there_rows = ordered(listed)
    some = there_rows[::3] if apart else []
    rest = [row for row in there_rows if row not in some]
    found = list(find_differences(join_some(batches(rest, cuts), some[::-1]), batches(here_rows, others), LAST_READ))
    assert len({one.id for one in found}) == len(found)
    assert {one.id: one.kind for one in found} == naive(listed, kept)
    for one in found:
        assert one.created_at == (kept if one.kind == "deleted" else listed)[one.id][0]


def test_no_more_rows_wait_than_the_sides_are_apart() -> None:
    rows: list[Row] = [(f"c{number}", T0 + number * SECOND, READ) for number in range(3000, 0, -1)]
    drawn: list[int] = [0, 0]

    def watched(side: int) -> Iterator[Versions]:
        for batch in batches(rows, list(range(0, 3000, 100))):
            drawn[side] += len(batch[0])
            assert abs(drawn[0] - drawn[1]) <= 200
            yield batch

    assert list(find_differences(watched(0), watched(1), LAST_READ)) == []
    assert drawn == [3000, 3000]


def test_each_interval_has_its_own_time_of_reading() -> None:
    first, second = Coverage([Interval(0, 10), Interval(20, 30)]), Coverage([Interval(10, 20)])
    last_read = LastRead([(500, first), (900, second)], lag=100)
    assert [last_read.since(instant) for instant in (0, 9, 10, 19, 20, 29)] == [400, 400, 800, 800, 400, 400]
    versions: Versions = (["a"], [15], [500])
    assert list(find_differences(iter([versions]), iter(()), last_read)) == [Difference("missing", "a", 15)]


def test_where_nothing_was_read_nothing_happened_since() -> None:
    versions: Versions = (["a"], [T0], [READ * 2])
    assert list(find_differences(iter([versions]), iter(()), LastRead([], 0))) == [Difference("missing", "a", T0)]
