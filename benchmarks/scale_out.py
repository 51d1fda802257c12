"""Measures exports in two processes beside plain ones with as many requests in flight, against an API that takes its
time, and what a row costs in CPU, start aside.

A process more is no gain where the API decides how long a run takes, so that the ratio shows what tasks cost: their
first questions, their ends, and how well the work is shared out. The server times the reading, as in `reading`.
"""

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Final

import msgspec

from benchmarks.exports import ONLY_FEW_FIELDS, check, environment, export_command
from benchmarks.measurement import ratios, run, spread
from benchmarks.rows import FEW_FIELDS, SINCE, UNTIL, repeat_conversations
from benchmarks.server import Server, serving
from benchmarks.size import Size
from exporter.contract import format_instant
from exporter.sandbox import Density

#: The requests in flight of a process.
_IN_FLIGHT: Final = 2
#: `one-burst` has three quarters of the rows in 3 % of the time; `bursts` has most of them in a few hours.
_DENSITIES: Final[tuple[Density, ...]] = ("flat", "one-burst", "many-bursts")
_TASK: Final = re.compile(r"-t(\d{6})-")
#: Python code, because one process beside the driver's own can only be asked for by a program.
_ONE_PROCESS: Final = (
    "import sys; from exporter import ExportSpec, blocking; from exporter.engines.processes import processes; "
    "directory, since, until, concurrency, page_size, fields = sys.argv[1:]; engine = processes(1); "
    "blocking.export(ExportSpec(destination=directory, since=since, until=until, concurrency=int(concurrency), "
    "page_size=int(page_size), fields=fields), engine=engine); engine.close()"
)


class Run(msgspec.Struct, frozen=True):
    reading_seconds: float
    cpu_seconds: float
    requests: int
    tasks: int


class Case(msgspec.Struct, frozen=True):
    """Holds the runs of a density: plain with half as many requests in flight (`half`) and with as many (`plain`), with
    one process (`one`) and with two (`two`)."""

    density: str
    pages: int
    runs: dict[str, list[Run]]

    def seconds(self, name: str) -> list[float]:
        return [run.reading_seconds for run in self.runs[name]]

    @property
    def slowdowns(self) -> list[float]:
        """Returns the time of two processes ÷ that of a plain run with as many requests in flight, by round."""
        return ratios(self.seconds("two"), self.seconds("plain"))

    @property
    def allowances(self) -> list[float]:
        """Returns requests ÷ (1.05 × pages + 6 a task), by round."""
        return [run.requests / (1.05 * self.pages + 6 * run.tasks) for run in self.runs["two"]]


class Result(msgspec.Struct, frozen=True):
    """`cpu` has the CPU seconds of plain runs and of two processes, by round, of `rows` and of twice as many."""

    cases: list[Case]
    latency_seconds: float
    rows: int
    cpu: dict[str, list[tuple[float, float]]]

    @property
    def cpu_ratios(self) -> list[float]:
        """Returns the CPU a row in processes ÷ that in a plain run, by round."""
        surplus = {name: [more - less for less, more in found] for name, found in self.cpu.items()}
        return ratios(surplus["two"], surplus["plain"])


def measure(size: Size, work: Path) -> Result:
    runs: dict[Density, dict[str, list[Run]]] = {}
    rows = size.scale_pages * size.scale_page_rows
    with ExitStack() as stack:
        servers = {
            density: stack.enter_context(
                serving(
                    partial(repeat_conversations, rows, density, transcripts=False),
                    latency_seconds=size.reading_latency_seconds,
                    warm_fields=FEW_FIELDS,
                )
            )
            for density in _DENSITIES
        }
        for _ in range(size.scale_rounds):
            for density, server in servers.items():
                found = runs.setdefault(density, {})
                for name, command in _commands(work / "target", size.scale_page_rows).items():
                    if density == "flat" or name in ("plain", "two"):
                        found.setdefault(name, []).append(_read(command, work / "target", server, rows))
    cases = [Case(density, size.scale_pages, found) for density, found in runs.items()]
    return Result(cases, size.reading_latency_seconds, size.cost_rows, _measure_cpu(size, work))


def _commands(target: Path, page_rows: int) -> dict[str, list[str | Path]]:
    few = ("--page-size", str(page_rows), *ONLY_FEW_FIELDS)
    numbers = (str(_IN_FLIGHT), str(page_rows), ONLY_FEW_FIELDS[-1])
    return {
        "half": export_command(target, "--concurrency", str(_IN_FLIGHT), *few),
        "plain": export_command(target, "--concurrency", str(2 * _IN_FLIGHT), *few),
        "one": [sys.executable, "-c", _ONE_PROCESS, target, format_instant(SINCE), format_instant(UNTIL), *numbers],
        "two": export_command(target, "--processes", "2", "--concurrency", str(_IN_FLIGHT), *few),
    }


def _read(command: Sequence[str | Path], target: Path, server: Server, rows: int) -> Run:
    cost = run(command, environment(server.url))
    check(target, rows)
    traffic = server.take_traffic()
    # Merged files have other names, so that the log alone knows all tasks.
    commits = (commit.read_text() for commit in (target / "_exporter/commits").iterdir())
    tasks = {number for text in commits for number in _TASK.findall(text)}
    rmtree(target)
    return Run(traffic.ended - traffic.began, cost.cpu_seconds, traffic.requests, len(tasks))


def _measure_cpu(size: Size, work: Path) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {"plain": [], "two": []}
    # So many pages are worth tasks.
    page_size = ("--page-size", str(max(1, size.cost_rows // 100)))
    target = work / "target"
    with ExitStack() as stack:
        servers = {
            rows: stack.enter_context(serving(partial(repeat_conversations, rows, "flat", transcripts=True), warm=True))
            for rows in (size.cost_rows, 2 * size.cost_rows)
        }
        for _ in range(size.scale_rounds):
            for name, options in (("plain", ()), ("two", ("--processes", "2"))):
                command = export_command(target, *page_size, *options)
                less, more = (_read(command, target, server, rows).cpu_seconds for rows, server in servers.items())
                found[name].append((less, more))
    return found


def describe(result: Result) -> list[str]:
    lines = [
        f"{_IN_FLIGHT} in flight a process, {result.latency_seconds * 1000:.0f} ms a page, few fields",
        f"{'':14}{'2 processes ÷ plain':>24}{'requests ÷ allowed':>24}{'tasks':>18}",
    ]
    for case in result.cases:
        tasks = spread([run.tasks for run in case.runs["two"]], 0)
        lines += [f"{case.density:14}{spread(case.slowdowns):>24}{spread(case.allowances):>24}{tasks:>18}"]
        if "one" in case.runs:
            halves = ratios(case.seconds("half"), case.seconds("two"))
            lines += [
                f"    plain with half as many in flight ÷ 2 processes: {spread(halves)}",
                f"    1 process ÷ 2 processes: {spread(ratios(case.seconds('one'), case.seconds('two')))}",
            ]
    rows = f"{result.rows:,} conversations with transcripts beyond as many"
    return [*lines, f"CPU of {rows}, 2 processes ÷ plain: {spread(result.cpu_ratios)}"]
