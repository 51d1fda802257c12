"""Makes a whole world from one number: conversations, a server with its quirks, a network, a disk, and fates of runs.

A world exports into one destination and syncs it, run after run, most of them ended by what their fate says, until it
is complete. In between and at the end it checks what the exporter promises.
"""

import asyncio
import random
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Literal, TypeAlias, get_args
from unittest.mock import patch

import aiohttp
import anyio.to_thread

from exporter import signals
from exporter.contract import DAY, HOUR, SECOND, Instant
from exporter.errors import (
    AccessError,
    ContradictionError,
    DestinationError,
    ExporterError,
    InterruptedExportError,
    SourceError,
    StoreError,
    TransientError,
    UsageError,
)
from exporter.jobs.export import export
from exporter.jobs.summary import Summary
from exporter.jobs.sync import sync
from exporter.log.state import State, state_name
from exporter.model import TABLES
from exporter.pipeline import attempts
from exporter.pipeline.part_sink import WindowWriter
from exporter.pipeline.spool_sink import SpoolSink
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, PartitionBy, RunSettings, Selection
from exporter.store.local import lock
from tests.simulation.disk import SimulatedDisk
from tests.simulation.loop import SimulatedLoop, run_sync
from tests.simulation.making import T0
from tests.simulation.network import Network
from tests.simulation.promises import (
    check_doubts,
    check_exact,
    check_journal,
    check_little_is_lost,
    check_order,
    check_sound,
)
from tests.simulation.quirks import Ending, Quirks
from tests.simulation.source import Source

Fate: TypeAlias = Literal[
    "calm", "kill", "power", "kill-at-write", "power-at-write", "stop", "disk", "full", "outage", "revoked", "two"
]
FATES: Final[tuple[Fate, ...]] = get_args(Fate)
_Job: TypeAlias = Callable[[], Awaitable[Summary]]

NOW: Final = T0 + 10 * DAY
#: What a run may take in simulated time: outages are waited out.
LONGEST_RUN_SECONDS: Final = 24 * 3600.0
STOP_SECONDS: Final = 5.0

#: Which errors may end a run, beside being killed.
_EXPECTED: Final[dict[Fate, tuple[type[ExporterError], ...]]] = {
    "stop": (InterruptedExportError,),
    "disk": (StoreError, DestinationError),
    "full": (StoreError, DestinationError),
    "outage": (SourceError,),
    "revoked": (AccessError,),
    # One that finds nothing left to read, and under the lock a range that the other has widened, asks to be run again.
    "two": (StoreError, DestinationError),
}


