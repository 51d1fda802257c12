"""What an export costs, as ratios against DuckDB converting the same JSON from local disk to zstd Parquet.

    python benchmarks/export.py [--rows 60000] [--rounds 3] [--concurrency 8] [--no-transcripts]

The stand-in server runs in a process of its own, with its rows rendered beforehand. Exporter and DuckDB (two threads)
take turns, and each runs in a process of its own, whose user and system time, wall time and peak memory are taken from
the kernel. Prints medians with their spread, and writes them to `benchmarks/export.json`.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.request import Request, urlopen

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import TOKEN, Behaviour, make_conversations, serve

UNTIL = parse_timestamp("2026-03-02")
CONVERT = """
import duckdb, sys
duckdb.connect(config={"threads": 2}).execute(
    f"COPY (SELECT * FROM read_json('{sys.argv[1]}/*.json', format='array', maximum_object_size=67108864)) "
    f"TO '{sys.argv[2]}' (FORMAT parquet, COMPRESSION zstd)"
)
"""


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float


def server(rows: int, transcripts: bool, url: "multiprocessing.Queue[str]", done: Event) -> None:
    """Serves until `done`."""

    async def run() -> None:
        made = make_conversations(rows, UNTIL - 60 * DAY, UNTIL, transcripts=transcripts)
        async with serve(made, Behaviour()) as sandbox:
            sandbox.warm()
            url.put(sandbox.url)
            await asyncio.to_thread(done.wait)

    asyncio.run(run())


def save_pages(url: str, folder: Path) -> int:
    """Pages through the whole list once, newest first, and keeps each body as it came. Returns the bytes."""
    before, number, size = "2026-03-03T00:00:00Z", 0, 0
    while True:
        query = f"{url}/core/conversations?limit=1000&created_before={before}"
        with urlopen(Request(query, headers={"Authorization": f"Bearer {TOKEN}"})) as answer:
            body = answer.read()
        rows = json.loads(body)
        (folder / f"{number:05d}.json").write_bytes(body)
        size += len(body)
        number += 1
        if len(rows) < 1000:
            return size
        before = rows[-1]["created_at"]


def measure(command: list[str], environment: dict[str, str]) -> Cost:
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed: {said.decode()}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):8.2f}  ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--no-transcripts", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    url_queue: multiprocessing.Queue[str] = context.Queue()
    done = context.Event()
    work = Path(tempfile.mkdtemp())
    serving = context.Process(
        target=server, args=(options.rows, not options.no_transcripts, url_queue, done), daemon=True
    )
    serving.start()
    try:
        url = url_queue.get(timeout=300)
        pages = work / "pages"
        pages.mkdir()
        size = save_pages(url, pages)
        environment = {**os.environ, "ANYREACH_TOKEN": TOKEN, "ANYREACH_BASE_URL": url}
        ours: list[Cost] = []
        duckdb: list[Cost] = []
        for round_ in range(options.rounds):
            command = [sys.executable, "-m", "exporter", "export", str(work / f"export-{round_}")]
            command += ["--since", "2026-01-01", "--until", "2026-03-02", "--concurrency", str(options.concurrency)]
            ours.append(measure(command, environment))
            duckdb.append(
                measure([sys.executable, "-c", CONVERT, str(pages), str(work / f"{round_}.parquet")], dict(os.environ))
            )
    finally:
        done.set()
        serving.join(timeout=10)
        shutil.rmtree(work, ignore_errors=True)
    print(f"{options.rows} conversations, {size / 1e6:.0f} MB of JSON, {options.concurrency} windows at once")
    print("median  (spread)             exporter                     DuckDB")
    for name in ("wall_seconds", "cpu_seconds", "peak_megabytes"):
        print(f"{name:16}", *(spread([getattr(cost, name) for cost in costs]) for costs in (ours, duckdb)), sep="  ")
    for name in ("wall_seconds", "cpu_seconds"):
        ratios = [getattr(mine, name) / getattr(theirs, name) for mine, theirs in zip(ours, duckdb, strict=True)]
        print(f"{name} ÷ DuckDB's", spread(ratios))
    result = {"options": vars(options), "json_bytes": size, "exporter": list(map(asdict, ours))}
    result["duckdb"] = list(map(asdict, duckdb))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
