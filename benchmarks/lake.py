"""Counts the requests for tables in an object store, and measures one large step. The store is a stand-in on loopback,
so that seconds say little, and requests much."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.size import Size

_VERSIONS: Final = {"full": 200, "quick": 60}


class Requests(msgspec.Struct, frozen=True):
    """Counts requests by method: of a run that changes nothing, of a usual write, and of the dearest write."""

    read: dict[str, int]
    write: dict[str, int]
    dearest: dict[str, int]


class Result(msgspec.Struct, frozen=True):
    """Holds for each kind of table the requests when it had this many `versions`, and what a step of `files` files
    takes: seconds, and bytes of memory."""

    versions: int
    files: int
    requests: dict[str, Requests]
    step_seconds: dict[str, float]
    step_bytes: dict[str, int]


def measure(size: Size, work: Path) -> Result:
    versions = _VERSIONS["full" if size.rounds > 1 else "quick"]
    # What tables need would stay in this process, and count for all that it starts later.
    command = [sys.executable, "-m", "benchmarks.lake_requests", str(versions)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Result)


def describe(result: Result) -> list[str]:
    lines = [f"requests to a table of {result.versions} versions, by method"]
    for kind, asked in result.requests.items():
        for what, counted in (
            ("a run that changes nothing", asked.read),
            ("a usual write, beside that", asked.write),
            ("the dearest write", asked.dearest),
        ):
            lines.append(f"{kind:8}{what:28}" + ", ".join(f"{count} {method}" for method, count in counted.items()))
        lines.append(
            f"{kind:8}{f'a step of {result.files:,} files':28}{result.step_seconds[kind]:.2f} s, "
            f"{result.step_bytes[kind] / 1e6:.0f} MB"
        )
    return lines
