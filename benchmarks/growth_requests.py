"""Counts what runs ask of an object store, by the number of commits there, in a process of its own.

python -m benchmarks.growth_requests URL_OF_API DIR COMMITS
"""

import sys
from pathlib import Path
from unittest.mock import patch

import anyio
import msgspec

from benchmarks.aged import age
from benchmarks.exports import environment, run_export
from benchmarks.growth import COMMANDS, ROWS
from benchmarks.measurement import run
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from tests.toolkit.clouds import S3, moto

_SMALL_BYTES = 100


def count(api: str, work: Path, commits: int) -> dict[str, tuple[int, int]]:
    """Returns the requests of each command that finds nothing: of a young export, and of one with `commits`."""
    found = []
    with moto() as s3:
        for number in (0, commits):
            local = work / f"stored-{number}"
            run_export(local, api, ROWS)
            if number:
                anyio.run(age, local, number, number // 2, _SMALL_BYTES)
            bucket = f"growth-{number}"
            s3.make_bucket(bucket)
            found.append(_count(s3, _upload(local, bucket, s3), api))
    young, aged = found
    return {command: (young[command], aged[command]) for command in COMMANDS}


def _upload(local: Path, bucket: str, s3: S3) -> Url:
    url = Url(s3.scheme, bucket, "export")
    with patch.dict("os.environ", s3.environment):
        there = Bucket(url, open_bucket(url))
        for file in sorted(path for path in local.rglob("*") if path.is_file()):
            there.swap(str(file.relative_to(local)), file.read_bytes(), "create")
    return url


def _count(s3: S3, url: Url, api: str) -> dict[str, int]:
    counts = {}
    for command in ("sync", *COMMANDS):  # the first sync reads what lies between the range and now
        s3.gate.asked.clear()
        run([sys.executable, "-m", "exporter", command, str(url)], {**environment(api), **s3.environment})
        counts[command] = len(s3.gate.asked)
    return counts


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(count(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
