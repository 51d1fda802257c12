"""Which parts are merged: few enough to cost little, and enough to leave no crumb."""

from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.model import DataFile, Interval
from exporter.plan.merging import choose_merges

LEAST, TARGET = 16, 256


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


def merged_sizes(*sizes: int) -> list[list[int]]:
    groups = choose_merges(parts(*sizes), least_bytes=LEAST, target_bytes=TARGET)
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
    assert choose_merges(apart, least_bytes=LEAST, target_bytes=TARGET) == []


@given(st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=30), min_size=1, max_size=3))
def test_no_crumb_is_left_and_nothing_grows_beyond_the_target(partitions: list[list[int]]) -> None:
    files = [
        file
        for number, sizes in enumerate(partitions)
        for file in parts(*sizes, date=f"2026-02-{number + 10}", first=1000 * number)
    ]
    groups = choose_merges(reversed(files), least_bytes=LEAST, target_bytes=TARGET)
    taken = {file.path: number for number, group in enumerate(groups) for file in group}
    assert len(taken) == sum(map(len, groups))
    for group in groups:
        assert len({file.partition["created_date"] for file in group}) == 1
        assert all(after.window.start == before.window.end for before, after in pairwise(group))
        # At most one large part between two heaps, each of them too small to be a part.
        assert sum(file.size_bytes for file in group) <= max(TARGET, *(file.size_bytes for file in group)) + 2 * LEAST
        assert any(file.size_bytes < LEAST for file in group)
    for _, together in groupby(files, lambda file: file.partition["created_date"]):
        sizes: dict[object, int] = {}
        for file in together:
            key = taken.get(file.path, file.path)
            sizes[key] = sizes.get(key, 0) + file.size_bytes
        assert len(sizes) == 1 or min(sizes.values()) >= LEAST
