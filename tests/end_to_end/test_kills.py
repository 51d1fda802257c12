"""Real processes, killed at random instants of their whole life; what they leave is sound, and the next run goes on.

EXPORTER_KILLS=500 pytest -s tests/end_to_end/test_kills.py             five hundred, in about a quarter of an hour
EXPORTER_KILLS=9 EXPORTER_KILLS_SEED=4711 pytest …                      others than by default

The instants are drawn from the seed, as a number of requests and a time after them; where exactly the process then is
depends on the machine.
"""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pyarrow import ArrowException

from exporter.contract import DAY, format_instant
from exporter.errors import ExporterError
from exporter.sandbox import Behaviour, Sandbox, Seen, make_conversations
from tests.end_to_end.conftest import Serving, Spawn
from tests.end_to_end.exported import Exported, check_left
from tests.end_to_end.served import SINCE, records, whole_rows_served

KILLS = int(os.environ.get("EXPORTER_KILLS", "10"))
SEED = int(os.environ.get("EXPORTER_KILLS_SEED", "0"))

ROWS, DAYS, PAGE_SIZE, CONCURRENCY = 400, 8, 10, 3
OPTIONS = (
    *("--since", format_instant(SINCE), "--until", format_instant(SINCE + DAYS * DAY), "--part-size", "15kB"),
    *("--concurrency", str(CONCURRENCY), "--page-size", str(PAGE_SIZE)),
)
#: What a run takes at the longest on a machine that does much else.
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Life:
    """An undisturbed run: its seconds until the first request, from there to the last, and from there to its end."""

    requests: int
    start: float
    reading: float
    end: float

    def choose(self, chance: random.Random) -> tuple[int, float]:
        """A random instant, as a number of requests and seconds after them."""
        match chance.random():
            case share if share < 0.1:
                return 0, chance.uniform(0, self.start)
            case share if share < 0.2:
                return self.requests, chance.uniform(0, self.end)
        # The next few requests may already come meanwhile: a commit takes longer than a page.
        return chance.randint(1, self.requests), chance.uniform(0, 4 * self.reading / self.requests)


class Watch:
    """Counts the requests of one process, and tells when they came."""

    def __init__(self, server: Sandbox) -> None:
        self.times = [time.monotonic()]
        self._wanted = -1
        self._reached = threading.Event()
        server.on_request = self._see

    def _see(self, _seen: Seen) -> None:
        self.times.append(time.monotonic())
        if len(self.times) > self._wanted > 0:
            self._reached.set()

    def wait(self, process: "subprocess.Popen[str]", requests: int, seconds: float) -> None:
        """Returns after so many requests and seconds, or at the end of the process."""
        self._wanted = requests
        while len(self.times) <= requests and not self._reached.wait(0.05) and process.poll() is None:
            pass
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return


def live(server: Sandbox, spawn: Spawn, destination: Path) -> Life:
    """Measures an undisturbed run."""
    watch = Watch(server)
    assert spawn("export", destination, *OPTIONS, server=server).wait(PATIENCE_SECONDS).status == 0
    ended = time.monotonic()
    started, first, last = watch.times[0], watch.times[1], watch.times[-1]
    return Life(len(watch.times) - 1, first - started, last - first, ended - last)


def at_stake(exported: Exported) -> int:
    """The most rows that a kill takes with it: of each worker its open file, and the pages it has just had."""
    most: int = max(file["rows"] for file in exported.files)
    return CONCURRENCY * (most + 3 * PAGE_SIZE)


def test_killed_at_any_instant(serving: Serving, spawn: Spawn, tmp_path: Path) -> None:
    rows = make_conversations(ROWS, SINCE, SINCE + DAYS * DAY, seed=11, density="flat")
    server = serving(rows, Behaviour(latency=0.002))
    life = live(server, spawn, tmp_path / "undisturbed")
    whole = Exported(tmp_path / "undisturbed")
    whole.check(records(rows))
    assert whole.manifest["generation"] > 20
    chance = random.Random(SEED)
    commits: list[int] = []
    exports = 0
    while len(commits) < KILLS:
        exports += 1
        commits += export_until_done(server, spawn, tmp_path / str(exports), life, chance, KILLS - len(commits))
        print(f"{exports} exports, {len(commits)} kills", flush=True)
    print(f"\n{life}, {whole.manifest['generation']} commits; {len(commits)} kills in {exports} exports")
    print(
        "commits there at a kill:", ", ".join(f"{there}: {times}x" for there, times in sorted(Counter(commits).items()))
    )


def export_until_done(
    server: Sandbox, spawn: Spawn, destination: Path, life: Life, chance: random.Random, most_kills: int
) -> list[int]:
    """Runs an export, killed again and again, until a run ends by itself. Returns the commits there at each kill."""
    expected = records(server.rows)
    server.requests.clear()
    commits: list[int] = []
    killed = True
    while killed:
        requests, seconds = life.choose(chance)
        watch = Watch(server)
        started = spawn("export", destination, *OPTIONS, server=server)
        if len(commits) < most_kills:
            watch.wait(started.process, requests, seconds)
            started.process.kill()
        done = started.wait(PATIENCE_SECONDS)
        killed = done.status == -signal.SIGKILL
        try:
            assert killed or done.status == 0, done.err
            there = check_left(destination, expected).number
        except (AssertionError, ExporterError, OSError, ArrowException) as error:
            raise AssertionError(
                f"seed {SEED}, {destination.name}, run {len(commits) + 1}, "
                f"{requests} requests and {seconds:.4f} s: {error}"
            ) from error
        if killed:
            commits.append(there)
    exported = Exported(destination)
    exported.check(expected)
    served = len(whole_rows_served(server.rows, server.requests, server.behaviour))
    assert served <= ROWS + len(commits) * at_stake(exported) + len(server.requests)
    shutil.rmtree(destination)
    return commits
