"""Tests runs that are killed, interrupted, or met by another run; the same command again finishes what they began."""

import json
import os
import random
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import anyio
import pytest

from exporter.contract import DAY, format_instant
from exporter.jobs.export import export
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import Behaviour, Row, Sandbox, ServedRequest, make_conversations
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.conftest import Command, CommandResult, Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, UNTIL, records, whole_rows_served
from tests.toolkit.recordings import SMALL, call, outcomes
from tests.toolkit.sizes import size_of, some_of

CONCURRENCY, PAGE_SIZE = 3, 20
OPTIONS = (
    *("--since", format_instant(SINCE), "--until", format_instant(UNTIL)),
    *("--concurrency", str(CONCURRENCY), "--page-size", str(PAGE_SIZE)),
)
#: The number of rows, which are spread evenly, so that every day has about as many.
ROWS = 1500
STALLED = Behaviour(faults=("stall",), fault_rate=1.0)
#: Less than a run waits for any answer. A process that stops takes a second, and many times that on a busy machine.
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(ROWS, SINCE, UNTIL, seed=21, density="flat", transcripts=False)


class Moment:
    """Comes when `server` has had `count` more requests; then sends the signals, from within the server."""

    def __init__(self, server: Sandbox, count: int) -> None:
        self.reached = threading.Event()
        self.signals: tuple[signal.Signals, ...] = ()
        self.stalls = False
        self.pid = threading.Event()
        self._process = 0
        self._server = server
        self._last = len(server.requests) + count
        server.on_request = self._see

    def send(self, pid: int, *signals: signal.Signals, stalls: bool = False) -> None:
        """Names the signals for the process; with `stalls`, the server then answers no more requests."""
        self._process, self.signals, self.stalls = pid, signals, stalls
        self.pid.set()

    def _see(self, seen: ServedRequest) -> None:
        if seen.number < self._last or self.reached.is_set():
            return
        self.pid.wait(60)
        if self.stalls:
            self._server.behaviour = STALLED
        if len(self.signals) > 1:
            # Otherwise the process might end before the last of them is sent.
            os.kill(self._process, signal.SIGSTOP)
        for one in self.signals:
            os.kill(self._process, one)
        os.kill(self._process, signal.SIGCONT)
        self.reached.set()


def stop_at(
    count: int, *signals: signal.Signals, server: Sandbox, spawn: Spawn, destination: Path, stalls: bool = False
) -> CommandResult:
    """Runs the export as a process that gets `signals` at its request `count`."""
    server.behaviour = Behaviour(latency=0.002)
    moment = Moment(server, count)
    started = spawn("export", destination, *OPTIONS, server=server)
    moment.send(started.process.pid, *signals, stalls=stalls)
    assert moment.reached.wait(60), started.wait().err
    done = started.wait(PATIENCE_SECONDS)
    server.on_request = None
    server.behaviour = Behaviour()
    return done


def at_stake(exported: ExportDirectory) -> int:
    """Returns the most rows that a process may lose: of each worker the file that it writes or commits, the page that
    it has written last, the one that waits, and the one that has just come."""
    day: Counter[str] = Counter()
    for file in exported.files:
        day[file["partition"]["created_date"]] += file["rows"]
    return CONCURRENCY * (max(day.values()) + 3 * PAGE_SIZE)


