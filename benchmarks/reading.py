"""How long reading takes beside the ideal, over HTTP, however unevenly the conversations lie in time.

The ideal: full pages alone, evenly shared among the requests in flight. Reading is timed by the server, from the first
request of the run, whatever it asks for, to the last answer.
"""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Final

import msgspec

from benchmarks.exports import run_export, windows
from benchmarks.measuring import spread
from benchmarks.rows import repeat_conversations
from benchmarks.serving import serving
from benchmarks.size import Size
from exporter.sandbox import Density

_PAGE_ROWS: Final = 1000
#: `one-burst` has three quarters of the rows in 3 % of the time.
DENSITIES: Final[tuple[Density, ...]] = ("flat", "office", "one-burst")


class Run(msgspec.Struct, frozen=True):
    reading_seconds: float
    wall_seconds: float
    cpu_seconds: float
    requests: int
    windows: int


class Case(msgspec.Struct, frozen=True):
    density: str
    pages: int
    in_flight: int
    latency_seconds: float
    runs: list[Run]

    @property
    def slowdowns(self) -> list[float]:
        """Reading ÷ ideal, by round."""
        return [run.reading_seconds / (self.pages * self.latency_seconds / self.in_flight) for run in self.runs]

    @property
    def overheads(self) -> list[float]:
        """Requests ÷ pages, by round."""
        return [run.requests / self.pages for run in self.runs]

    @property
    def allowances(self) -> list[float]:
        """Requests ÷ (1.05 × pages + 2 a window), by round."""
        return [run.requests / (1.05 * self.pages + 2 * run.windows) for run in self.runs]


class Result(msgspec.Struct, frozen=True):
    cases: list[Case]


def measure(size: Size, work: Path) -> Result:
    rows, latency_seconds = size.reading_pages * _PAGE_ROWS, size.reading_latency_seconds
    runs: dict[Density, list[Run]] = {density: [] for density in DENSITIES}
    with ExitStack() as stack:
        servers = {
            density: stack.enter_context(
                serving(
                    partial(repeat_conversations, rows, density, transcripts=False), latency_seconds=latency_seconds
                )
            )
            for density in DENSITIES
        }
        for _ in range(size.rounds):
            for density, server in servers.items():
                target = work / "target"
                cost = run_export(target, server.url, rows, "--concurrency", str(size.reading_in_flight))
                traffic = server.take_traffic()
                runs[density].append(
                    Run(
                        traffic.ended - traffic.began,
                        cost.wall_seconds,
                        cost.cpu_seconds,
                        traffic.requests,
                        windows(target),
                    )
                )
                rmtree(target)
    return Result(
        [
            Case(density, size.reading_pages, size.reading_in_flight, latency_seconds, runs[density])
            for density in DENSITIES
        ]
    )


def describe(result: Result) -> list[str]:
    first = result.cases[0]
    lines = [
        f"{first.pages} pages, {first.in_flight} in flight, {first.latency_seconds * 1000:.0f} ms a page",
        f"{'':12}{'reading ÷ ideal':>24}{'requests ÷ pages':>24}{'windows':>24}{'wall s':>24}{'CPU s':>24}",
    ]
    for case in result.cases:
        cells = [
            spread(case.slowdowns),
            spread(case.overheads),
            spread([run.windows for run in case.runs], 0),
            spread([run.wall_seconds for run in case.runs]),
            spread([run.cpu_seconds for run in case.runs]),
        ]
        lines += [f"{case.density:12}" + "".join(f"{cell:>24}" for cell in cells)]
    return lines
