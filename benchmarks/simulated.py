"""Measures how well work is shared, in simulated time: real walks, the real scheduler, a server made of numbers.

A request takes 0.7 to 1.3 seconds. The ideal is full pages alone, evenly shared, without waiting for a first or a
last one; of 600 pages, 256 workers get two or three each. Exports of more pages are simulated where they have a target.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.measurement import spread
from benchmarks.size import Size
from exporter.contract import DAY
from exporter.coverage import Interval

_PAGE_ROWS: Final = 200
_DAYS: Final = 60
#: The most that makespan ÷ ideal may be with this many workers, by density.
WORKERS: Final = 64
LIMITS: Final = {"flat": 1.3, "office hours": 1.3, "one burst": 1.8}
#: Without a target, it is seen how it goes on.
_OTHERS: Final = ("many bursts", "one hour", "adversarial")


class Point(msgspec.Struct, frozen=True):
    """Names what is simulated, once with each seed."""

    pages: int
    density: str
    workers: int


class Case(msgspec.Struct, frozen=True):
    """Holds makespan ÷ ideal and requests ÷ pages, by seed."""

    pages: int
    density: str
    workers: int
    slowdowns: list[float]
    overheads: list[float]


class Result(msgspec.Struct, frozen=True):
    cases: list[Case]


def measure(size: Size, _work: Path) -> Result:
    points = list(_points(size))
    # Simulated time does not pass more slowly on a busy processor, so runs may share it. They are processes of their
    # own also because real walks need all of the exporter, which must not be loaded here before memory is measured.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        runs = {
            point: [pool.submit(_simulate, point, seed) for seed in range(size.rounds)]
            for point in sorted(points, key=lambda point: point.pages, reverse=True)
        }
        outcomes = {point: [run.result() for run in runs[point]] for point in points}
    return Result(
        [
            Case(
                pages=point.pages,
                density=point.density,
                workers=point.workers,
                slowdowns=[slowdown for slowdown, _ in found],
                overheads=[overhead for _, overhead in found],
            )
            for point, found in outcomes.items()
        ]
    )


def _points(size: Size) -> Iterator[Point]:
    few, *more = size.simulated_pages
    for density in (*LIMITS, *_OTHERS):
        for workers in size.simulated_workers:
            yield Point(few, density, workers)
    for pages in more:
        for density in LIMITS:
            yield Point(pages, density, WORKERS)


def _simulate(point: Point, seed: int) -> tuple[float, float]:
    """Returns makespan ÷ ideal and requests ÷ pages."""
    from tests.schedule.simulator import T0, density, jitter, simulate

    outcome = simulate(
        density(point.density, point.pages * _PAGE_ROWS, _DAYS, seed),
        Interval(T0 - _DAYS * DAY, T0),
        point.workers,
        page_size=_PAGE_ROWS,
        latency=jitter(seed),
    )
    return outcome.slowdown, outcome.overhead


def describe(result: Result) -> list[str]:
    lines = []
    for pages in dict.fromkeys(case.pages for case in result.cases):
        cases = [case for case in result.cases if case.pages == pages]
        workers = sorted({case.workers for case in cases})
        lines.append(f"{pages:,} pages")
        for title, attribute in (("makespan ÷ ideal", "slowdowns"), ("requests ÷ pages", "overheads")):
            lines += [f"{title:18}" + "".join(f"{count:>22}" for count in workers)]
            for density in dict.fromkeys(case.density for case in cases):
                cells = [spread(getattr(case, attribute)) for case in cases if case.density == density]
                lines += [f"{density:18}" + "".join(f"{cell:>22}" for cell in cells)]
    return lines