@dataclass
class World:
    """Holds everything there is, made from `seed`; files lie below `root`."""

    seed: int
    root: Path
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.destination = self.root / "export"
        self.elapsed_seconds = 0.0
        self.loop: SimulatedLoop | None = None
        self.disk = SimulatedDisk(self.root, self.chance)
        self.disk.on_link = lambda file, name: check_order(self.disk, self.destination, file, name)
        self.quirks = Quirks(self.seed)
        self.source = Source(self.chance, self.quirks, self.wall_clock, self.seconds)
        self.moves = self.chance.random() < 0.5 or "moves" in self.quirks or "clock" in self.quirks
        self.ending: Ending = "exact"
        since = self.chance.choice((None, T0, T0, T0, T0 + 5 * HOUR + 1))
        until = self.chance.choice((None, T0 + DAY, T0 + 3 * DAY))
        if "clock" in self.quirks:
            # Only what comes now tells when now is.
            until = None
        partition_by: PartitionBy = self.chance.choice(("day", "day", "hour", "month", "none"))
        tables = self.chance.choice((None, None, TABLES))
        self.asked = Selection(since=since, until=until, partition_by=partition_by, tables=tables)
        self.settings = RunSettings(
            base_url="http://127.0.0.1:1",
            concurrency=self.chance.choice((1, 2, 3, 6)),
            page_size=self.chance.choice((2, 3, 7, 7, 20, 1000)),
            target_part_bytes=self.chance.choice((1, 20_000, 1 << 28)),
            max_rps=self.chance.choice((None, None, 1.0, 20.0)),
            lag_seconds=self.chance.choice((0, 60, 60)),
        )
        self.settled: dict[str, float] = {}
        self.ended_at = 0.0
        self.was_shared = False
        self.unhandled: list[str] = []

    def now(self) -> float:
        """Returns the seconds of the run."""
        return 0.0 if self.loop is None else self.loop.time()

    def seconds(self) -> float:
        return self.elapsed_seconds + self.now()

    def wall_clock(self) -> Instant:
        return NOW + round(self.seconds() * SECOND)

    def live(self) -> None:
        """Runs as often as it takes; raises `AssertionError` when a promise was broken."""
        for _ in range(self.chance.randint(0, 4)):
            self.run(self.chance.choice(FATES))
            self.check()
        for _ in range(3):
            if self._has_ended(self.run("calm")):
                break
        else:
            raise AssertionError("three runs in peace did not finish")
        if self.ending != "refused" and ("moves" in self.quirks or "clock" in self.quirks):
            # What has moved meanwhile is found by the next sync, when nothing moves any longer.
            self.elapsed_seconds += 2 * HOUR / SECOND
            self.moves = False
            assert self._has_ended(self.run("calm", [self._sync])), "a sync in peace did not finish"

    def _has_ended(self, end: Summary | ExporterError | None) -> bool:
        """Returns whether a run in peace was the last one, and ended as it must."""
        state = self.check()
        if isinstance(end, Summary):
            check_journal(self.destination, state, end.exit_status)
        if state_name(state) != "incomplete":
            check_exact(self.destination, state, self.source)
            if "bounds" in self.quirks and self._worst() == "exact":
                check_doubts(state, self.source, self.quirks.span)
        if isinstance(end, ExporterError):
            self.ending = "refused" if self._is_refusal(end) else self.ending
            return self._is_refusal(end)
        self.ending = "named" if state.unproven else "exact"
        return end is not None and end.state != "incomplete"

    def _worst(self) -> Ending:
        # What bounds and cursor are read as can no longer be told where one of them is not looked at.
        ignores = set(self.source.behaviour.ignores) - {"fields"}
        return "refused" if ignores and self.quirks.drawn else self.quirks.worst

    def _is_refusal(self, end: BaseException) -> bool:
        """Returns whether a server was refused that may be."""
        is_clock = "clock" in self.quirks and isinstance(end, UsageError) and "clock" in str(end)
        return self._worst() == "refused" and (is_clock or isinstance(end, ContradictionError))

    def check(self) -> State:
        state = check_sound(self.destination)
        # What an overtaken run has read is the other's to read again.
        if self.settled and not self.was_shared:
            check_little_is_lost(self.destination, state, self.settled, self.ended_at)
        return state

    # One run.

    def run(self, fate: Fate, jobs: "Sequence[_Job] | None" = None) -> Summary | ExporterError | None:
        """Runs once, to the end; returns None when the run was killed."""
        self.disk.boot()
        self.settled.clear()
        self.was_shared = fate == "two"
        network = Network(self.source.server, self.chance, self.wall_clock)
        network.fault_rate = 0.0 if fate == "calm" else self.chance.choice((0.0, 0.2, 0.2))
        network.latency_seconds = self.chance.choice(((0.01, 0.3), (0.05, 0.05), (0.001, 5.0)))
        revoked_after = self.chance.randint(0, 40) if fate == "revoked" else None
        self.source.begin_run(revoked_after)
        if fate == "outage":
            network.out_from = self._some_seconds()
        if fate in ("kill-at-write", "power-at-write"):
            self.disk.dies_at = self.chance.randint(1, self.chance.choice((10, 60, 200)))
        if fate == "disk":
            self.disk.fail_rate = self.chance.choice((0.01, 0.1))
        if fate == "full":
            self.disk.fails_from, self.disk.fail_rate = self.chance.randint(1, 150), 1.0
        jobs = jobs or [self._sync if self.chance.random() < 0.4 else self._export for _ in range(1 + (fate == "two"))]
        with closing(self._new_loop()) as self.loop:
            ended = self._simulate(fate, network, self.loop, jobs)
            self.ended_at = self.loop.time()
            self.loop = None
        self.trace.append(
            f"{fate} {' '.join(job.__name__ for job in jobs)}: {_told(ended)} after {self.ended_at:.3f} s, "
            f"{network.requests} requests, "
            f"{len(network.faults)} faults, {self.disk.operations} writes"
        )
        self.elapsed_seconds += self.ended_at + 1
        if self.disk.is_dead and fate.startswith("power"):
            self.disk.cut_power()
        return None if self.disk.is_dead else ended

    def _simulate(
        self, fate: Fate, network: Network, loop: SimulatedLoop, jobs: Sequence[_Job]
    ) -> Summary | ExporterError | None:
        with self._in_place(network, without_locks=fate == "two"):
            delays = [0.0, self._some_seconds()]
            tasks = [loop.create_task(self._work(job, delay)) for job, delay in zip(jobs, delays, strict=False)]
            told_at = self._foretell(fate, loop, tasks[0])
            loop.call_at(LONGEST_RUN_SECONDS, loop.stop)
            everything = asyncio.gather(*tasks, return_exceptions=True)
            everything.add_done_callback(lambda _: loop.stop())
            loop.run_forever()
            assert everything.done(), "the run does not end"
            # Threads end what they have begun.
            loop.run_until_complete(asyncio.sleep(1))
            loop.run_until_complete(loop.shutdown_asyncgens())
            ends = everything.result()
        assert not self.unhandled, self.unhandled
        if self.disk.is_dead:
            return None
        for end in ends:
            # Before a server has answered, two minutes of faults end a run.
            is_first_contact = isinstance(end, TransientError) and "What was read" not in str(end)
            is_expected = is_first_contact or isinstance(end, _EXPECTED.get(fate, ()))
            if isinstance(end, BaseException) and not (is_expected or self._is_refusal(end)):
                raise AssertionError(f"{fate}: {end!r}") from end
        if told_at and isinstance(ends[0], InterruptedExportError):
            assert self.now() - told_at[0] <= STOP_SECONDS, "it took long to stop"
        last = ends[-1]
        assert isinstance(last, Summary | ExporterError)
        return last

    def _context(self) -> RunContext:
        return RunContext(self.settings, Credentials(TOKEN), Quiet(), self.now)

    async def _export(self) -> Summary:
        return await export(self.destination, self.asked, self._context())

    async def _sync(self) -> Summary:
        synced = await sync(
            self.destination,
            self.asked,
            self._context(),
            keep_generations=self.chance.choice((None, 0, 2)),
        )
        return synced.summary

    async def _work(self, job: _Job, delay: float) -> Summary:
        await asyncio.sleep(delay)
        try:
            return await job()
        except asyncio.CancelledError:
            # Before the pipeline listens, a signal ends the process where it is.
            raise InterruptedExportError("interrupted") from None

    def _foretell(self, fate: Fate, loop: SimulatedLoop, run: "asyncio.Task[Summary]") -> list[float]:
        """Sets the timers of what is to happen. Returns the list of when the run is told to stop."""
        told_at: list[float] = []

        def die() -> None:
            self.disk.die()
            run.cancel()

        def tell() -> None:
            told_at.append(self.now())
            if not loop.send_signal(signal.SIGTERM):
                run.cancel()

        if fate in ("kill", "power"):
            loop.call_at(self._some_seconds(), die)
        if fate == "stop":
            at = self._some_seconds()
            for number in range(self.chance.choice((1, 1, 2))):
                loop.call_at(at + number * 0.1, tell)
        if self.moves:
            for _ in range(self.chance.randint(1, 20)):
                loop.call_at(self._some_seconds(), self.source.move)
        return told_at

    def _some_seconds(self) -> float:
        """Draws a moment in a run: most of the time soon, at times in hours."""
        return self.chance.choice((0.1, 1.0, 10.0, 100.0)) * self.chance.random()

    @contextmanager
    def _in_place(self, network: Network, *, without_locks: bool) -> Iterator[None]:
        add = WindowWriter.add

        def note(writer: WindowWriter, settled: Any, *args: Any) -> Coroutine[Any, Any, Any]:
            # What a sync reads again is put aside, and committed as a whole.
            if not isinstance(writer._target, SpoolSink):
                now = self.now()
                for row in settled.rows.rows:
                    self.settled.setdefault(row.id, now)
            return add(writer, settled, *args)

        seeded = SimpleNamespace(Random=lambda: random.Random(self.chance.getrandbits(32)))
        with ExitStack() as stack:
            for where, name, what in (
                (anyio.to_thread, "run_sync", run_sync),
                (aiohttp, "TCPConnector", network.connector),
                (time, "time_ns", lambda: (self.wall_clock() + self.quirks.machine_ahead) * 1000),
                (time, "sleep", lambda _: None),
                (secrets, "token_hex", lambda size: f"{self.chance.getrandbits(8 * size):0{2 * size}x}"),
                (attempts, "random", seeded),
                (WindowWriter, "add", note),
                (signals, "set_handler", self.loop.set_handler if self.loop else None),
            ):
                stack.enter_context(patch.object(where, name, what))
            if without_locks:
                stack.enter_context(patch.object(lock, "try_lock", lambda *_: True))
            stack.enter_context(self.disk.in_place())
            yield

    def _new_loop(self) -> SimulatedLoop:
        loop = SimulatedLoop(self._pause_seconds, lambda func: self.disk.offloaded(func))
        loop.set_exception_handler(self._unhandled)
        return loop

    def _pause_seconds(self) -> float:
        return self.chance.random() * self.chance.choice((0.001, 0.02))

    def _unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        if not self.disk.is_dead:
            self.unhandled.append(str(context))


def _told(end: Summary | ExporterError | None) -> str:
    return "killed" if end is None else end.state if isinstance(end, Summary) else f"{type(end).__name__}: {end}"
