"""Tests which parts are merged: few enough to cost little, and enough to leave no crumb."""

from collections.abc import Iterable
from itertools import groupby, pairwise, takewhile
from math import log2

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exporter.coverage import Coverage, Interval
from exporter.model import DataFile
from exporter.schedule.compaction import choose_merges

LEAST, TARGET = 16, 256
ALL = Coverage([Interval(0, 1_000_000)])
TODAY = {"created_date": "2026-02-10"}


def parts(*sizes: int, date: str = "2026-02-10", first: int = 0) -> list[DataFile]:
    return [
        DataFile(
            path=f"conversations/created_date={date}/part-{first + number}.parquet",
            table="conversations",
            partition={"created_date": date},
            rows=1,
            size_bytes=size,
            sha256="",
            created_at_min=number,
            created_at_max=number,
            window=Interval(first + number, first + number + 1),
        )
        for number, size in enumerate(sizes)
    ]


def choose(
    files: Iterable[DataFile], coverage: Coverage = ALL, growing: dict[str, str] | None = None
) -> list[tuple[DataFile, ...]]:
    return choose_merges(files, coverage, least_bytes=LEAST, target_bytes=TARGET, growing=growing)


def merged_sizes(*sizes: int, growing: bool = False) -> list[list[int]]:
    groups = choose(parts(*sizes), growing=TODAY if growing else None)
    return [[file.size_bytes for file in group] for group in groups]


def test_crumbs_become_a_part_of_their_own_where_there_are_enough() -> None:
    assert merged_sizes(200, 5, 5, 6, 200) == [[5, 5, 6]]
    assert merged_sizes(*[10] * 30) == [[10] * 25, [10] * 5]
    assert merged_sizes(*[10] * 26) == [[10] * 26]


def test_a_few_crumbs_go_to_the_smaller_neighbour() -> None:
    assert merged_sizes(200, 5, 100) == [[5, 100]]
    assert merged_sizes(100, 5, 5, 200) == [[100, 5, 5]]
    assert merged_sizes(3, 100, 4, 120) == [[3, 100, 4]]


def test_what_cannot_be_merged_or_need_not_be_is_left_alone() -> None:
    assert merged_sizes() == merged_sizes(5) == merged_sizes(16, 100) == []
    assert merged_sizes(2, 3) == [[2, 3]]
    apart = [*parts(5), *parts(5, date="2026-02-11", first=10)]
    assert choose(apart) == []


@given(st.lists(st.lists(st.integers(1, TARGET + LEAST - 1), min_size=1, max_size=30), min_size=1, max_size=3))
def test_no_crumb_is_left_and_nothing_grows_beyond_the_target(partitions: list[list[int]]) -> None:
    files = [
        file
        for number, sizes in enumerate(partitions)
        for file in parts(*sizes, date=f"2026-02-{number + 10}", first=1000 * number)
    ]
    groups = choose(reversed(files))
    taken = {file.path: number for number, group in enumerate(groups) for file in group}
    assert len(taken) == sum(map(len, groups))
    for group in groups:
        assert len({file.partition["created_date"] for file in group}) == 1
        assert all(after.window.start == before.window.end for before, after in pairwise(group))
        # There is at most one large part between two heaps, each of which is too small to be a part.
        assert sum(file.size_bytes for file in group) <= max(TARGET, *(file.size_bytes for file in group)) + 2 * LEAST
        assert any(file.size_bytes < LEAST for file in group)
    for _, together in groupby(files, lambda file: file.partition["created_date"]):
        sizes: dict[object, int] = {}
        for file in together:
            key = taken.get(file.path, file.path)
            sizes[key] = sizes.get(key, 0) + file.size_bytes
        assert len(sizes) == 1 or min(sizes.values()) >= LEAST


def test_full_neighbours_take_no_crumbs() -> None:
    assert merged_sizes(271, 5) == [[271, 5]]
    assert merged_sizes(272, 5) == merged_sizes(272, 5, 300) == []
    assert merged_sizes(272, 5, 6, 271) == [[5, 6, 271]]
    assert merged_sizes(272, 5, 6) == [[5, 6]]


def test_nothing_is_merged_across_what_is_not_covered() -> None:
    files = parts(5, 6, 7, 8)
    del files[2]
    assert choose(files, Coverage([Interval(0, 2), Interval(3, 4)])) == [tuple(files[:2])]
    assert choose(files[1:], Coverage([Interval(0, 2), Interval(3, 4)])) == []
    # This is covered, and has no row.
    assert choose(files) == [tuple(files)]