@pytest.mark.parametrize("seed", range(size_of(1, 2)))
def test_killed_again_and_again_at_any_instant(
    seed: int, rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    server = serving(rows)
    destination = tmp_path / "out"
    kills = size_of(2, 3)
    for _ in range(kills):
        # Together these runs are too short to finish.
        done = stop_at(rng.randrange(1, 25), signal.SIGKILL, server=server, spawn=spawn, destination=destination)
        assert done.status == -signal.SIGKILL
    # An unfinished export is also sound.
    if (destination / "_manifest.json").exists():
        shown = ExportDirectory(destination)
        assert not (destination / "_SUCCESS").exists()
        assert shown.records().items() <= records(rows).items()
    assert command("export", destination, *OPTIONS, server=server).status == 0
    exported = ExportDirectory(destination)
    exported.check(records(rows))
    overlaps = len(server.requests)
    served = len(whole_rows_served(rows, server.requests, Behaviour()))
    assert served <= ROWS + kills * at_stake(exported) + overlaps


def test_little_of_what_was_read_is_lost(
    rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    done = stop_at(80, signal.SIGKILL, server=server, spawn=spawn, destination=tmp_path / "out")
    assert done.status == -signal.SIGKILL
    served = len({row.facts()["id"] for row in whole_rows_served(rows, server.requests, Behaviour())})
    kept = json.loads(command("status", tmp_path / "out", "--json", token=None).out)["rows"]
    first = len(server.requests)
    assert command("export", tmp_path / "out", *OPTIONS, server=server).status == 0
    exported = ExportDirectory(tmp_path / "out")
    exported.check(records(rows))
    assert served > ROWS * 0.7
    assert 0 < served - kept <= at_stake(exported)
    again, overlaps = whole_rows_served(rows, server.requests[first:], Behaviour()), len(server.requests) - first
    # If a window is split while a page is on its way, the page may have rows that another worker then reads.
    split = CONCURRENCY * PAGE_SIZE
    assert len(again) <= ROWS - kept + overlaps + split


@pytest.mark.parametrize("which", some_of([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], signal.SIGTERM))
def test_interrupted_while_the_server_stalls(
    which: signal.Signals, rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    destination = tmp_path / "out"
    done = stop_at(30, which, server=server, spawn=spawn, destination=destination, stalls=True)
    assert (done.status, done.out) == (130, "")
    last = done.err.splitlines()[-1]
    assert re.fullmatch(r"exporter: stopped: [\d,]+ conversations \(\d+ %\) are kept in \S+; run the same .*", last), (
        last
    )
    assert "Traceback" not in done.err
    exported = ExportDirectory(destination)
    exported.check_sound()
    assert exported.state == "incomplete"
    kept = exported.records()
    assert kept.items() <= records(rows).items()
    # Each worker may hold a row back until an older one shows that no other shares its time.
    served = {row.facts()["id"] for row in whole_rows_served(rows, server.requests[:-CONCURRENCY], Behaviour())}
    assert len(served - kept.keys()) <= CONCURRENCY * (1 + PAGE_SIZE)
    assert command("export", destination, *OPTIONS, server=server).status == 0
    ExportDirectory(destination).check(records(rows))


@pytest.mark.parametrize("job", some_of(["recordings", "export"], "export"))
def test_interrupted_while_recordings_come(
    job: str, serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server, out = serving([call(number) for number in range(60)], media=SMALL), tmp_path / "out"
    media, under_way = server.media, threading.Event()
    assert media is not None
    media.on_request = lambda request: under_way.set() if request.number >= 9 else None
    assert command("export", out, server=server).status == 0
    slow = ("--recording-rate", "20kB", "--recording-concurrency", "2", "--allow-network", "127.0.0.0/8")
    running = spawn(job, out, *slow, *(["--recordings"] if job == "export" else []), server=server)
    assert under_way.wait(60)
    running.process.send_signal(signal.SIGINT)
    done = running.wait(PATIENCE_SECONDS)
    assert (done.status, done.out) == (130, "")
    kept = len(outcomes(out))
    assert 4 <= kept < 60
    assert command("verify", out, "--media").status == 0
    what = {
        "recordings": f"{kept} of 60 recordings are kept in {out}/media",
        "export": f"60 conversations and {kept} of 60 recordings are kept in {out}",
    }
    assert done.err.splitlines()[-1] == f"exporter: stopped: {what[job]}; run the same command to go on"
    assert json.loads(command("status", out, "--json", token=None).out)["last_run"]["exit_status"] == 130
    assert "; the source deletes it at " in command("status", out, "--recording-retention", "14d", token=None).out
    assert command("recordings", out, *slow[-2:], server=server).status == 0


@pytest.mark.thorough
def test_interrupted_more_than_once(
    rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    signals = (signal.SIGTERM, signal.SIGINT)
    server = serving(rows)
    destination = tmp_path / "out"
    done = stop_at(40, *signals, server=server, spawn=spawn, destination=destination, stalls=True)
    assert (done.status, done.out) == (130, "")
    assert "Traceback" not in done.err
    assert command("export", destination, *OPTIONS, server=server).status == 0
    ExportDirectory(destination).check(records(rows))


@pytest.mark.parametrize("which", some_of([signal.SIGINT, signal.SIGTERM], signal.SIGINT))
def test_interrupted_before_anything_was_read(
    which: signal.Signals, rows: list[Row], serving: Serving, spawn: Spawn, tmp_path: Path
) -> None:
    server = serving(rows)
    done = stop_at(1, which, server=server, spawn=spawn, destination=tmp_path / "out", stalls=True)
    assert done.status == 130
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_a_terminal_that_closes_hangs_up_more_than_once(
    rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    destination = tmp_path / "out"
    hangups = (signal.SIGHUP, signal.SIGHUP, signal.SIGHUP)
    done = stop_at(40, *hangups, server=server, spawn=spawn, destination=destination, stalls=True)
    assert done.status == 130
    assert re.search(r"exporter: stopped: [\d,]+ conversations \(\d+ %\) are kept in ", done.err), done.err
    status = json.loads(command("status", destination, "--json", token=None).out)
    assert status["rows"] > 0
    assert status["last_run"]["exit_status"] == 130


def test_signals_after_the_pipeline_are_handled_as_before_it(rows: list[Row], serving: Serving, tmp_path: Path) -> None:
    server = serving(rows)
    asked = Selection(since=UNTIL - DAY, until=UNTIL)
    handlers = []

    async def run() -> None:
        context = RunContext(RunSettings(base_url=server.url), Credentials(server.token), Quiet())
        await export(tmp_path / "out", asked, context)
        handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        anyio.run(run)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handlers == [signal.default_int_handler]


def test_a_second_run_at_once_is_told_who_holds_the_destination(
    rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    destination = tmp_path / "out"
    moment = Moment(server, 20)
    first = spawn("export", destination, *OPTIONS, server=server)
    moment.send(first.process.pid, stalls=True)
    assert moment.reached.wait(60)
    done = command("export", destination, *OPTIONS, server=serving(rows))
    assert (done.status, done.out) == (5, "")
    assert f"{destination}: held by run " in done.err
    assert f"(process {first.process.pid} on " in done.err
    assert done.err.count("\n") <= 2
    assert f"(process {first.process.pid} on " in command("status", destination, token=None).out
    first.process.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE_SECONDS).status == 130
    assert command("export", destination, *OPTIONS, server=serving(rows)).status == 0
    ExportDirectory(destination).check(records(rows))
