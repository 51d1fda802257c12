"""Measures what a report takes of an export that is as large as it may be: time, CPU and memory."""

import sys
from pathlib import Path

import msgspec

from benchmarks.measurement import Cost, run, spread
from benchmarks.size import Size

#: The small export that is multiplied has this many conversations at most.
_PATTERN_ROWS = 10_000


class Result(msgspec.Struct, frozen=True):
    """Holds the cost of each report of an export with these rows and turns."""

    rows: int
    turns: int
    export_bytes: int
    page_bytes: int
    costs: list[Cost]


class _Totals(msgspec.Struct):
    rows: int
    turns: int
    bytes: int


class _Manifest(msgspec.Struct):
    totals: _Totals


def measure(size: Size, work: Path) -> Result:
    pattern, export, page = work / "pattern", work / "export", work / "report.html"
    exporter = [sys.executable, "-m", "exporter"]
    run([*exporter, "demo", pattern, "--rows", str(min(_PATTERN_ROWS, size.report_rows)), "--quiet"])
    # In a process of its own: what this one holds would count as the memory of its children.
    run([sys.executable, "-m", "benchmarks.multiplied", pattern, export, str(size.report_rows)])
    costs = [run([*exporter, "report", export, "--output", page, "--quiet"]) for _ in range(size.rounds)]
    totals = msgspec.json.decode((export / "_manifest.json").read_bytes(), type=_Manifest).totals
    return Result(totals.rows, totals.turns, totals.bytes, page.stat().st_size, costs)


def describe(result: Result) -> list[str]:
    seconds, cpu = (
        spread([getattr(cost, name) for cost in result.costs], 1) for name in ("wall_seconds", "cpu_seconds")
    )
    peak = max(cost.peak_bytes for cost in result.costs) / 1e6
    return [
        f"{result.rows:,} conversations with {result.turns:,} turns, {result.export_bytes / 1e9:.1f} GB:",
        f"{seconds} s, {cpu} s of CPU, {peak:,.0f} MB, a page of {result.page_bytes / 1e3:,.0f} kB",
    ]
