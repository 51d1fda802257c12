"""Measures what it takes to give what one sync has changed: processes, as a user starts them.

The changes lie in all parts, or in the last week of two months. The opponent compares files that a sync has replaced,
and that were kept, with those in their place, which tells the same without any list of what has changed.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Final, Literal, TypeAlias

import msgspec

from benchmarks.exports import environment, export_command
from benchmarks.measurement import Cost, run, spread
from benchmarks.rows import UNTIL, repeat_conversations
from benchmarks.server import serving
from benchmarks.size import Size
from exporter.contract import DAY, SECOND
from exporter.sandbox import Row

Where: TypeAlias = Literal["all", "week"]
Command: TypeAlias = list[str | Path]
_MOST_ROWS: Final = 200_000
#: Of so many rows one is replaced; of one and a half times as many, one is new.
_ONE_IN: Final = 500
_TIMES: Final = ("created_at", "updated_at")
_LATER: Final = 365 * DAY

#: Tells by ids and times which rows of files differ, and then reads these.
_DIFFERENCE: Final = """
import json, sys
import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
old, new, output = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
versions = lambda paths: {
    row: None for path in paths for row in zip(*pq.read_table(path, columns=["id", "updated_at"]).to_pydict().values())
}
was, now = versions(old), versions(new)
changed = pa.array([name for name, at in now if (name, at) not in was])
with pq.ParquetWriter(output, pq.read_schema(new[0])) as writer:
    for path in new:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number)
                writer.write_table(rows.filter(pc.is_in(rows["id"], changed)))
"""


class Case(msgspec.Struct, frozen=True):
    """Holds the costs by round where the `changes` lie in `where`: of a start alone, of giving them, and of the
    opponent."""

    where: Where
    changes: int
    start: list[Cost]
    feed: list[Cost]
    difference: list[Cost]

    @property
    def feed_seconds(self) -> list[float]:
        """Returns the processor seconds beyond those of the start."""
        return [one.cpu_seconds - began.cpu_seconds for one, began in zip(self.feed, self.start, strict=True)]

    @property
    def feed_bytes(self) -> list[float]:
        """Returns the bytes of memory beyond those of the start."""
        return [float(one.peak_bytes - began.peak_bytes) for one, began in zip(self.feed, self.start, strict=True)]


class Result(msgspec.Struct, frozen=True):
    """Holds a case for each place in which changes may lie, of an export of this many `rows`."""

    rows: int
    cases: list[Case]


def changed(count: int, where: Where) -> Sequence[Row]:
    """Returns `count` rows as they are after some have changed, and some more."""
    # Later than any export of the rows as they were.
    now = round(time.time() * SECOND) + _LATER
    rows = list(repeat_conversations(count, "office", transcripts=True))
    near = range(count) if where == "all" else range(sum(row.created_at >= UNTIL - 7 * DAY for row in rows))
    for number in near[:: max(1, len(near) * _ONE_IN // count)]:
        row = rows[number]
        fields = {name: value for name, value in row.facts().items() if name not in _TIMES}
        rows[number] = Row(row.created_at, now, {**fields, "status": "failed"})
        if number % 3 == 0:
            rows.append(Row(row.created_at + 1, now, {**fields, "id": f"new-{number}"}))
    return rows


def measure(size: Size, work: Path) -> Result:
    count = min(size.memory_points[-1][0], _MOST_ROWS)
    return Result(count, [_measure(where, count, size.rounds, work / where) for where in ("all", "week")])


def _measure(where: Where, count: int, rounds: int, work: Path) -> Case:
    work.mkdir()
    root, given = work / "made", work / "given.parquet"
    with serving(partial(repeat_conversations, count, "office", transcripts=True)) as server:
        run(export_command(root, "--partition-by", "month", "--part-size", "64MiB"), environment(server.url))
    before, was = _manifest(root)
    sync: Command = [sys.executable, "-m", "exporter", "sync", root, "--keep-generations", "1"]
    with serving(partial(changed, count, where)) as server:
        run(sync, environment(server.url))
    _, now = _manifest(root)
    old, new = ([str(root / path) for path in sorted(some)] for some in (was - now, now - was))
    command: Command = [
        sys.executable,
        "-m",
        "exporter",
        "changes",
        root,
        "--from-generation",
        str(before),
        "--output",
        given,
    ]
    difference: Command = [sys.executable, "-c", _DIFFERENCE, json.dumps(old), json.dumps(new), given]
    start, feed, other = list[Cost](), list[Cost](), list[Cost]()
    changes = 0
    for _ in range(rounds):
        start.append(run([sys.executable, "-m", "exporter", "schema", root]))
        feed.append(run(command))
        changes = _rows_in(given)
        given.unlink()
        other.append(run(difference))
        if _rows_in(given) != changes:
            raise RuntimeError(f"{changes} changes were given, and files differ in {_rows_in(given)} rows")
        given.unlink()
    rmtree(work)
    return Case(where, changes, start, feed, other)


def _rows_in(path: Path) -> int:
    # Arrow would make this process large, and with it all that it starts.
    count = "import sys, pyarrow.parquet as pq; print(pq.read_metadata(sys.argv[1]).num_rows)"
    return int(subprocess.run([sys.executable, "-c", count, path], check=True, capture_output=True).stdout)


def _manifest(root: Path) -> tuple[int, set[str]]:
    """Returns the generation of an export, and its parts of conversations."""
    manifest = json.loads((root / "_manifest.json").read_bytes())
    return manifest["generation"], {file["path"] for file in manifest["tables"]["conversations"]["files"]}


def describe(result: Result) -> list[str]:
    lines = [
        f"what a sync has changed among {result.rows:,} conversations; CPU seconds and memory beyond those of a start"
    ]
    for case in result.cases:
        place = "in all parts" if case.where == "all" else "in the last week"
        megabytes = [size / 1e6 for size in case.feed_bytes]
        others = [one.cpu_seconds for one in case.difference]
        peaks = [one.peak_bytes / 1e6 for one in case.difference]
        lines += [
            f"{case.changes:,} changes {place}",
            f"{'changes':>16}{spread(case.feed_seconds):>24} s{spread(megabytes, 0):>24} MB",
            f"{'files compared':>16}{spread(others):>24} s{spread(peaks, 0):>24} MB in all",
        ]
    return lines
