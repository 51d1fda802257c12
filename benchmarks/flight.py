"""Measures rows per second against requests in flight, for pages that take seconds and have only a few fields.

Each level reads the same number of pages per request in flight, so that all take the same time. The lower levels run
side by side, because they wait nearly all of the time.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Final

import msgspec

from benchmarks.exports import ONLY_FEW_FIELDS, run_export
from benchmarks.measurement import spread
from benchmarks.rows import FEW_FIELDS, repeat_conversations
from benchmarks.server import Server, serving
from benchmarks.size import Size

_PAGE_ROWS: Final = 1000
#: The most requests in flight of levels that run side by side.
_SIDE_BY_SIDE: Final = 32


class Case(msgspec.Struct, frozen=True):
    """Holds the seconds from the first request to the last answer, by round."""

    in_flight: int
    rows: int
    latency_seconds: float
    seconds: list[float]

    @property
    def rates(self) -> list[float]:
        """Returns rows per second, by round."""
        return [self.rows / seconds for seconds in self.seconds]

    @property
    def ideal_rate(self) -> float:
        return self.in_flight * _PAGE_ROWS / self.latency_seconds


class Result(msgspec.Struct, frozen=True):
    cases: list[Case]

    @property
    def linearity(self) -> list[float]:
        """Returns the rate per request in flight of the highest level ÷ that of the lowest, by round."""
        one, most = self.cases[0], self.cases[-1]
        share = one.in_flight / most.in_flight
        return [rate * share / alone for rate, alone in zip(most.rates, one.rates, strict=True)]


def measure(size: Size, work: Path) -> Result:
    rows = {level: level * size.flight_pages_each * _PAGE_ROWS for level in size.flight_levels}
    seconds: dict[int, list[float]] = {level: [] for level in size.flight_levels}
    with ExitStack() as stack:
        servers = {
            level: stack.enter_context(
                serving(
                    partial(repeat_conversations, rows[level], "flat", transcripts=False),
                    latency_seconds=size.flight_latency_seconds,
                    warm_fields=FEW_FIELDS,
                )
            )
            for level in size.flight_levels
        }

        def read(level: int) -> float:
            return _read(servers[level], work / f"target-{level}", rows[level], level)

        for _ in range(size.flight_rounds):
            for together in _groups(size.flight_levels):
                with ThreadPoolExecutor(len(together)) as pool:
                    for level, taken in zip(together, pool.map(read, together), strict=True):
                        seconds[level].append(taken)
    return Result(
        [Case(level, rows[level], size.flight_latency_seconds, seconds[level]) for level in size.flight_levels]
    )


def _read(server: Server, target: Path, rows: int, level: int) -> float:
    run_export(target, server.url, rows, "--concurrency", str(level), *ONLY_FEW_FIELDS)
    rmtree(target)
    traffic = server.take_traffic()
    return traffic.ended - traffic.began


def _groups(levels: Sequence[int]) -> Iterator[list[int]]:
    """Groups neighbouring levels that together have few requests in flight."""
    group: list[int] = []
    for level in levels:
        if group and sum(group) + level > _SIDE_BY_SIDE:
            yield group
            group = []
        group.append(level)
    yield group


def describe(result: Result) -> list[str]:
    latency_seconds = result.cases[0].latency_seconds
    lines = [
        f"{latency_seconds:.1f} s a page, a few fields",
        f"{'in flight':12}{'rows/s':>32}{'÷ ideal':>24}",
    ]
    for case in result.cases:
        shares = [rate / case.ideal_rate for rate in case.rates]
        lines += [f"{case.in_flight:<12}{spread(case.rates, 0):>32}{spread(shares):>24}"]
    return [*lines, f"a request in flight, the most ÷ the least: {spread(result.linearity)}"]
