"""Measures how fast tables become CSV and JSON Lines, beside DuckDB's COPY of the same files."""

import sys
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.measurement import Cost, ratios, run, spread
from benchmarks.size import Size

_DUCKDB: Final = Path(__file__).parent / "contenders/duckdb_text.py"
#: By format, its name in DuckDB.
_FORMATS: Final = {"csv": "csv", "jsonl": "json"}


class Case(msgspec.Struct, frozen=True):
    """Holds what each round took, of both contenders, for one table in one format."""

    table: str
    format: str
    rows: int
    text_bytes: int
    ours: list[Cost]
    theirs: list[Cost]

    def rates(self, costs: list[Cost]) -> list[float]:
        return [self.rows / cost.wall_seconds for cost in costs]


class Result(msgspec.Struct, frozen=True):
    """Holds a case for each table and format."""

    cases: list[Case]


def measure(size: Size, work: Path) -> Result:
    export, rows = work / "export", size.cost_rows // 3
    run([sys.executable, "-m", "exporter", "demo", export, "--rows", str(rows), "--quiet"])
    return Result(
        [_measure(export, table, form, size.rounds, work) for table in ("conversations", "turns") for form in _FORMATS]
    )


def _measure(export: Path, table: str, form: str, rounds: int, work: Path) -> Case:
    ours, theirs, to = [], [], work / "text"
    command: list[str | Path] = [sys.executable, "-m", "exporter", "convert", export, "--table", table]
    rows = text_bytes = 0
    for _ in range(rounds):
        ours.append(run([*command, "--format", form, "--output", to]))
        text_bytes = to.stat().st_size
        with to.open("rb") as text:
            # No text in these tables has a line break of its own: JSON escapes it.
            rows = sum(1 for _ in text) - (form == "csv")
        to.unlink()
        theirs.append(run([sys.executable, _DUCKDB, export / table, to, _FORMATS[form]]))
        to.unlink()
    return Case(table=table, format=form, rows=rows, text_bytes=text_bytes, ours=ours, theirs=theirs)


def describe(result: Result) -> list[str]:
    lines = [f"{'':34}{'rows/s':>28}{'DuckDB, rows/s':>28}{'time ÷ DuckDB':>24}{'peak MB':>9}{'text MB':>9}"]
    for case in result.cases:
        ours, theirs = (spread(case.rates(costs), 0) for costs in (case.ours, case.theirs))
        times = [[cost.wall_seconds for cost in costs] for costs in (case.ours, case.theirs)]
        peak = max(cost.peak_bytes for cost in case.ours) / 1e6
        what = f"{case.rows:,} {case.table} as {case.format}"
        ratio = spread(ratios(*times))
        lines.append(f"{what:34}{ours:>28}{theirs:>28}{ratio:>24}{peak:>9.0f}{case.text_bytes / 1e6:>9.0f}")
    return lines
