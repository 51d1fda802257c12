"""Measures how the CPU of an export is divided among its stages, by the clocks of its threads (`stage_clocks`)."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.exports import check, environment, export_command
from benchmarks.measurement import run, spread
from benchmarks.rows import SINCE, UNTIL
from benchmarks.server import serving
from benchmarks.size import Size
from exporter.sandbox import make_conversations

#: Each stage's name for readers. The last covers files, commits and Arrow's own threads.
STAGES: Final = {
    "start": "start (imports)",
    "fetch": "fetch (HTTP)",
    "steer": "steer (walks)",
    "decode": "decode (JSON)",
    "encode": "encode (Arrow)",
    "write": "write (Parquet)",
    "rest": "the rest",
}


class Result(msgspec.Struct, frozen=True):
    """Holds the seconds of each stage, by round."""

    rows: int
    seconds: list[dict[str, float]]

    def of(self, stage: str) -> list[float]:
        return [seconds.get(stage, 0.0) for seconds in self.seconds]


def measure(size: Size, work: Path) -> Result:
    target, counts = work / "target", work / "counts"
    seconds = []
    with serving(partial(make_conversations, size.cost_rows, SINCE, UNTIL), warm=True) as server:
        for _ in range(size.rounds):
            arguments = export_command(target)[3:]
            run([sys.executable, "-m", "benchmarks.stage_clocks", counts, *arguments], environment(server.url))
            check(target, size.cost_rows)
            seconds.append(json.loads(counts.read_bytes()))
            shutil.rmtree(target)
    return Result(size.cost_rows, seconds)


def describe(result: Result) -> list[str]:
    total = [sum(seconds.values()) for seconds in result.seconds]
    return [
        f"{result.rows:,} conversations with transcripts, CPU s",
        *(f"{what:20}{spread(result.of(stage)):>24}" for stage, what in STAGES.items()),
        f"{'all of it':20}{spread(total):>24}",
    ]
