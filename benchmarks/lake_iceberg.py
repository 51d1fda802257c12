"""Measures what an Iceberg table in a bucket costs after many syncs: requests, which every store charges and delays,
and the time and memory of a large step. S3 is moto, on loopback.

Each sync replaces two files and adds one. To run it alone: python -m benchmarks.lake_iceberg [SYNCS]
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import pyarrow as pa

from benchmarks.size import Size
from exporter.contract import DAY
from exporter.coverage import Interval
from exporter.lake.iceberg import IcebergTable
from exporter.lake.place import LakePlace
from exporter.lake.table import Step
from exporter.model import DataFile, TableFormat
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from tests.toolkit.clouds import S3, moto

_SCHEMA: Final = pa.schema([pa.field("id", pa.string()), pa.field("created_at", pa.timestamp("us", tz="UTC"))])
_T0: Final = 1_770_000_000_000_000 // DAY * DAY
_URL: Final = Url("s3", "benchmark", "calls")
_STEP_FILES: Final = 1_000


class Result(msgspec.Struct, frozen=True):
    """Holds the requests of the last twenty syncs, the most of each: to read, and then to write. `step_…` are of a step
    that adds a thousand files and one that replaces them, above what the process had before."""

    syncs: int
    read_gets: int
    write_gets: int
    write_puts: int
    typical_puts: int
    step_seconds: float
    replace_seconds: float
    step_bytes: int


def measure(size: Size, work: Path) -> Result:
    return measure_syncs(200 if size.rounds > 1 else 40)


def measure_syncs(syncs: int) -> Result:
    with _s3() as s3:
        live: list[DataFile] = []
        reads: list[int] = []
        writes: list[Counter[str]] = []
        for generation in range(1, syncs + 1):
            fresh = [_file(f"{generation}-{which}", generation) for which in range(3)]
            with _opened() as table:
                s3.gate.asked.clear()
                table.read()
                reads.append(len(s3.gate.asked))
                s3.gate.asked.clear()
                table.write(Step(fresh, live[:2]), generation)
                writes.append(Counter(one.method for one in s3.gate.asked))
            live = [*live[2:], *fresh]
        s3.make_bucket("steps")
        command = [sys.executable, "-m", "benchmarks.lake_iceberg", "--steps"]
        done = subprocess.run(command, env=os.environ, stdout=subprocess.PIPE, check=True)
        first, second, more = msgspec.json.decode(done.stdout, type=tuple[float, float, int])
    last = writes[-20:]
    return Result(
        syncs,
        read_gets=max(reads[-20:]),
        write_gets=max(one["GET"] for one in last),
        write_puts=max(one["PUT"] for one in last),
        typical_puts=round(median(one["PUT"] for one in last)),
        step_seconds=first,
        replace_seconds=second,
        step_bytes=more,
    )


def describe(result: Result) -> list[str]:
    return [
        f"after {result.syncs} syncs: at most {result.read_gets} GET to read, {result.write_gets} GET and "
        f"{result.write_puts} PUT ({result.typical_puts} as a rule) to write",
        f"{_STEP_FILES:,} files: added in {result.step_seconds:.2f} s, replaced in {result.replace_seconds:.2f} s, "
        f"{result.step_bytes / 1e6:,.0f} MB more",
    ]


def _measure_steps() -> tuple[float, float, int]:
    files = [[_file(f"{which}-{number}", number) for number in range(_STEP_FILES)] for which in range(2)]
    seconds: list[float] = []
    with _opened("steps") as table:
        table.read()
        before = _peak_bytes()
        for generation, (adds, removes) in enumerate(((files[0], []), (files[1], files[0])), 1):
            began = time.monotonic()
            table.write(Step(adds, removes), generation)
            seconds.append(time.monotonic() - began)
            table.read()
    first, second = seconds
    return first, second, _peak_bytes() - before


def _peak_bytes() -> int:
    """Returns the most memory that this process has had, without its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def _s3() -> Iterator[S3]:
    with moto() as s3:
        os.environ.update(s3.environment)
        s3.make_bucket(_URL.bucket)
        yield s3


@contextmanager
def _opened(bucket: str = _URL.bucket) -> Iterator[IcebergTable]:
    url = Url("s3", bucket, _URL.prefix)
    place = LakePlace.in_bucket(Bucket(url, open_bucket(url)))
    table = IcebergTable(place, "conversations", "x", _SCHEMA, "created_date", TableFormat(kind="iceberg"))
    try:
        yield table
    finally:
        table.close()


def _file(name: str, day: int) -> DataFile:
    """Describes a file, which the table does not read."""
    start = _T0 + day * DAY
    date = str(pa.scalar(start // DAY, pa.int32()).cast(pa.date32()))
    return DataFile(
        path=f"conversations/created_date={date}/part-{name}.parquet",
        table="conversations",
        partition={"created_date": date},
        rows=1_000,
        size_bytes=1_000_000,
        sha256="",
        created_at_min=start,
        created_at_max=start + DAY - 1,
        window=Interval(start, start + DAY),
    )


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["--steps"]:
        sys.stdout.buffer.write(msgspec.json.encode(_measure_steps()))
        return
    for line in describe(measure_syncs(int(arguments[0]) if arguments else 200)):
        print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
