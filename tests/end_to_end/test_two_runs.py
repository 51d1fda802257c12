"""Tests two runs at one destination: one is refused or, without locks, one ends as if it had never run."""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from exporter.contract import DAY, END_OF_TIME, format_instant
from exporter.errors import ExporterError, OvertakenError, RequestRefusedError
from exporter.jobs.export import export
from exporter.jobs.summary import Summary
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import verify
from exporter.log.commits import CommitLog
from exporter.model import Change
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.record import author_of
from exporter.sandbox import Behaviour, Row, Sandbox, ServedRequest, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.conftest import Command, Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory, snapshot, without_lock
from tests.end_to_end.records import SINCE, records
from tests.end_to_end.test_stopped import Moment
from tests.jobs.damage import flip, parts, settle
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.usefixtures("hasty")

UNTIL = SINCE + 2 * DAY
OPTIONS = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL), "--page-size", "10")
#: A run is held at each step of its store, or at one of so many.
STRIDE = size_of(3, 1)
STEPS = ("read", "create", "replace", "delete", "list", "publish")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(70, SINCE, UNTIL, seed=41, density="flat")


def test_a_run_that_was_killed_holds_nothing(
    rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    moment = Moment(server, 8)
    killed = spawn("export", tmp_path / "out", *OPTIONS, server=server)
    moment.send(killed.process.pid, signal.SIGKILL, stalls=True)
    assert killed.wait().status == -signal.SIGKILL
    assert json.loads((tmp_path / "out" / "_exporter" / "lock").read_bytes())["pid"] == killed.process.pid
    assert json.loads(command("status", tmp_path / "out", "--json", token=None).out)["holder"] is None
    assert command("export", tmp_path / "out", *OPTIONS, server=serving(rows)).status == 0
    ExportDirectory(tmp_path / "out").check(records(rows))


def test_a_run_that_sleeps_still_holds_its_destination(
    rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    moment = Moment(server, 8)
    sleeping = spawn("export", tmp_path / "out", *OPTIONS, server=server)
    moment.send(sleeping.process.pid)
    assert moment.reached.wait(60)
    os.kill(sleeping.process.pid, signal.SIGSTOP)
    done = command("export", tmp_path / "out", *OPTIONS, server=serving(rows))
    assert (done.status, len(done.complaint)) == (5, 1)
    assert f"(process {sleeping.process.pid} on " in done.err
    os.kill(sleeping.process.pid, signal.SIGCONT)
    assert sleeping.wait().status == 0
    ExportDirectory(tmp_path / "out").check(records(rows))


@pytest.mark.parametrize(
    "words",
    ["export", "sync", "reread", "audit --repair", "verify --repair", "compact", "vacuum --older-than 0s"],
)
def test_a_second_run_asks_nothing_and_is_no_last_run(
    words: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    out, server = tmp_path / "out", serving(rows)
    assert command("export", out, *OPTIONS, server=server).status == 0
    last = json.loads(command("status", out, "--json").out)["last_run"]
    asked = len(server.requests)
    # An exporter before this one has added such a line.
    with (out / "_exporter" / "runs.jsonl").open("a") as journal:
        refused = {"exit_status": 5, "error": "DestinationLockedError", "generation_before": last["generation"]}
        journal.write(json.dumps(last | refused) + "\n")
    lines = (out / "_exporter" / "runs.jsonl").read_bytes()
    holder = LocalStore(out)
    anyio.run(holder.acquire_lock, "at-work")
    name, *options = words.split()
    done = command(name, out, *options, server=server)
    assert (done.status, len(done.complaint)) == (5, 1)
    assert "held by run at-work (process " in done.err
    assert len(server.requests) == asked
    assert (out / "_exporter" / "runs.jsonl").read_bytes() == lines
    assert json.loads(command("status", out, "--json").out)["last_run"] == last
    anyio.run(holder.release_lock)


def test_a_run_holds_its_destination_before_it_has_an_answer(
    rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    silent, idle = serving(rows, Behaviour(latency=3600.0)), serving(rows)
    first = spawn("export", tmp_path / "new" / "out", *OPTIONS, server=silent)
    while not silent.requests:
        assert first.process.poll() is None
    for name in ("export", "sync"):
        assert command(name, tmp_path / "new" / "out", server=idle).status == 5
    assert idle.requests == []
    first.process.send_signal(signal.SIGTERM)
    assert first.wait().status == 130
    assert list(tmp_path.iterdir()) == []


class Pause:
    """Holds the first run at its `step`-th call of the store until `meanwhile` is done.

    The other run is held at its first `publish` until `other_may_publish` is set.
    """

    def __init__(self, step: int, meanwhile: Callable[[], Awaitable[None]], names: tuple[str, ...] = STEPS) -> None:
        self.reached = ""
        self.other_holds = anyio.Event()
        self.other_may_publish = anyio.Event()
        self._store: LocalStore | None = None
        self._left = step
        self._meanwhile = meanwhile
        self._names = names

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fcntl, "flock", lambda *_: None)
        for name in self._names:
            monkeypatch.setattr(LocalStore, name, self._pausing(name, getattr(LocalStore, name)))

    def _pausing(self, name: str, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self.reached = name
                self._store = arguments[0]
                await self._meanwhile()
            elif name == "publish" and self._store not in (None, arguments[0]):
                self.other_holds.set()
                await self.other_may_publish.wait()
            return await real(*arguments)

        return call


async def run(destination: Path, server: Sandbox) -> Summary:
    # The run has one worker: while its store waits, all of the run waits, except for a page or two.
    settings = RunSettings(base_url=server.url, concurrency=1, page_size=20)
    context = RunContext(settings, Credentials(server.token), Quiet())
    return await export(destination, Selection(since=SINCE, until=UNTIL), context)


@pytest.mark.anyio
@pytest.mark.parametrize("resumed", [False, True])
async def test_wherever_a_run_is_overtaken_the_other_alone_is_seen(
    resumed: bool, rows: list[Row], tmp_path: Path
) -> None:
    expected = records(rows)
    ended: dict[str, int] = {"overtaken": 0, "complete": 0}
    async with serve(rows) as server:
        step, reached = 0, "at first"
        while reached:
            step += STRIDE
            destination = tmp_path / str(step)

            async def overtake(destination: Path = destination) -> None:
                assert (await run(destination, server)).state == "complete"

            if resumed:
                await leave_half(destination, server)
            pause = Pause(step, overtake)
            pause.other_may_publish.set()
            with pytest.MonkeyPatch.context() as monkeypatch:
                pause.install(monkeypatch)
                try:
                    assert (await run(destination, server)).state == "complete"
                    ended["complete"] += 1
                except OvertakenError as error:
                    assert "another run has gone on with this export" in str(error)
                    ended["overtaken"] += 1
            reached = pause.reached
            try:
                if reached == "delete" and not (destination / "_SUCCESS").exists():
                    # Only this step asks for another run, as the message says: nothing is called whole too early.
                    assert (await run(destination, server)).state == "complete"
                ExportDirectory(destination).check(expected)
            except (AssertionError, ExporterError) as error:
                raise AssertionError(f"step {step}, before {reached}: {error}") from error
    assert ended["overtaken"] > 10 // STRIDE
    assert 0 < ended["complete"] < ended["overtaken"]


@pytest.mark.anyio
async def test_a_run_that_goes_on_while_the_other_has_only_begun(rows: list[Row], tmp_path: Path) -> None:
    """The run can no longer commit files that the other run swept when it began."""
    expected = records(rows)
    async with serve(rows) as server:
        step, reached = 0, "at first"
        while reached:
            step += STRIDE
            destination = tmp_path / str(step)
            await leave_half(destination, server)
            pause = await run_against_one_another(step, destination, server)
            reached = pause.reached
            try:
                assert (await run(destination, server)).state == "complete"
                ExportDirectory(destination).check(expected)
            except (AssertionError, ExporterError, OSError) as error:
                raise AssertionError(f"step {step}, before {reached}: {error}") from error
    assert step > 20


async def run_against_one_another(step: int, destination: Path, server: Sandbox) -> Pause:
    """Holds the first run at `step` until the other has begun, then the other until the first has ended."""

    async def overtake() -> None:
        group.start_soon(run_if_it_may, destination, server, pause.other_holds)
        await pause.other_holds.wait()

    pause = Pause(step, overtake)
    with pytest.MonkeyPatch.context() as monkeypatch:
        pause.install(monkeypatch)
        async with anyio.create_task_group() as group:
            await run_if_it_may(destination, server, anyio.Event())
            pause.other_may_publish.set()
    return pause


async def run_if_it_may(destination: Path, server: Sandbox, ended: anyio.Event) -> None:
    with suppress(OvertakenError):
        await run(destination, server)
    ended.set()


async def leave_half(destination: Path, server: Sandbox) -> None:
    """Makes an export whose last run stopped within a day, with a part that no commit names beside its own."""
    last = len(server.requests) + 8

    def fail(seen: ServedRequest) -> None:
        if seen.number == last:
            server.behaviour = Behaviour(faults=("redirect",), fault_rate=1.0)

    server.on_request = fail
    with pytest.raises(RequestRefusedError):
        await run(destination, server)
    server.on_request, server.behaviour = None, Behaviour()
    exported = ExportDirectory(destination)
    assert exported.state == "incomplete"
    part = destination / exported.files[-1]["path"]
    shutil.copy(part, part.with_name("part-killed-000001.parquet"))


async def repair(destination: Path) -> None:
    assert (await verify(destination, now=UNTIL, repair=True)).sound


async def clean(destination: Path) -> None:
    assert (await vacuum(destination, before=END_OF_TIME, now=UNTIL)).files == 1


async def replace_a_part(destination: Path) -> None:
    """Replaces a part, and keeps the old one."""
    log = CommitLog(LocalStore(destination), author_of("merger"))
    old = (await log.load()).conversations[0]
    new = msgspec.structs.replace(old, path=old.path.replace("part-", "part-merger-"))
    shutil.copy(destination / old.path, destination / new.path)
    change = Change(adds=(new,), removes=(old.path,))
    await log.append(committed_at=UNTIL, kind="compact", change=change, keep_generations=1)
    await anyio.to_thread.run_sync(settle, destination)


@pytest.mark.anyio
@pytest.mark.parametrize("command", [repair, clean])
async def test_wherever_a_command_that_asks_nothing_is_overtaken_the_manifest_is_that_of_the_log(
    command: Callable[[Path], Awaitable[None]], rows: list[Row], tmp_path: Path
) -> None:
    overtaken = 0
    async with serve(rows) as server:
        await run(tmp_path / "made", server)
        if command is repair:
            flip(tmp_path / "made", parts(tmp_path / "made")[0])
        else:
            await replace_a_part(tmp_path / "made")
        step, reached = 0, "at first"
        while reached:
            step += 1
            destination = tmp_path / str(step)
            shutil.copytree(tmp_path / "made", destination)

            async def overtake(destination: Path = destination) -> None:
                await run(destination, server)

            pause = Pause(step, overtake)
            pause.other_may_publish.set()
            with pytest.MonkeyPatch.context() as monkeypatch:
                pause.install(monkeypatch)
                try:
                    await command(destination)
                except OvertakenError:
                    overtaken += 1
            reached = pause.reached
            if reached == "delete" and not (destination / "_SUCCESS").exists():
                await run(destination, server)
            found = {problem.what for problem in (await verify(destination, now=UNTIL)).problems}
            assert not found & {"manifest", "behind", "success"}, f"step {step}, before {reached}"
    assert overtaken > 1


def test_what_the_user_of_an_overtaken_run_sees(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving(rows)

    async def overtake() -> None:
        assert (await run(tmp_path / "out", server)).state == "complete"
        seen.append(snapshot(tmp_path / "out"))

    seen: list[dict[str, tuple[bytes, int, int]]] = []
    pause = Pause(1, overtake, ("publish",))
    pause.other_may_publish.set()
    pause.install(monkeypatch)
    # More than one worker could overtake the other run.
    done = command("export", tmp_path / "out", *OPTIONS, "--concurrency", "1", server=server)
    assert pause.reached
    assert (done.status, done.out, len(done.complaint)) == (1, "", 1)
    assert "another run has gone on with this export, and this one stops. Run again to see its state" in done.err
    # At no moment did anything else exist.
    assert without_lock(snapshot(tmp_path / "out")) == without_lock(seen[0])
    ExportDirectory(tmp_path / "out").check(records(rows))
