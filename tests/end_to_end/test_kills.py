"""Tests processes that are killed at random instants: what they leave is sound, and the next run goes on.

EXPORTER_KILLS=500 pytest -s tests/end_to_end/test_kills.py             five hundred, in about a quarter of an hour:
                                                                        half of exports, half of syncs, and half as
                                                                        many again of rereads
EXPORTER_KILLS=9 EXPORTER_KILLS_SEED=4711 pytest …                      others than by default

The seed gives each instant as a number of requests and a time after them; what the process is doing then depends on
the machine.
"""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from pyarrow import ArrowException

from exporter.contract import DAY, format_instant
from exporter.errors import ExporterError
from exporter.jobs.verify import verify
from exporter.sandbox import Behaviour, Row, Sandbox, ServedRequest, make_conversations
from tests.end_to_end.conftest import Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory, check_left
from tests.end_to_end.records import SINCE, Record, records, whole_rows_served
from tests.toolkit.sizes import size_of, some_of

T = TypeVar("T")

KILLS = size_of(2, 6, "EXPORTER_KILLS")
SEED = int(os.environ.get("EXPORTER_KILLS_SEED", "0"))

ROWS, DAYS, PAGE_SIZE, CONCURRENCY = 400, 8, 10, 3
SYNC_OPTIONS = ("--part-size", "15kB", "--concurrency", str(CONCURRENCY), "--page-size", str(PAGE_SIZE))
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(SINCE + DAYS * DAY))
OPTIONS = (*SYNC_OPTIONS, *RANGE, "--tables", "conversations,turns")
#: This share of the instants at which a sync is killed comes after its last request, while it merges.
MERGING = 0.6
#: The longest time of a run on a busy machine.
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Life:
    """Times an undisturbed run: the seconds until the first request, from there to the last, and then to its end."""

    requests: int
    start: float
    reading: float
    end: float

    def choose(self, chance: random.Random, late: float = 0.1) -> tuple[int, float]:
        """Draws an instant: a number of requests and the seconds after them; `late` is the likelihood of the last."""
        match chance.random():
            case share if share < 0.1:
                return 0, chance.uniform(0, self.start)
            case share if share < 0.1 + late:
                return self.requests, chance.uniform(0, self.end)
        # The next few requests may come in this time, because a commit takes longer than a page.
        return chance.randint(1, self.requests), chance.uniform(0, 4 * self.reading / self.requests)


class Watch:
    """Records when the requests of one process came."""

    def __init__(self, server: Sandbox) -> None:
        self.times = [time.monotonic()]
        self._wanted = -1
        self._reached = threading.Event()
        server.on_request = self._see

    def _see(self, _seen: ServedRequest) -> None:
        self.times.append(time.monotonic())
        if len(self.times) > self._wanted > 0:
            self._reached.set()

    def wait(self, process: "subprocess.Popen[str]", requests: int, seconds: float) -> None:
        """Returns after this many requests and seconds, or at the end of the process."""
        self._wanted = requests
        while len(self.times) <= requests and not self._reached.wait(0.05) and process.poll() is None:
            pass
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return


def live(server: Sandbox, spawn: Spawn, *arguments: str | Path) -> Life:
    """Measures an undisturbed run."""
    watch = Watch(server)
    assert spawn(*arguments, server=server).wait(PATIENCE_SECONDS).status == 0
    ended = time.monotonic()
    started, first, last = watch.times[0], watch.times[1], watch.times[-1]
    return Life(len(watch.times) - 1, first - started, last - first, ended - last)


def at_stake(exported: ExportDirectory) -> int:
    """Returns the most rows that a kill may lose: of each worker the file that it writes or commits, the page that it
    has written last, the one that waits, and the one that has just come."""
    most: int = max(file["rows"] for file in exported.files)
    return CONCURRENCY * (most + 3 * PAGE_SIZE)


def test_killed_at_any_instant(serving: Serving, spawn: Spawn, tmp_path: Path) -> None:
    rows = make_conversations(ROWS, SINCE, SINCE + DAYS * DAY, seed=11, density="flat")
    server = serving(rows, Behaviour(latency=0.002))
    life = live(server, spawn, "export", tmp_path / "undisturbed", *OPTIONS)
    whole = ExportDirectory(tmp_path / "undisturbed")
    whole.check(records(rows))
    assert whole.manifest["generation"] > 20
    chance = random.Random(SEED)
    commits: list[int] = []
    exports = 0
    most = KILLS - KILLS // 2
    while len(commits) < most:
        exports += 1
        commits += export_until_done(server, spawn, tmp_path / str(exports), life, chance, most - len(commits))
        print(f"{exports} exports, {len(commits)} kills", flush=True)
    print(f"\n{life}, {whole.manifest['generation']} commits; {len(commits)} kills in {exports} exports")
    print("commits at a kill:", counted(commits))


