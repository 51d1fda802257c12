"""Measures how long a user waits for help, a completion and the first request, beside the bare interpreter."""

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Final

import msgspec

from benchmarks.exports import run_export
from benchmarks.measurement import run, spread
from benchmarks.rows import repeat_conversations
from benchmarks.server import serving
from benchmarks.size import Size

_ROWS: Final = 10
_EXPORTER: Final = (sys.executable, "-m", "exporter")
#: What bash sets to ask for the options of `exporter export` that begin with `--s`, by the script that is installed.
COMPLETION: Final = {
    "_EXPORTER_COMPLETE": "complete_bash",
    "COMP_WORDS": "exporter export --s",
    "COMP_CWORD": "2",
}


class Result(msgspec.Struct, frozen=True):
    """Holds the seconds by round."""

    python_seconds: list[float]
    help_seconds: list[float]
    command_help_seconds: list[float]
    completion_seconds: list[float]
    first_request_seconds: list[float]


def measure(size: Size, work: Path) -> Result:
    result = Result([], [], [], [], [])
    target = work / "target"
    completing = {**os.environ, **COMPLETION}
    check_completion(completing)
    with serving(partial(repeat_conversations, _ROWS, "flat", transcripts=False)) as server:
        for _ in range(size.start_rounds):
            result.python_seconds.append(run([sys.executable, "-c", "pass"]).wall_seconds)
            result.help_seconds.append(run([*_EXPORTER, "--help"]).wall_seconds)
            result.command_help_seconds.append(run([*_EXPORTER, "export", "--help"]).wall_seconds)
            result.completion_seconds.append(run(_EXPORTER, completing).wall_seconds)
            cost = run_export(target, server.url, _ROWS)
            result.first_request_seconds.append(server.take_traffic().began - cost.began)
            rmtree(target)
    return result


def check_completion(environment: Mapping[str, str]) -> None:
    """Raises `RuntimeError` unless the shell that this environment stands for would be answered with an option."""
    said = subprocess.run(_EXPORTER, env=environment, stdout=subprocess.PIPE, check=True).stdout.decode()
    if "--since" not in said.split():
        raise RuntimeError(f"a completion of {environment['COMP_WORDS']!r} should name --since, but says {said!r}")


def describe(result: Result) -> list[str]:
    return [
        f"{what:28}{spread([1000 * value for value in seconds], 0):>24} ms"
        for what, seconds in (
            ("the bare interpreter", result.python_seconds),
            ("exporter --help", result.help_seconds),
            ("exporter export --help", result.command_help_seconds),
            ("a completion", result.completion_seconds),
            ("until the first request", result.first_request_seconds),
        )
    ]
