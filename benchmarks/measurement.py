"""Measures what one process takes, and what is typical of many runs."""

import compileall
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

import benchmarks
import exporter

_PROCESS_SECONDS = 900.0


class Cost(msgspec.Struct, frozen=True):
    """Holds the cost of a process and the children it waited for. `began` is by the machine's monotonic clock."""

    began: float
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def compile_sources() -> None:
    """Writes the bytecode of the packages, as an installer does.

    A checkout may have none, or that of another version, and where the environment keeps Python from writing it
    (`PYTHONDONTWRITEBYTECODE`), each process that is measured would compile the source again.
    """
    for package in (exporter, benchmarks):
        compileall.compile_dir(Path(str(package.__file__)).parent, quiet=1)


def run(command: Sequence[str | Path], environment: Mapping[str, str] = os.environ) -> Cost:
    """Runs a command to its end. Raises `RuntimeError`, with what it printed, if it fails or never ends.

    The kernel's peak of a process includes what its parent had when it forked, so the caller must stay small.
    """
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    alarm = threading.Timer(_PROCESS_SECONDS, process.kill)
    alarm.start()
    try:
        with process.stderr as stream:
            said = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        alarm.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_seconds = time.monotonic() - began
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}: {said.decode()}")
    return Cost(began, wall_seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Returns the ratio of each run to the one that took its turn beside it."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Returns the median, the least and the most, such as `1.05 (1.02 to 1.10)`, or a single value alone."""
    middle = f"{median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