@pytest.mark.parametrize("command", some_of(["sync", "reread"], "sync"))
def test_a_merge_killed_at_any_instant(serving: Serving, spawn: Spawn, tmp_path: Path, command: str) -> None:
    rows = make_conversations(ROWS, SINCE, SINCE + DAYS * DAY, seed=11, density="flat")
    server = serving(rows, Behaviour(latency=0.002))
    destination = tmp_path / "synced"
    live(server, spawn, "export", destination, *OPTIONS)
    chance = random.Random(SEED)
    change(server, chance)
    life = live(server, spawn, command, destination, *SYNC_OPTIONS)
    before = records(server.rows)
    ExportDirectory(destination).check(before)
    moments: list[str] = []
    syncs, kills = 0, max(1, KILLS // 4 if command == "reread" else KILLS // 2)
    while len(moments) < kills:
        syncs += 1
        change(server, chance)
        most = kills - len(moments)
        moments += merge_until_done(server, spawn, command, destination, life, chance, most, before)
        before = records(server.rows)
        print(f"{syncs} times {command}, {len(moments)} kills", flush=True)
    assert spawn("verify", destination, server=server).wait(PATIENCE_SECONDS).status == 0
    print(f"\n{life}; {len(moments)} kills of {command} in {syncs}")
    print("state at a kill:", counted(moments))


def check_sound(destination: Path) -> None:
    """Checks that a verification finds nothing wrong: what a killed run leaves is no damage."""
    if list(destination.glob("_exporter/commits/*.json")):
        verified = anyio.run(partial(verify, destination, now=0))
        assert verified.sound, verified.problems
        assert verified.exit_status == (1 if verified.state == "incomplete" or verified.unsettled else 0)


def counted(things: Iterable[object]) -> str:
    return ", ".join(f"{thing}: {times}x" for thing, times in sorted(Counter(map(str, things)).items()))


def change(server: Sandbox, chance: random.Random) -> None:
    """Changes rows of all days, and inserts some late ones."""
    now = time.time_ns() // 1000
    for row in chance.sample(server.rows, 40):
        server.update(str(row.facts()["id"]), now, summary=f"{now}")
    # They are within the range of the request, because a reread goes no further.
    at = SINCE + chance.randrange(DAYS * DAY - DAY // 2)
    for row in make_conversations(3, at, at + DAY // 2, seed=now):
        server.insert(Row(row.created_at, now, row.facts()))


def kill_until_done(
    server: Sandbox,
    spawn: Spawn,
    command: Sequence[str | Path],
    choose: Callable[[], tuple[int, float]],
    most_kills: int,
    look: Callable[[], T],
) -> list[T]:
    """Runs a command, killed again and again, until a run ends by itself. Returns what `look` saw after each kill."""
    seen: list[T] = []
    while True:
        requests, seconds = choose()
        watch = Watch(server)
        started = spawn(*command, server=server)
        if len(seen) < most_kills:
            watch.wait(started.process, requests, seconds)
            started.process.kill()
        done = started.wait(PATIENCE_SECONDS)
        killed = done.status == -signal.SIGKILL
        try:
            assert killed or done.status == 0, done.err
            found = look()
        except (AssertionError, ExporterError, OSError, ArrowException) as error:
            raise AssertionError(
                f"seed {SEED}, {command[1]}, run {len(seen) + 1}, {requests} requests and {seconds:.4f} s: {error}"
            ) from error
        if not killed:
            return seen
        seen.append(found)


def merge_until_done(
    server: Sandbox,
    spawn: Spawn,
    command: str,
    destination: Path,
    life: Life,
    chance: random.Random,
    most_kills: int,
    before: Mapping[str, Record],
) -> list[str]:
    """Runs a sync or a reread until one ends by itself. Returns what each kill left.

    Whatever the instant, the export then has all of what has changed, or none of it.
    """
    after = records(server.rows)

    def look() -> str:
        has_changed = ExportDirectory(destination).records() == after
        check_left(destination, after if has_changed else before)
        check_sound(destination)
        sealed = (destination / "_SUCCESS").exists()
        return f"{'after' if has_changed else 'before'}, {'sealed' if sealed else 'open'}"

    choose = partial(life.choose, chance, MERGING)
    moments = kill_until_done(server, spawn, (command, destination, *SYNC_OPTIONS), choose, most_kills, look)
    ExportDirectory(destination).check(after)
    return moments


def export_until_done(
    server: Sandbox, spawn: Spawn, destination: Path, life: Life, chance: random.Random, most_kills: int
) -> list[int]:
    """Runs an export until one ends by itself. Returns the number of commits at each kill."""
    expected = records(server.rows)
    server.requests.clear()

    def look() -> int:
        check_sound(destination)
        return check_left(destination, expected).number

    choose = partial(life.choose, chance)
    commits = kill_until_done(server, spawn, ("export", destination, *OPTIONS), choose, most_kills, look)
    exported = ExportDirectory(destination)
    exported.check(expected)
    served = len(whole_rows_served(server.rows, server.requests, server.behaviour))
    assert served <= ROWS + len(commits) * at_stake(exported) + len(server.requests)
    shutil.rmtree(destination)
    return commits
