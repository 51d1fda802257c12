"""Measures the peak of an export's memory, by the number of rows of about 5 kB and of requests in flight.

A peak is the worst of many moments, in which many pages come at once. A short export ends before the worst has come, so
only the two longest are compared.
"""

from contextlib import ExitStack
from functools import partial
from math import inf
from pathlib import Path
from shutil import rmtree

import msgspec

from benchmarks.exports import run_export
from benchmarks.measurement import Cost, spread
from benchmarks.rows import repeat_conversations
from benchmarks.server import serving
from benchmarks.size import Size


class Case(msgspec.Struct, frozen=True):
    """Holds the cost of one run per round. The rows repeat a few thousand conversations."""

    rows: int
    in_flight: int
    costs: list[Cost]

    @property
    def peaks(self) -> list[float]:
        """Returns the peaks in MB, by round."""
        return [cost.peak_bytes / 1e6 for cost in self.costs]


class Result(msgspec.Struct, frozen=True):
    cases: list[Case]

    def longest(self, in_flight: int, below: float = inf) -> Case | None:
        """Returns the case of the most rows, but fewer than `below`, with this many requests in flight."""
        found = (case for case in self.cases if case.in_flight == in_flight and case.rows < below)
        return max(found, key=lambda case: case.rows, default=None)


def measure(size: Size, work: Path) -> Result:
    costs: dict[tuple[int, int], list[Cost]] = {point: [] for point in size.memory_points}
    with ExitStack() as stack:
        servers = {
            rows: stack.enter_context(serving(partial(repeat_conversations, rows, "office", transcripts=True)))
            for rows in sorted({rows for rows, _ in size.memory_points})
        }
        for _ in range(size.memory_rounds):
            for rows, in_flight in size.memory_points:
                target = work / "target"
                cost = run_export(target, servers[rows].url, rows, "--concurrency", str(in_flight))
                costs[rows, in_flight].append(cost)
                rmtree(target)
    return Result([Case(rows, in_flight, found) for (rows, in_flight), found in costs.items()])


def describe(result: Result) -> list[str]:
    lines = [f"{'rows':>12}{'in flight':>12}{'peak MB':>24}{'wall s':>28}"]
    for case in result.cases:
        wall = spread([cost.wall_seconds for cost in case.costs], 1)
        lines += [f"{case.rows:>12,}{case.in_flight:>12}{spread(case.peaks, 0):>24}{wall:>28}"]
    return [*lines, "a short export ends before the worst of many moments has come: compare the two longest"]
