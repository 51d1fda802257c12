"""Tests exports in several processes that are killed, stopped or interrupted: nothing is lost, and nobody is left.

EXPORTER_KILLS=100 pytest -s tests/end_to_end/test_process_kills.py     a hundred
EXPORTER_KILLS=9 EXPORTER_KILLS_SEED=4711 pytest …                      at other instants than by default
"""

import os
import random
import signal
from contextlib import closing, suppress
from pathlib import Path

import pytest

from exporter import ExportSpec, blocking
from exporter.contract import DAY, format_instant
from exporter.engines.processes import Processes
from exporter.layout import STAGING
from exporter.sandbox import TOKEN, Behaviour, Sandbox, ServedRequest, make_conversations
from tests.end_to_end.conftest import Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory, check_left
from tests.end_to_end.records import SINCE, records
from tests.end_to_end.test_kills import SEED, Watch, check_sound
from tests.toolkit.processes import children_of, ends
from tests.toolkit.sizes import size_of

KILLS = size_of(3, 12, "EXPORTER_KILLS")
#: So many pages that they are worth tasks, also if half of them are read.
ROWS, DAYS, PAGE_SIZE = 2400, 8, 10
UNTIL = SINCE + DAYS * DAY
OPTIONS = (
    *("--since", format_instant(SINCE), "--until", format_instant(UNTIL)),
    *("--concurrency", "2", "--page-size", str(PAGE_SIZE)),
)
#: Leads a group of its own, as a job of a terminal does.
LEADER = (
    "-c",
    "import os, runpy; os.setpgid(0, 0); runpy.run_module('exporter', run_name='__main__', alter_sys=True)",
)
WORKER = "process_worker"
#: The first few requests are the driver's own, and the last pages are read in a moment.
FIRST, LAST = 12, 40
INTERRUPTED = 130


def kill(driver: int) -> None:
    os.kill(driver, signal.SIGKILL)


def interrupt(driver: int) -> None:
    os.killpg(driver, signal.SIGINT)


#: What happens to one run after the other, how often, and with which status it then ends.
EVENTS = ((kill, 1, -signal.SIGKILL), (interrupt, 2, INTERRUPTED), (interrupt, 1, INTERRUPTED))


@pytest.mark.parametrize("number", range(max(1, KILLS // len(EVENTS))))
def test_a_driver_stopped_and_killed_leaves_nobody_and_a_plain_run_goes_on(
    serving: Serving, spawn: Spawn, tmp_path: Path, number: int
) -> None:
    rows = make_conversations(ROWS, SINCE, UNTIL, seed=11, density="flat", transcripts=False)
    server, expected = serving(rows, Behaviour(latency=0.002)), records(rows)
    chance, destination = random.Random(f"{SEED}, {number}"), tmp_path / "out"
    hit = 0
    for act, times, status in EVENTS:
        watch = Watch(server)
        driver = spawn("export", destination, *OPTIONS, "--processes", "2", server=server, program=LEADER)
        watch.wait(driver.process, chance.randint(FIRST, LAST), 0)
        workers = children_of(driver.process.pid, WORKER)
        for _ in range(times):
            # It may have ended by itself.
            with suppress(ProcessLookupError):
                act(driver.process.pid)
        done = driver.wait()
        assert done.status in (status, 0), done.err
        assert all(map(ends, workers))
        check_sound(destination)
        check_left(destination, expected)
        hit += len(workers)
        print(f"{act.__name__}, {times}x: {done.status}, {len(workers)} processes")
    assert hit > 0
    assert spawn("export", destination, *OPTIONS, server=server).wait().status == 0
    ExportDirectory(destination).check(expected)
    assert not list((destination / STAGING).glob("*"))


def test_processes_killed_and_stopped_lose_nothing(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_conversations(ROWS, SINCE, UNTIL, seed=11, density="flat", transcripts=False)
    server, destination = serving(rows, Behaviour(latency=0.002)), tmp_path / "out"
    monkeypatch.setenv("ANYREACH_TOKEN", TOKEN)
    spec = ExportSpec(
        destination=destination,
        since=format_instant(SINCE),
        until=format_instant(UNTIL),
        base_url=server.url,
        page_size=PAGE_SIZE,
        concurrency=2,
    )
    # A process that has only been started is silent, too, on a busy machine.
    with closing(Processes(2, silence_seconds=4)) as engine:
        attack = Attack(server, random.Random(SEED), [signal.SIGKILL, signal.SIGSTOP])
        summary = blocking.export(spec, engine=engine)
    assert summary.exit_status == 0
    assert not attack.left
    assert all(map(ends, attack.hit))
    ExportDirectory(destination).check(records(rows))
    assert not list((destination / STAGING).glob("*"))
    check_sound(destination)


class Attack:
    """Sends each of the signals that are `left` to a process that reads, at some request."""

    def __init__(self, server: Sandbox, chance: random.Random, left: list[signal.Signals]) -> None:
        self.left = left
        self.hit: list[int] = []
        self._chance = chance
        self._next = self._draw(FIRST)
        server.on_request = self._see

    def _draw(self, after: int) -> int:
        return after + self._chance.randint(1, LAST - FIRST)

    def _see(self, seen: ServedRequest) -> None:
        workers = [pid for pid in children_of(os.getpid(), WORKER) if pid not in self.hit] if self.left else []
        if seen.number < self._next or not workers:
            return
        self._next = self._draw(seen.number)
        self.hit.append(self._chance.choice(workers))
        os.kill(self.hit[-1], self.left.pop(0))
