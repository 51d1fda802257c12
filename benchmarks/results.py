"""Keeps the results part by part: every run, so that medians and spreads can be computed again."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from benchmarks.changes import Result as Changes
from benchmarks.convert import Result as Convert
from benchmarks.cost import Result as Cost
from benchmarks.encryption import Result as Encryption
from benchmarks.erase import Result as Erase
from benchmarks.feed import Result as Feed
from benchmarks.flight import Result as Flight
from benchmarks.growth import Result as Growth
from benchmarks.lake import Result as Lake
from benchmarks.memory import Result as Memory
from benchmarks.privacy import Result as Privacy
from benchmarks.reading import Result as Reading
from benchmarks.recordings import Result as Recordings
from benchmarks.report import Result as Report
from benchmarks.scale_out import Result as ScaleOut
from benchmarks.simulated import Result as Simulated
from benchmarks.stages import Result as Stages
from benchmarks.start import Result as Start
from benchmarks.tasks import Result as Tasks

_PACKAGES = ("anyreach-exporter", "aiohttp", "msgspec", "pyarrow", "duckdb", "requests", "dlt")


class Session(msgspec.Struct, frozen=True):
    """Says when and where a part was measured."""

    measured_at: str
    machine: str
    versions: dict[str, str]


class Results(msgspec.Struct):
    """Holds each part that was measured, and in `sessions` when that was. `size` is a key of `size.SIZES`."""

    size: str
    sessions: dict[str, Session] = msgspec.field(default_factory=dict)
    start: Start | None = None
    cost: Cost | None = None
    stages: Stages | None = None
    reading: Reading | None = None
    flight: Flight | None = None
    memory: Memory | None = None
    recordings: Recordings | None = None
    privacy: Privacy | None = None
    encryption: Encryption | None = None
    erase: Erase | None = None
    changes: Changes | None = None
    feed: Feed | None = None
    lake: Lake | None = None
    convert: Convert | None = None
    growth: Growth | None = None
    report: Report | None = None
    scale_out: ScaleOut | None = None
    simulated: Simulated | None = None
    tasks: Tasks | None = None


def load(path: Path, size: str) -> Results:
    """Returns the kept results of this size, if any. Raises `ValueError` for results of other code."""
    if path.exists():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Results)
        except msgspec.ValidationError as error:
            raise ValueError(f"{path} is not of this code ({error}): delete it, then measure all parts") from error
        if found.size == size:
            return found
    return Results(size)


def save(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def this_session() -> Session:
    return Session(
        datetime.now(UTC).isoformat(timespec="seconds"), _machine(), {name: _version(name) for name in _PACKAGES}
    )


def _machine() -> str:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({_processor()}), {gigabytes:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
