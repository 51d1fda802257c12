"""Measures how well tasks elsewhere share out a long list, in simulated time: the real queue, a list made of numbers.

The ideal is full pages alone, evenly shared among slots that differ in speed by a fifth. A task costs its call, its
connection, the doubling of its requests, a request beyond its pages for each walk, and the closing of its files.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.measurement import spread
from benchmarks.size import Size
from exporter.contract import DAY
from exporter.coverage import Interval

_DAYS: Final = 365
DENSITIES: Final = ("flat", "office hours", "growing", "one burst", "24 bursts")
#: The most that makespan ÷ ideal may be.
LIMIT: Final = 1.1


class Case(msgspec.Struct, frozen=True):
    """Holds makespan ÷ ideal, tasks, and requests ÷ pages, by seed; and the share of the rows in parts below 16 MiB."""

    density: str
    slowdowns: list[float]
    tasks: list[int]
    overheads: list[float]
    crumbs: list[float]


class Result(msgspec.Struct, frozen=True):
    rows: int
    slots: int
    cases: list[Case]


def measure(size: Size, _work: Path) -> Result:
    # Simulated time does not pass more slowly on a busy processor, so runs may share it.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        runs = {
            density: [
                pool.submit(_simulate, density, size.tasks_rows, size.tasks_slots, seed) for seed in range(size.rounds)
            ]
            for density in DENSITIES
        }
        cases = [
            Case(density, *(list(values) for values in zip(*(run.result() for run in runs[density]), strict=True)))
            for density in DENSITIES
        ]
    return Result(size.tasks_rows, size.tasks_slots, cases)


def _simulate(name: str, rows: int, slots: int, seed: int) -> tuple[float, int, float, float]:
    from tests.schedule.task_simulator import T0, density, simulate

    outcome = simulate(density(name, rows, _DAYS, seed), Interval(T0 - _DAYS * DAY, T0), slots, seed=seed)
    return outcome.slowdown, outcome.tasks, outcome.overhead, outcome.crumbs


def describe(result: Result) -> list[str]:
    heads = ("makespan ÷ ideal", "tasks", "requests ÷ pages", "rows in crumbs")
    lines = [
        f"{result.rows:,} conversations on {result.slots} slots",
        " " * 16 + "".join(f"{head:>24}" for head in heads),
    ]
    for case in result.cases:
        cells = (spread(case.slowdowns, 3), spread(case.tasks, 0), spread(case.overheads, 3), spread(case.crumbs))
        lines.append(f"{case.density:16}" + "".join(f"{cell:>24}" for cell in cells))
    return lines
