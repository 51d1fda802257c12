"""Measures how long reading takes beside the ideal, over HTTP, for conversations spread evenly and unevenly over time.

The ideal is full pages alone, evenly shared among the requests in flight. The server times the reading, from the first
request of the run, whatever it asks for, to the last answer. With rows of few fields, the processor hardly matters; one
case has every field except the transcript, to show when it does. Short exports are measured as well, because the
questions about the API itself, and the ends of windows, weigh more there.
"""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Final

import msgspec

from benchmarks.exports import ONLY_FEW_FIELDS, run_export, windows
from benchmarks.measurement import spread
from benchmarks.rows import FEW_FIELDS, repeat_conversations
from benchmarks.server import serving
from benchmarks.size import Size
from exporter.sandbox import Density

_PAGE_ROWS: Final = 1000
#: `one-burst` has three quarters of the rows in 3 % of the time.
_DENSITIES: Final[tuple[Density, ...]] = ("flat", "office", "one-burst")


class _Kind(msgspec.Struct, frozen=True):
    pages: int
    density: Density
    whole: bool = False


class Run(msgspec.Struct, frozen=True):
    reading_seconds: float
    wall_seconds: float
    cpu_seconds: float
    requests: int
    windows: int


class Case(msgspec.Struct, frozen=True):
    """`whole` means that the rows have every field except the transcript."""

    density: str
    whole: bool
    pages: int
    in_flight: int
    latency_seconds: float
    runs: list[Run]

    @property
    def name(self) -> str:
        return f"{self.density}, {self.pages} {'whole pages' if self.whole else 'pages'}"

    @property
    def slowdowns(self) -> list[float]:
        """Returns reading ÷ ideal, by round."""
        return [run.reading_seconds / (self.pages * self.latency_seconds / self.in_flight) for run in self.runs]

    @property
    def overheads(self) -> list[float]:
        """Returns requests ÷ pages, by round."""
        return [run.requests / self.pages for run in self.runs]

    @property
    def allowances(self) -> list[float]:
        """Returns requests ÷ (1.05 × pages + 1 per window), by round."""
        return [run.requests / (1.05 * self.pages + run.windows) for run in self.runs]


class Result(msgspec.Struct, frozen=True):
    cases: list[Case]


def measure(size: Size, work: Path) -> Result:
    kinds = [_Kind(pages, density) for pages in size.reading_pages for density in _DENSITIES]
    kinds.append(_Kind(size.reading_pages[0], "flat", whole=True))
    latency_seconds = size.reading_latency_seconds
    runs: dict[_Kind, list[Run]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        servers = {
            kind: stack.enter_context(
                serving(
                    partial(repeat_conversations, kind.pages * _PAGE_ROWS, kind.density, transcripts=False),
                    latency_seconds=latency_seconds,
                    warm=True,
                    warm_fields=None if kind.whole else FEW_FIELDS,
                )
            )
            for kind in kinds
        }
        for _ in range(size.rounds):
            for kind, server in servers.items():
                options = () if kind.whole else ONLY_FEW_FIELDS
                target, rows = work / "target", kind.pages * _PAGE_ROWS
                cost = run_export(target, server.url, rows, "--concurrency", str(size.reading_in_flight), *options)
                traffic = server.take_traffic()
                seconds = traffic.ended - traffic.began
                runs[kind].append(Run(seconds, cost.wall_seconds, cost.cpu_seconds, traffic.requests, windows(target)))
                rmtree(target)
    return Result(
        [
            Case(kind.density, kind.whole, kind.pages, size.reading_in_flight, latency_seconds, found)
            for kind, found in runs.items()
        ]
    )


def describe(result: Result) -> list[str]:
    first = result.cases[0]
    lines = [
        f"{first.in_flight} in flight, {first.latency_seconds * 1000:.0f} ms a page",
        f"{'':24}{'reading ÷ ideal':>24}{'requests ÷ pages':>24}{'windows':>24}{'wall s':>24}{'CPU s':>24}",
    ]
    for case in result.cases:
        cells = [
            spread(case.slowdowns),
            spread(case.overheads),
            spread([run.windows for run in case.runs], 0),
            spread([run.wall_seconds for run in case.runs]),
            spread([run.cpu_seconds for run in case.runs]),
        ]
        lines += [f"{case.name:24}" + "".join(f"{cell:>24}" for cell in cells)]
    return lines
