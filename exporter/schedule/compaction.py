"""Chooses which small parts to merge: neighbours in a partition, so that it has no crumbs. Pure."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from exporter.coverage import Coverage
from exporter.model import DataFile


def choose_merges(
    files: Iterable[DataFile],
    coverage: Coverage,
    *,
    least_bytes: int,
    target_bytes: int,
    growing: Mapping[str, str] | None = None,
) -> list[tuple[DataFile, ...]]:
    """Returns groups of parts to merge, each in one table and partition, from old to new and next to one another:
    nothing that is not covered lies between them.

    Afterwards no part is smaller than `least_bytes`, unless those beside it have reached `target_bytes` or there is
    none. A large part is rewritten only for crumbs that are too few for a part of their own.

    `growing` is the partition that run after run adds some newer rows to. Its newest crumbs, while too few for a part
    of their own, are merged only with one another, so that each is larger than all newer ones together. So there are at
    most as many as `least_bytes` can be halved, and each time a row is rewritten its part is twice as large.
    """
    starts = [interval.start for interval in coverage]

    def place(file: DataFile) -> tuple[str, list[tuple[str, str]], int]:
        return file.table, sorted(file.partition.items()), bisect_right(starts, file.window.start)

    ordered = sorted(files, key=lambda file: (*place(file), file.window.start))
    groups = []
    for _, together in groupby(ordered, place):
        parts = list(together)
        sizes = [part.size_bytes for part in parts]
        for start, end in _ranges(sizes, least_bytes, target_bytes, is_growing=parts[0].partition == growing):
            if end - start > 1:
                groups.append(tuple(parts[start:end]))
    return groups


def _ranges(sizes: Sequence[int], least: int, target: int, *, is_growing: bool) -> list[tuple[int, int]]:
    """Returns half-open ranges of positions, disjoint and ascending; ranges of one must be left alone."""
    ranges: list[tuple[int, int]] = []
    end = 0
    for is_small, positions in groupby(range(len(sizes)), lambda position: sizes[position] < least):
        start, end = end, end + len(list(positions))
        if not is_small:
            continue
        if sum(sizes[start:end]) >= least:
            ranges += _heaps(sizes, start, end, least, target)
        elif is_growing and end == len(sizes):
            ranges.append(_outgrown(sizes, start, end))
        else:
            ranges.append(_with_neighbour(sizes, start, end, target + least))
    return _joined(ranges)


def _heaps(sizes: Sequence[int], start: int, end: int, least: int, target: int) -> list[tuple[int, int]]:
    """Cuts crumbs that together are at least `least` into heaps that become parts of their own."""
    heaps = []
    first, size = start, 0
    for position in range(start, end):
        if size >= least and size + sizes[position] > target:
            heaps.append((first, position))
            first, size = position, 0
        size += sizes[position]
    return [*heaps, (first, end)] if size >= least else [*heaps[:-1], (heaps[-1][0], end)]


def _outgrown(sizes: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """Returns the range from the oldest crumb that is no larger than the newer ones together."""
    newer = sum(sizes[start:end])
    for position in range(start, end):
        newer -= sizes[position]
        if sizes[position] <= newer:
            return position, end
    return end, end


def _with_neighbour(sizes: Sequence[int], start: int, end: int, full: int) -> tuple[int, int]:
    """Joins crumbs too few for a part of their own with the smaller of the parts beside them, unless it is `full`."""
    neighbours = [position for position in (start - 1, end) if 0 <= position < len(sizes) and sizes[position] < full]
    if not neighbours:
        return start, end
    nearest = min(neighbours, key=sizes.__getitem__)
    return min(start, nearest), max(end, nearest + 1)


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Joins the ranges that share the large part between two heaps of crumbs."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
