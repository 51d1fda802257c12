"""Measures how fast recordings are kept, and at which cost, beside curl, which fetches the same files in parallel.

curl writes what comes, and nothing more. The exporter also lists the conversations, computes checksums, makes each file
survive a power cut, and commits rows. Both take turns, each as a process; the hosts of the recordings and of the API
are processes of their own on the same machine.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.exports import environment, run_export
from benchmarks.measurement import Cost, ratios, run, spread
from benchmarks.media import MediaServer, serving_media
from benchmarks.rows import SINCE
from benchmarks.server import serving
from benchmarks.size import Size
from exporter.contract import SECOND
from exporter.sandbox import Row

IN_FLIGHT: Final = 16
LARGE_BYTES: Final = 4 * 1024 * 1024
SMALL_BYTES: Final = 64 * 1024
CURL: Final = "curl"
_COLUMNS: Final = """
import sys, pyarrow.compute as c, pyarrow.dataset as d
table = d.dataset(sys.argv[1] + "/recordings", format="parquet").to_table(["status", "fetched_at"])
print(c.sum(c.equal(table["status"], "stored")).as_py(), c.max(table["fetched_at"]).as_py().timestamp())
"""


class Run(msgspec.Struct, frozen=True):
    """Holds what one run took; `transfer_seconds` pass from the first request for a recording to the last answer, and
    `requests` go to the API."""

    cost: Cost
    transfer_seconds: float
    requests: int = 0


class Case(msgspec.Struct, frozen=True):
    """Holds the runs for `files` of `size_bytes` each, by round; those of curl are missing if it is not installed.

    `export_peaks` are the peaks, in bytes, of exports of the same conversations without their recordings.
    """

    files: int
    size_bytes: int
    runs: dict[str, list[Run]]
    export_peaks: list[int]

    @property
    def gigabytes(self) -> float:
        return self.files * self.size_bytes / 1e9

    @property
    def throughputs(self) -> list[float]:
        """Returns the exporter's throughput ÷ curl's, by round; nothing without curl."""
        theirs = [run.transfer_seconds for run in self.runs.get(CURL, ())]
        return ratios(theirs, [run.transfer_seconds for run in self.runs["exporter"]]) if theirs else []

    @property
    def cpu_per_gigabyte(self) -> list[float]:
        return [run.cost.cpu_seconds / self.gigabytes for run in self.runs["exporter"]]

    @property
    def surplus_megabytes(self) -> list[float]:
        """Returns the peak memory above that of an export of the same conversations, by round."""
        peaks = [run.cost.peak_bytes for run in self.runs["exporter"]]
        return [(peak - own) / 2**20 for peak, own in zip(peaks, self.export_peaks, strict=True)]

    @property
    def files_per_second(self) -> list[float]:
        """Returns the files a second of the whole process, with its start and its commits, by round."""
        return [self.files / run.cost.wall_seconds for run in self.runs["exporter"]]

    @property
    def requests_per_file(self) -> list[float]:
        return [run.requests / self.files for run in self.runs["exporter"]]


class Result(msgspec.Struct, frozen=True):
    """Holds the cases, and by round the bytes a second with a limit ÷ that limit."""

    large: Case
    small: Case
    rates: list[float]


def measure(size: Size, work: Path) -> Result:
    large = _measure(size.recordings_large, LARGE_BYTES, size.rounds, work)
    small = _measure(size.recordings_small, SMALL_BYTES, size.rounds, work)
    return Result(large, small, _measure_rate(size, work))


def _measure(files: int, size_bytes: int, rounds: int, work: Path) -> Case:
    runs: dict[str, list[Run]] = {"exporter": [], **({CURL: []} if shutil.which(CURL) else {})}
    peaks: list[int] = []
    with serving_media(size_bytes) as media, serving(partial(_make_rows, files, media.link(0))) as server:
        for turn in range(rounds):
            # The order changes from round to round.
            for name in sorted(runs, reverse=bool(turn % 2)):
                target = work / "target"
                if name == CURL:
                    cost = run(_curl(media, files, target), environment(server.url))
                    runs[name].append(Run(cost, media.take_served().seconds))
                else:
                    peaks.append(run_export(target, server.url, files).peak_bytes)
                    server.take_traffic()
                    cost = run(_keep(target), environment(server.url))
                    _check(target, files)
                    runs[name].append(Run(cost, media.take_served().seconds, server.take_traffic().requests))
                shutil.rmtree(target)
    return Case(files, size_bytes, runs, peaks)


def _measure_rate(size: Size, work: Path) -> list[float]:
    files, limit = size.recordings_limited, size.recordings_limit
    found = []
    with serving_media(LARGE_BYTES) as media, serving(partial(_make_rows, files, media.link(0))) as server:
        for _ in range(size.rounds):
            target = work / "target"
            run_export(target, server.url, files)
            run(_keep(target, "--recording-rate", str(limit)), environment(server.url))
            # The host's last answer lies in buffers for a while; the row says when it was there.
            seconds = _check(target, files) - media.take_served().began
            found.append(files * LARGE_BYTES / seconds / limit)
            shutil.rmtree(target)
    return found


def _make_rows(files: int, first_link: str) -> Sequence[Row]:
    """Returns conversations of one day, from new to old, whose links never end."""
    host = first_link.rpartition("/")[0]
    return [
        Row(
            SINCE + number * SECOND,
            fields={
                "id": f"{number:032x}",
                "status": "completed",
                "channel": "telephone",
                "duration": 60,
                "recording_details": {"recording_url": f"{host}/{number:06d}.ogg", "duration": 60},
            },
        )
        for number in reversed(range(files))
    ]


def _keep(target: Path, *options: str) -> list[str | Path]:
    home = ("--allow-network", "127.0.0.0/8", "--recording-concurrency", str(IN_FLIGHT))
    return [sys.executable, "-m", "exporter", "recordings", target, *home, *options]


def _curl(media: MediaServer, files: int, target: Path) -> list[str | Path]:
    target.mkdir()
    lines = "".join(f'url="{media.link(number)}"\noutput="{target}/{number:06d}.ogg"\n' for number in range(files))
    listed = target / "list"
    listed.write_text(lines, encoding="utf-8")
    return [CURL, "--silent", "--parallel", "--parallel-max", str(IN_FLIGHT), "--config", listed]


def _check(target: Path, files: int) -> float:
    """Returns when the last recording was stored, in seconds since 1970. Raises `RuntimeError` if any is not."""
    # This runs in a process of its own, so that the process that measures stays small.
    done = subprocess.run([sys.executable, "-c", _COLUMNS, target], capture_output=True, text=True)
    stored, fetched_at = done.stdout.split() if done.returncode == 0 else ("nothing", "0")
    if stored != str(files):
        raise RuntimeError(f"{stored} of {files} recordings are stored: {done.stderr}")
    return float(fetched_at)


def describe(result: Result) -> list[str]:
    lines = [f"{IN_FLIGHT} in flight{'':9}{'MB/s':>24}{'files/s':>24}{'CPU s/GB':>24}{'peak MB':>24}{'÷ curl':>24}"]
    for case in (result.large, result.small):
        lines += [f"{case.files:,} files of {case.size_bytes / 1024:,.0f} KiB"]
        for name, runs in case.runs.items():
            cells = [
                spread([case.gigabytes * 1000 / run.transfer_seconds for run in runs], 0),
                spread([case.files / run.cost.wall_seconds for run in runs], 0),
                spread([run.cost.cpu_seconds / case.gigabytes for run in runs]),
                spread([run.cost.peak_bytes / 1e6 for run in runs], 0),
                spread(case.throughputs) if name != CURL and case.throughputs else "",
            ]
            lines += [f"  {name:18}" + "".join(f"{cell:>24}" for cell in cells)]
    lines += [f"bytes a second ÷ --recording-rate: {spread(result.rates, 3)}"]
    return lines if CURL in result.large.runs else [*lines, "curl did not take part: it is not installed"]
