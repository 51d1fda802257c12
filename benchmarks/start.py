"""Measures how long a user waits for `--help`, and for the first request of an export, beside the bare interpreter."""

import sys
from functools import partial
from pathlib import Path
from shutil import rmtree

import msgspec

from benchmarks.exports import run_export
from benchmarks.measurement import run, spread
from benchmarks.rows import repeat_conversations
from benchmarks.server import serving
from benchmarks.size import Size

_ROWS = 10


class Result(msgspec.Struct, frozen=True):
    """Holds the seconds by round."""

    python_seconds: list[float]
    help_seconds: list[float]
    first_request_seconds: list[float]


def measure(size: Size, work: Path) -> Result:
    result = Result([], [], [])
    target = work / "target"
    with serving(partial(repeat_conversations, _ROWS, "flat", transcripts=False)) as server:
        for _ in range(size.start_rounds):
            result.python_seconds.append(run([sys.executable, "-c", "pass"]).wall_seconds)
            result.help_seconds.append(run([sys.executable, "-m", "exporter", "--help"]).wall_seconds)
            cost = run_export(target, server.url, _ROWS)
            result.first_request_seconds.append(server.take_traffic().began - cost.began)
            rmtree(target)
    return result


def describe(result: Result) -> list[str]:
    return [
        f"{what:28}{spread([1000 * value for value in seconds], 0):>24} ms"
        for what, seconds in (
            ("the bare interpreter", result.python_seconds),
            ("exporter --help", result.help_seconds),
            ("until the first request", result.first_request_seconds),
        )
    ]
