"""Measures what the encryption of parts costs: the CPU of writing and reading them, and their bytes."""

import json
import sys
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.measurement import ratios, run, spread
from benchmarks.size import Size

_WAYS: Final = {"plain": "not encrypted", "uniform": "one key for whole files", "columns": "a key for each column"}


class Result(msgspec.Struct, frozen=True):
    """Holds, by round and way, the seconds of writing and reading, and the bytes."""

    rows: int
    rounds: list[dict[str, dict[str, float]]]

    def of(self, way: str, what: str) -> list[float]:
        return [found[way][what] for found in self.rounds]

    def surplus(self, way: str, what: str) -> list[float]:
        """Returns what a way takes beyond what plain parts do, in percent."""
        return [100 * (ratio - 1) for ratio in ratios(self.of(way, what), self.of("plain", what))]


def measure(size: Size, work: Path) -> Result:
    counts, rows = work / "counts", size.cost_rows // 3
    rounds = []
    for _ in range(size.rounds):
        run([sys.executable, "-m", "benchmarks.encryption_clocks", counts, str(rows)])
        rounds.append(json.loads(counts.read_bytes()))
    return Result(rows, rounds)


def describe(result: Result) -> list[str]:
    lines = [
        f"{result.rows:,} conversations with transcripts",
        f"{'':26}{'write, CPU s':>24}{'read, CPU s':>24}{'MB':>10}",
    ]
    for way, what in _WAYS.items():
        write, read = spread(result.of(way, "write")), spread(result.of(way, "read"))
        lines.append(f"{what:26}{write:>24}{read:>24}{result.of(way, 'bytes')[0] / 1e6:>10.2f}")
    return lines
