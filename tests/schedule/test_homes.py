"""Tests homes: every instant of the range has one, inside its partition, and no two share an instant."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY
from exporter.coverage import Coverage, Interval
from exporter.model import DataFile
from exporter.partitions import partition_of
from exporter.schedule.homes import Home, Homes
from exporter.settings import PartitionBy

T0 = 20_000 * DAY


def part(start: int, end: int, oldest: int, newest: int, partition: dict[str, str]) -> DataFile:
    return DataFile(
        path=f"conversations/part-{start}.parquet",
        table="conversations",
        partition=partition,
        rows=1,
        size_bytes=1,
        sha256="",
        created_at_min=oldest,
        created_at_max=newest,
        window=Interval(start, end),
    )


def homes_of(files: list[DataFile], *covered: Interval, by: PartitionBy = "day") -> Homes:
    return Homes(files, Coverage(covered), lambda instant: partition_of(instant, by))


def day(number: int) -> dict[str, str]:
    return partition_of(T0 + number * DAY, "day")[0]


#: A part with rows of the second day, whose window reaches over three.
WIDE = part(T0, T0 + 3 * DAY, T0 + DAY, T0 + 2 * DAY - 1, day(1))


def test_a_part_is_home_to_its_own_partition_alone() -> None:
    homes = homes_of([WIDE], Interval(T0 - DAY, T0 + 5 * DAY))
    own = Home(Interval(T0 + DAY, T0 + 2 * DAY), day(1), WIDE)
    assert homes.of(T0 + DAY) == homes.of(T0 + 2 * DAY - 1) == own
    assert homes.of(T0 + DAY - 1) == Home(Interval(T0, T0 + DAY), day(0), None)
    assert homes.of(T0 + 2 * DAY) == Home(Interval(T0 + 2 * DAY, T0 + 3 * DAY), day(2), None)
    assert homes.of(T0 - DAY) == Home(Interval(T0 - DAY, T0), day(-1), None)


def test_a_part_is_home_to_all_its_rows_even_if_the_rules_of_its_time_zone_have_changed() -> None:
    both = part(T0, T0 + 3 * DAY, T0 + DAY, T0 + 2 * DAY + 5, day(1))
    homes = homes_of([both], Interval(T0, T0 + 3 * DAY))
    assert homes.of(T0 + 2 * DAY + 5) == Home(Interval(T0 + DAY, T0 + 2 * DAY + 6), day(1), both)
    assert homes.of(T0 + 2 * DAY + 6) == Home(Interval(T0 + 2 * DAY + 6, T0 + 3 * DAY), day(2), None)


def test_a_gap_ends_where_a_part_of_its_partition_begins() -> None:
    above = part(T0 + DAY // 2, T0 + DAY, T0 + DAY // 2, T0 + DAY - 1, day(0))
    below = part(T0 - 2 * DAY, T0 + 5, T0, T0 + 4, day(0))
    homes = homes_of([above, below], Interval(T0 - 3 * DAY, T0 + DAY + 7))
    assert homes.of(T0 + 5) == homes.of(T0 + DAY // 2 - 1) == Home(Interval(T0 + 5, T0 + DAY // 2), day(0), None)
    assert homes.of(T0 + DAY) == Home(Interval(T0 + DAY, T0 + DAY + 7), day(1), None)
    assert homes.of(T0 + 4).file is below


def test_a_gap_ends_where_nothing_has_been_read() -> None:
    homes = homes_of([], Interval(T0 + 5, T0 + 9), Interval(T0 + 20, T0 + 2 * DAY))
    assert homes.of(T0 + 5) == homes.of(T0 + 8) == Home(Interval(T0 + 5, T0 + 9), day(0), None)
    assert homes.of(T0 + 20) == Home(Interval(T0 + 20, T0 + DAY), day(0), None)
    assert homes.of(T0 + DAY) == Home(Interval(T0 + DAY, T0 + 2 * DAY), day(1), None)


def test_what_a_gap_takes_from_the_windows_of_parts() -> None:
    homes = homes_of([WIDE], Interval(T0, T0 + 3 * DAY))
    assert [home.file for home in homes.overlapping(Interval(T0, T0 + 1))] == [WIDE]
    assert homes.overlapping(Interval(T0 + 3 * DAY, T0 + 4 * DAY)) == []


def test_without_partitions_and_without_a_beginning() -> None:
    whole = part(BEGINNING, T0, T0 - 9, T0 - 1, {})
    homes = homes_of([whole], Interval(BEGINNING, T0 + 5), by="none")
    assert homes.of(BEGINNING + 1).file is whole
    assert homes.of(T0) == Home(Interval(T0, T0 + 5), {}, None)
    assert homes_of([], Interval(BEGINNING, T0), by="none").of(T0 - 1) == Home(Interval(BEGINNING, T0), {}, None)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[DataFile], Coverage, PartitionBy]:
    """Draws parts as exports leave them: disjoint windows, each of one partition's rows, gaps and holes between."""
    by: PartitionBy = draw(st.sampled_from(("day", "hour", "month", "none")))
    edges = sorted(draw(st.sets(st.integers(T0 - 40 * DAY, T0 + 40 * DAY), min_size=2, max_size=12)))
    files, holes = [], []
    for start, end in pairwise(edges):
        what = draw(st.sampled_from(("part", "part", "gap", "hole")))
        if what == "hole":
            holes.append(Interval(start, end))
        if what == "part":
            one = draw(st.integers(start, end - 1))
            partition, shared = partition_of(one, by)
            bounds = (
                Interval(start, end) if shared is None else Interval(max(start, shared.start), min(end, shared.end))
            )
            other = draw(st.integers(bounds.start, bounds.end - 1))
            files.append(part(start, end, min(one, other), max(one, other), partition))
    beyond = draw(st.integers(0, 2 * DAY))
    covered = Coverage([Interval(edges[0] - beyond, edges[-1] + beyond + 1)]) - Coverage(holes)
    return files, covered, by


@given(layouts(), st.data())
def test_any_two_homes_are_one_or_share_no_instant(
    layout: tuple[list[DataFile], Coverage, PartitionBy], data: st.DataObject
) -> None:
    files, covered, by = layout
    homes = homes_of(files, *covered, by=by)
    edges = {edge for file in files for edge in (file.window.start, file.window.end - 1, file.created_at_min)}
    edges |= {edge for interval in covered for edge in (interval.start, interval.end - 1)}
    edges = {edge for edge in edges if any(edge in interval for interval in covered)}
    within = [st.integers(interval.start, interval.end - 1) for interval in covered]
    near = st.one_of(*within, st.sampled_from(sorted(edges)))
    found = []
    for instant in data.draw(st.lists(near, max_size=12)):
        home = homes.of(instant)
        found.append(home)
        assert instant in home.interval
        assert not Coverage([home.interval]) - covered
        for other in (home.interval.start, home.interval.end - 1):
            assert partition_of(other, by)[0] == home.partition
            assert homes.of(other) == home
        speaking = [file for file in files if instant in file.window and file.partition == home.partition]
        assert home.file is (speaking[0] if speaking else None)
        assert len(speaking) <= 1
        if home.file is None:
            # A part that is narrowed to its own home leaves all of the gap free.
            narrowed = Coverage(each.interval for each in homes.overlapping(home.interval))
            assert not narrowed & Coverage([home.interval])
    intervals = {home.interval for home in found}
    assert Coverage(intervals).length == sum(interval.end - interval.start for interval in intervals)
