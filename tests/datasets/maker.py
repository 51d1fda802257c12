"""Makes the small dataset that is kept for each format version: `python -m tests.datasets.maker`.

It is run once, by the last exporter that writes a format, and its output is committed as `format-N`; no later exporter
can make it again. The same exporter, on the same Python and PyArrow, makes the same bytes.

The dataset has 30 conversations of three days, in several small parts a day, made in two runs: an export, and a sync
that keeps what it replaced. It also has a row that does not fit its columns (quarantine), and a group of equal times of
which the API shows only a part (unproven).
"""

import itertools
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import anyio

from exporter.contract import DAY, HOUR, MINUTE, Instant, format_instant, parse_timestamp
from exporter.jobs.export import export
from exporter.jobs.sync import sync
from exporter.log.state import FORMAT_VERSION
from exporter.options.spec import ExportSpec
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import ORGANIZATION, TOKEN, Behaviour, Row, Sandbox, make_conversations, serve

HERE = Path(__file__).parent
SINCE = parse_timestamp("2026-01-05")
UNTIL = SINCE + 3 * DAY
#: The time of a group of which the API shows only a part.
SAME = SINCE + DAY + 6 * HOUR
#: The position of the row that the sync finds changed.
CHANGED = 4
#: The API shows at most this many rows at once.
BEHAVIOUR = Behaviour(page_cap=8)


def rows() -> list[Row]:
    """Returns the rows of the source when the first run begins."""
    made = make_conversations(30, SINCE, UNTIL, seed=7)
    alike = [
        Row(SAME, SAME, {"id": f"alike-{number:02}", "status": "completed", "organization_id": ORGANIZATION})
        for number in range(20)
    ]
    odd = Row(SINCE + HOUR, raw='{"id":"odd","created_at":"2026-01-05T01:00:00Z","status":"failed","duration":1.5}')
    return [*made, *alike, odd]


def change(source: Sandbox, at: Instant) -> str:
    """Changes a row before the sync, and returns its id."""
    identity = str(rows()[CHANGED].facts()["id"])
    source.update(identity, at, summary="summed up anew")
    return identity


async def make(destination: Path) -> None:
    """Makes the dataset at `destination`, which must not exist yet."""
    now = [UNTIL + 2 * MINUTE]
    with fixed(lambda: now[0]):
        async with serve(rows(), BEHAVIOUR, clock=lambda: now[0]) as source:
            wanted = ExportSpec(
                base_url=source.url,
                token=TOKEN,
                since=format_instant(SINCE),
                concurrency=1,
                page_size=8,
                part_size="8kB",
            ).resolve({})
            context = RunContext(wanted.settings, wanted.credentials, Quiet(), float)
            await export(destination, wanted.asked, context)
            now[0] += DAY
            change(source, now[0] - HOUR)
            await sync(destination, wanted.asked, context, keep_generations=1)
    shutil.rmtree(destination / "_exporter/staging")


@contextmanager
def fixed(clock: Callable[[], Instant]) -> Iterator[None]:
    """Fixes what differs from run to run: the time, made-up names, the host and the process.

    The runs' own clock is `float`, so that nothing takes any time.
    """
    numbers = itertools.count(1)
    with (
        mock.patch.object(time, "time_ns", lambda: clock() * 1000),
        mock.patch.object(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}"),
        mock.patch.object(platform, "node", lambda: "host"),
        mock.patch.object(os, "getpid", lambda: 1),
        # A version before the release: datasets of the release are checked against their manifests more strictly.
        mock.patch("exporter.run.record.__version__", "0.1.0.dev1"),
    ):
        yield


def main() -> None:
    destination = HERE / f"format-{FORMAT_VERSION}"
    anyio.run(make, destination)
    size = sum(path.stat().st_size for path in destination.rglob("*") if path.is_file())
    print(f"{destination}: {size:,} bytes")


if __name__ == "__main__":
    main()
