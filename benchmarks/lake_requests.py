"""Counts the requests for tables in an object store, and measures one large step, in a process of its own, because the
libraries of tables are large.

    python -m benchmarks.lake_requests VERSIONS
"""

import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from unittest.mock import patch

import msgspec
import pyarrow as pa

from benchmarks.lake import Requests, Result
from exporter.contract import DAY
from exporter.coverage import Interval
from exporter.lake.delta import DeltaLog
from exporter.lake.iceberg import IcebergTable
from exporter.lake.place import LakePlace
from exporter.lake.table import LakeTable, Step
from exporter.layout import part_path
from exporter.model import DataFile, TableFormat
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from tests.toolkit.clouds import AskedRequest, Cloud, moto, moto_process

_SCHEMA: Final = pa.schema([pa.field("id", pa.string()), pa.field("created_at", pa.timestamp("us", tz="UTC"))])
_FILES: Final = 1_000
_T0: Final = 1_770_000_000_000_000 // DAY * DAY
#: The first versions are cheaper than all later ones.
_WARM: Final = 30
_QUIET_SECONDS: Final = 0.05
#: Opens a table where it lies.
Opening = Callable[[LakePlace], LakeTable]


def _delta(place: LakePlace) -> LakeTable:
    return DeltaLog(place, "conversations", "x", _SCHEMA, "created_date")


def _iceberg(place: LakePlace) -> LakeTable:
    return IcebergTable(place, "conversations", "x", _SCHEMA, "created_date", TableFormat(kind="iceberg"))


KINDS: Final[dict[str, Opening]] = {"delta": _delta, "iceberg": _iceberg}


def measure(versions: int) -> Result:
    requests: dict[str, Requests] = {}
    seconds: dict[str, float] = {}
    memory: dict[str, int] = {}
    for kind, open_table in KINDS.items():
        with moto_process() as cloud, _place(cloud) as place:
            before, began = _begin_peak(), time.perf_counter()
            table = open_table(place)
            table.read()
            table.write(Step([_file(number) for number in range(_FILES)], ()), 1)
            table.close()
            seconds[kind], memory[kind] = time.perf_counter() - began, _peak() - before
    for kind, open_table in KINDS.items():
        with moto() as s3, _place(s3) as place:
            requests[kind] = _grow(partial(open_table, place), versions, s3.gate.asked)
    return Result(versions, _FILES, requests, seconds, memory)


def _grow(open_table: Callable[[], LakeTable], versions: int, asked: list[AskedRequest]) -> Requests:
    """Writes this many versions, each of which replaces two files and adds one, as syncs do, and counts what the last
    ones asked."""
    read: Counter[str] = Counter()
    writes: list[Counter[str]] = []
    live: list[DataFile] = []
    for version in range(versions):
        table = open_table()
        table.read()
        read = _settled(asked)
        fresh = [_file(3 * version + number) for number in range(3)]
        table.write(Step(fresh, live[:2]), version + 1)
        table.maintain()
        writes.append(_settled(asked))
        live = [*live[2:], *fresh]
        table.close()
    by_total = sorted((write.total(), number) for number, write in enumerate(writes[_WARM:]))
    usual, dearest = (writes[_WARM + number] for _, number in (by_total[len(by_total) // 2], by_total[-1]))
    return Requests(dict(read), dict(usual), dict(dearest))


def _settled(asked: list[AskedRequest]) -> Counter[str]:
    """Returns what was asked since the last call, once nothing more comes: a library may still be at it."""
    count = -1
    while len(asked) != count:
        count = len(asked)
        time.sleep(_QUIET_SECONDS)
    found = Counter(one.method for one in asked)
    asked.clear()
    return found


@contextmanager
def _place(cloud: Cloud) -> Iterator[LakePlace]:
    bucket = f"lake-{secrets.token_hex(4)}"
    cloud.make_bucket(bucket)
    with patch.dict("os.environ", cloud.environment):
        url = Url(cloud.scheme, bucket, "exports")
        yield LakePlace.in_bucket(Bucket(url, open_bucket(url)))


def _file(number: int) -> DataFile:
    """Describes a part that is not there: a table is written without a look at it."""
    start = _T0 + number * DAY
    partition = {"created_date": f"{2026 + number // 336}-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}"}
    return DataFile(
        path=part_path("conversations", partition, f"r-{number:06d}"),
        table="conversations",
        partition=partition,
        rows=2,
        size_bytes=1_000_000 + number,
        sha256="",
        created_at_min=start,
        created_at_max=start + DAY - 1,
        window=Interval(start, start + DAY),
    )


def _begin_peak() -> int:
    """Forgets the most memory that this process has had, and returns how many bytes it has."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Returns the most memory that this process has had since `_begin_peak`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(int(sys.argv[1]))))
