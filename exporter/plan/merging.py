"""Which small parts are made one: neighbours in a partition, so that it has no crumbs. Pure."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from exporter.model import DataFile


def choose_merges(files: Iterable[DataFile], *, least_bytes: int, target_bytes: int) -> list[tuple[DataFile, ...]]:
    """Groups of parts to merge, each in one table and partition, from old to new and next to one another.

    Afterwards no part is smaller than `least_bytes`, unless it is its partition's only one. A large part is rewritten
    only for crumbs that are too few for a part of their own.
    """

    def place(file: DataFile) -> tuple[str, list[tuple[str, str]]]:
        return file.table, sorted(file.partition.items())

    ordered = sorted(files, key=lambda file: (*place(file), file.window.start))
    return [
        tuple(parts[start:end])
        for parts in (list(parts) for _, parts in groupby(ordered, place))
        for start, end in _joined(_ranges([part.size_bytes for part in parts], least_bytes, target_bytes))
        if end - start > 1
    ]


def _ranges(sizes: Sequence[int], least: int, target: int) -> list[tuple[int, int]]:
    """Half-open ranges of positions; two of them may share the large part between two heaps of crumbs."""
    ranges = []
    end = 0
    for is_small, positions in groupby(range(len(sizes)), lambda position: sizes[position] < least):
        start, end = end, end + len(list(positions))
        if is_small:
            ranges += _heaps(sizes, start, end, least, target)
    return ranges


def _heaps(sizes: Sequence[int], start: int, end: int, least: int, target: int) -> list[tuple[int, int]]:
    """Cuts crumbs into heaps that are parts of their own; if there is too little for one, a neighbour takes it."""
    heaps = []
    first, size = start, 0
    for position in range(start, end):
        if size >= least and size + sizes[position] > target:
            heaps.append((first, position))
            first, size = position, 0
        size += sizes[position]
    if size >= least:
        return [*heaps, (first, end)]
    if heaps:
        return [*heaps[:-1], (heaps[-1][0], end)]
    neighbours = [position for position in (start - 1, end) if 0 <= position < len(sizes)]
    if not neighbours:
        return [(start, end)]
    nearest = min(neighbours, key=sizes.__getitem__)
    return [(min(start, nearest), max(end, nearest + 1))]


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
