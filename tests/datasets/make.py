"""Makes the small dataset that is kept of each format version, for ever: `python -m tests.datasets.make`.

It is run once, by the last exporter that writes a format, and what it makes is committed as `format-N`; no later one
can make it again. The same exporter, on the same Python and PyArrow, makes the same bytes.

Three days of 30 conversations, several small parts a day, made in two runs: an export, and a sync that keeps what it
replaced. Beside them a row that fits no column (quarantine), and a group of equal times that the API does not show all
of (unproven).
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
#: When a group was made of which the API shows a part alone.
SAME = SINCE + DAY + 6 * HOUR
#: The row that the sync finds changed, by its place.
CHANGED = 4
#: More than these are not shown at once.
BEHAVIOUR = Behaviour(page_cap=8)


def rows() -> list[Row]:
    """What the source has when the first run begins."""
    made = make_conversations(30, SINCE, UNTIL, seed=7)
    alike = [
        Row(SAME, SAME, {"id": f"alike-{number:02}", "status": "completed", "organization_id": ORGANIZATION})
        for number in range(20)
    ]
    odd = Row(SINCE + HOUR, raw='{"id":"odd","created_at":"2026-01-05T01:00:00Z","status":"failed","duration":1.5}')
    return [*made, *alike, odd]


def change(source: Sandbox, at: Instant) -> str:
    """What happens there before the sync; the id of the row that has changed."""
    identity = str(rows()[CHANGED].facts()["id"])
    source.update(identity, at, summary="summed up anew")
    return identity


async def make(destination: Path) -> None:
    """Makes the dataset at `destination`, which is not there yet."""
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
    """What differs from run to run is always the same: the time, names that are made up, and who has made it.

    The runs' own clock is `float`, so that nothing has taken any time.
    """
    numbers = itertools.count(1)
    with (
        mock.patch.object(time, "time_ns", lambda: clock() * 1000),
        mock.patch.object(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}"),
        mock.patch.object(platform, "node", lambda: "host"),
        mock.patch.object(os, "getpid", lambda: 1),
        # Before the release, whose own datasets are held against their manifests more strictly.
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