def test_a_growing_partition_keeps_crumbs_of_different_sizes() -> None:
    assert merged_sizes(8, 4, 2, growing=True) == merged_sizes(200, 5, growing=True) == []
    assert merged_sizes(8, 3, 2, 1, growing=True) == [[3, 2, 1]]
    assert merged_sizes(2, 5, 3, growing=True) == [[2, 5, 3]]
    assert merged_sizes(200, 8, 4, 3, 1, growing=True) == [[8, 4, 3, 1]]
    assert merged_sizes(100, 5, 200, 4, 2, growing=True) == [[100, 5]]
    yesterday = [*parts(200, 5), *parts(8, 4, date="2026-02-11", first=10)]
    assert choose(yesterday, growing={"created_date": "2026-02-11"}) == [tuple(yesterday[:2])]


def after(files: list[DataFile], groups: Iterable[tuple[DataFile, ...]], shrunk_by: float = 0) -> list[DataFile]:
    """Returns the files when `groups` are merged, each to a file that is smaller than its sources by this share."""
    left = {file.path: file for file in files}
    for group in groups:
        for file in group:
            del left[file.path]
        size = max(1, round(sum(file.size_bytes for file in group) * (1 - shrunk_by)))
        (merged,) = parts(size, date=group[0].partition["created_date"], first=group[0].window.start)
        rows, window = sum(file.rows for file in group), Interval(group[0].window.start, group[-1].window.end)
        left[merged.path] = msgspec.structs.replace(merged, rows=rows, window=window)
    assert len({*left}) == len(files) - sum(map(len, groups)) + len(list(groups))
    return sorted(left.values(), key=lambda file: file.window)


def settle(files: list[DataFile], shrunk_by: float, growing: dict[str, str] | None) -> tuple[list[DataFile], int]:
    """Returns the files when nothing is left to merge, and the bytes that were written."""
    written = 0
    while groups := choose(files, growing=growing):
        before, files = files, after(files, groups, shrunk_by)
        written += sum(file.size_bytes for file in files if file not in before)
        assert len(files) < len(before)
        assert sum(file.rows for file in files) == sum(file.rows for file in before)
        assert all(one.window.end <= other.window.start for one, other in pairwise(files))
    return files, written


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=40),
    st.sampled_from([0, 0.1, 0.5]),
    st.booleans(),
)
def test_it_comes_to_rest_with_few_small_parts(sizes: list[int], shrunk_by: float, is_growing: bool) -> None:
    files, _ = settle(parts(*sizes), shrunk_by, TODAY if is_growing else None)
    left = [file.size_bytes for file in files]
    newest = list(takewhile(lambda size: size < LEAST, reversed(left)))
    if is_growing:
        assert sum(newest) < LEAST
        assert len(newest) <= log2(LEAST) + 1
        assert all(size > sum(newest[:number]) for number, size in enumerate(newest))
        left = left[: len(left) - len(newest)]
    for number, size in enumerate(left):
        beside = left[max(0, number - 1) : number] + left[number + 1 : number + 2]
        assert size >= LEAST or all(other >= TARGET + LEAST for other in beside)


@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=24), min_size=1, max_size=8),
    st.sampled_from([LEAST // 4, LEAST, 3 * LEAST]),
)
def test_what_is_written_is_in_proportion_to_what_is_added(days: list[list[int]], most: int) -> None:
    """Each run adds a part of at most `most` to its day; a day that is over is merged by the first run of the next."""
    files: list[DataFile] = []
    added = written = clock = 0
    for number, sizes in enumerate(days):
        date = f"2026-02-{number + 10}"
        for size in (min(size, most) for size in sizes):
            files += parts(size, date=date, first=clock)
            clock += 1
            added += size
            files, more = settle(files, 0, {"created_date": date})
            written += more
            small = [file for file in files if file.size_bytes < LEAST and file.partition["created_date"] == date]
            assert len(small) <= log2(LEAST) + 1
    # A row's part is twice as large each time, until it is a part of its own; then it may take crumbs, when another
    # comes or the day is over.
    assert written <= (log2(LEAST) + 4) * added
    files, more = settle(files, 0, None)
    for _, day in groupby(files, lambda file: file.partition["created_date"]):
        left = [file.size_bytes for file in day]
        assert len(left) == 1 or min(left) >= LEAST


def test_a_month_of_hours_in_one_partition_costs_little() -> None:
    cost = {}
    for growing in (None, TODAY):
        files: list[DataFile] = []
        cost[growing is not None] = 0
        for hour in range(720):
            files, written = settle([*files, *parts(1, first=hour)], 0, growing)
            cost[growing is not None] += written
    assert cost[False] > 100 * 720
    assert cost[True] < 3 * 720
