"""Measures how well work is shared, in simulated time: real walks, the real scheduler, a server made of numbers.

A request takes 0.7 to 1.3 seconds. The ideal is full pages alone, evenly shared, without waiting for a first or a
last one; of 600 pages, 256 workers get two or three each.
"""

from pathlib import Path
from typing import Final

import msgspec

from benchmarks.measurement import spread
from benchmarks.size import Size
from exporter.contract import DAY
from exporter.coverage import Interval

_PAGE_ROWS: Final = 200
_DAYS: Final = 60


class Case(msgspec.Struct, frozen=True):
    """Holds makespan ÷ ideal and requests ÷ pages, by seed."""

    density: str
    workers: int
    slowdowns: list[float]
    overheads: list[float]


class Result(msgspec.Struct, frozen=True):
    pages: int
    cases: list[Case]


def measure(size: Size, _work: Path) -> Result:
    # Imported here, because real walks need all of the exporter, which must not be loaded before memory is measured.
    from tests.schedule.simulator import DENSITIES, T0, density, jitter, simulate

    cases = []
    for name in DENSITIES:
        for workers in size.simulated_workers:
            outcomes = [
                simulate(
                    density(name, size.simulated_pages * _PAGE_ROWS, _DAYS, seed),
                    Interval(T0 - _DAYS * DAY, T0),
                    workers,
                    page_size=_PAGE_ROWS,
                    latency=jitter(seed),
                )
                for seed in range(size.rounds)
            ]
            slowdowns = [outcome.slowdown for outcome in outcomes]
            cases.append(Case(name, workers, slowdowns, [outcome.overhead for outcome in outcomes]))
    return Result(size.simulated_pages, cases)


def describe(result: Result) -> list[str]:
    workers = sorted({case.workers for case in result.cases})
    lines = [f"{result.pages} pages"]
    for title, attribute in (("makespan ÷ ideal", "slowdowns"), ("requests ÷ pages", "overheads")):
        lines += [f"{title:18}" + "".join(f"{count:>22}" for count in workers)]
        for density in dict.fromkeys(case.density for case in result.cases):
            cells = [spread(getattr(case, attribute)) for case in result.cases if case.density == density]
            lines += [f"{density:18}" + "".join(f"{cell:>22}" for cell in cells)]
    return lines
