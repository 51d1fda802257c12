"""Ties erasures to the days that they took conversations from, as far as the log tells. Pure.

A commit of an erasure names the parts that it replaced and those that came in their place: what it took from each
partition is the difference of their rows. So an erasure explains what its own partitions lack, and nothing else.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from exporter.coverage import Interval
from exporter.layout import partition_text
from exporter.log.state import Commit
from exporter.model import CONVERSATIONS, DataFile


class Taken(NamedTuple):
    """Counts the conversations that erasures took from one partition: they were created `within` this interval."""

    within: Interval
    rows: int


def taken_by(commits: Collection[Commit]) -> tuple[Taken, ...]:
    """Returns what the erasures among all commits of a log took, by partition."""
    files, within, rows = dict[str, DataFile](), dict[str, Interval](), Counter[str]()
    for commit in commits:
        files |= {file.path: file for file in commit.change.adds}
        if commit.kind != "erase":
            continue
        replaced = [files[path] for path in commit.change.removes]
        for sign, sides in ((1, replaced), (-1, commit.change.adds)):
            for file in sides:
                if file.table == CONVERSATIONS:
                    partition = partition_text(file.partition)
                    rows[partition] += sign * file.rows
                    within[partition] = _around(file, within.get(partition))
    return tuple(Taken(within[partition], taken) for partition, taken in rows.items() if taken > 0)


def _around(file: DataFile, other: Interval | None) -> Interval:
    start, end = file.created_at_min, file.created_at_max + 1
    return Interval(min(start, other.start), max(end, other.end)) if other else Interval(start, end)


def explained_by(taken: Collection[Taken], lacking: Mapping[int, tuple[Interval, float]]) -> frozenset[int]:
    """Returns the days of which erasures explain what they lack: none lacks more than its partitions lost, and all of
    them lack just what these lost. Days are numbers, each with what began on it and how many conversations it lacks.

    A partition that no such day overlaps does not count: there, the platform counts no erased conversation either.
    """
    near = {
        day: [one for one in taken if one.within.start < when.end and when.start < one.within.end]
        for day, (when, _) in lacking.items()
    }
    days = {day for day, (_, missing) in lacking.items() if 0 < missing <= sum(one.rows for one in near[day])}
    lost = {one for day in days for one in near[day]}
    if sum(lacking[day][1] for day in days) != sum(one.rows for one in lost):
        return frozenset()
    return frozenset(days)
