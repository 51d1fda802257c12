"""Measures what an export of many nights costs beside a young one: runs that find nothing, and `status`.

Requests are counted at a stand-in for an object store, and memory in a process of its own, because both load libraries
that would stay in this process, and count for all that it starts later.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.exports import environment, run_export
from benchmarks.measurement import Cost, ratios, run, spread
from benchmarks.rows import repeat_conversations
from benchmarks.server import serving
from benchmarks.size import Size
from exporter.contract import MAX_PAGE_SIZE

#: The young export has this many rows: a full page, because a source that has grown for years shows no shorter one.
ROWS: Final = MAX_PAGE_SIZE
COMMANDS: Final = ("export", "sync", "status")
#: An object store keeps only this many of the commits, each with one small part: requests do not depend on bytes.
_MOST_STORED: Final = 2_000


class Weight(msgspec.Struct, frozen=True):
    """Says what the state of an export weighs: bytes of memory a part, seconds to render its manifest and to write it,
    and at most what share of a long run's time that may take."""

    bytes_a_part: float
    render_seconds: float
    manifest_seconds: float
    manifest_share: float


class Result(msgspec.Struct, frozen=True):
    """Holds the costs by command and round of a young export, and of an aged one with this many commits and parts.
    `requests` are those to an object store, by command, of exports of 0 and of `stored` commits."""

    commits: int
    parts: int
    young: dict[str, list[Cost]]
    aged: dict[str, list[Cost]]
    weight: Weight
    stored: int
    requests: dict[str, tuple[int, int]]

    def cpu_ratios(self, command: str) -> list[float]:
        return ratios(
            [cost.cpu_seconds for cost in self.aged[command]], [cost.cpu_seconds for cost in self.young[command]]
        )

    def wall_ratios(self, command: str) -> list[float]:
        return ratios(
            [cost.wall_seconds for cost in self.aged[command]], [cost.wall_seconds for cost in self.young[command]]
        )


def measure(size: Size, work: Path) -> Result:
    young, aged = work / "young", work / "aged"
    commits, parts = size.growth_commits, size.growth_parts
    costs: dict[Path, dict[str, list[Cost]]] = {place: {command: [] for command in COMMANDS} for place in (young, aged)}
    with serving(partial(repeat_conversations, ROWS, "flat", transcripts=False)) as server:
        for place in costs:
            run_export(place, server.url, ROWS)
        subprocess.run([sys.executable, "-m", "benchmarks.aged", aged, str(commits), str(parts)], check=True)
        for number in range(1 + size.growth_rounds):
            for command in COMMANDS:
                for place in costs:
                    cost = run([sys.executable, "-m", "exporter", command, place], environment(server.url))
                    # The first sync reads what lies between the range and now.
                    costs[place][command] += [cost] if number else []
        stored = min(commits, _MOST_STORED)
        counted: list[str | Path] = [sys.executable, "-m", "benchmarks.growth_requests", server.url, work, str(stored)]
        requests = msgspec.json.decode(
            subprocess.run(counted, stdout=subprocess.PIPE, check=True).stdout, type=dict[str, tuple[int, int]]
        )
    weighed = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth_weight", aged], stdout=subprocess.PIPE, check=True
    )
    weight = msgspec.json.decode(weighed.stdout, type=Weight)
    return Result(commits, parts, costs[young], costs[aged], weight, stored, requests)


def describe(result: Result) -> list[str]:
    lines = [f"{result.commits:,} commits, {result.parts:,} parts ÷ a young export"]
    for command in COMMANDS:
        aged = spread([cost.cpu_seconds for cost in result.aged[command]])
        lines.append(
            f"{command:10}CPU {spread(result.cpu_ratios(command))}, wall {spread(result.wall_ratios(command))}, "
            f"CPU s {aged}"
        )
    for command, (young, aged_requests) in result.requests.items():
        lines.append(
            f"{command:10}{aged_requests} requests to an object store with {result.stored:,} commits, {young} young"
        )
    weight = result.weight
    return [
        *lines,
        f"memory    {weight.bytes_a_part:,.0f} bytes a part",
        f"manifest  {weight.render_seconds:.2f} s to render, {weight.manifest_seconds:.2f} s to write, "
        f"{100 * weight.manifest_share:.1f} % of a long run",
    ]
