"""Runs the exporter once in a world: in one process, or in two at once, which end as their fate says."""

import asyncio
import random
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args
from unittest.mock import patch

import aiohttp
import anyio.to_thread

from exporter import signals
from exporter.contract import DAY, SECOND
from exporter.errors import (
    AccessError,
    DestinationError,
    ExporterError,
    InterruptedExportError,
    SourceError,
    StoreError,
    TransientError,
)
from exporter.jobs.erase import erase
from exporter.jobs.erase_result import EraseResult
from exporter.jobs.expire import ExpireResult, expire
from exporter.jobs.export import export
from exporter.jobs.protect import ProtectResult, protect
from exporter.jobs.rekey import RekeyResult, rekey
from exporter.jobs.summary import Summary
from exporter.jobs.sync import sync
from exporter.pipeline import attempts
from exporter.pipeline.part_sink import WindowWriter
from exporter.pipeline.spool_sink import SpoolSink
from exporter.privacy import Retention
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.erasure_wish import Wish
from exporter.sandbox import TOKEN
from exporter.settings import Credentials
from exporter.store.local import lock
from tests.simulation.loop import SimulatedLoop, run_sync
from tests.simulation.network import Network
from tests.toolkit.encrypted import data_key
from tests.toolkit.protected import POLICY

if TYPE_CHECKING:
    from tests.simulation.world import World

Fate: TypeAlias = Literal[
    "calm", "kill", "power", "kill-at-write", "power-at-write", "stop", "disk", "full", "outage", "revoked", "two"
]
FATES: Final[tuple[Fate, ...]] = get_args(Fate)
#: What ends well: exports and syncs, and what takes rows away for good, protects or encrypts them.
Result: TypeAlias = Summary | EraseResult | ExpireResult | ProtectResult | RekeyResult
Job: TypeAlias = Callable[[], Awaitable[Result]]

#: The limit of a run in simulated time, which includes outages that are waited out.
LONGEST_RUN_SECONDS: Final = 24 * 3600.0
STOP_SECONDS: Final = 5.0

#: The errors that may end a run, besides a kill.
_EXPECTED: Final[dict[Fate, tuple[type[ExporterError], ...]]] = {
    "stop": (InterruptedExportError,),
    "disk": (StoreError, DestinationError),
    "full": (StoreError, DestinationError),
    "outage": (SourceError,),
    "revoked": (AccessError,),
    # A run that finds nothing left to read, and under the lock a range that was widened, asks for another.
    "two": (StoreError, DestinationError),
}


class Run:
    """Runs once in `world`. `settled` holds the seconds at which each row was settled, by id."""

    def __init__(self, world: "World", fate: Fate) -> None:
        self.settled: dict[str, float] = {}
        self.ended_at = 0.0
        self._world = world
        self._fate = fate
        self._chance = world.chance
        self._disk = world.disk
        self._unhandled: list[str] = []

    @property
    def was_shared(self) -> bool:
        return self._fate == "two"

    def live(self, jobs: Sequence[Job] = ()) -> Result | ExporterError | None:
        """Runs `jobs`, or what chance says, to the end; returns None when the run was killed."""
        world, fate, chance = self._world, self._fate, self._chance
        self._disk.boot()
        network = Network(world.source.server, chance, world.wall_clock)
        network.fault_rate = 0.0 if fate == "calm" else chance.choice((0.0, 0.2, 0.2))
        network.latency_seconds = chance.choice(((0.01, 0.3), (0.05, 0.05), (0.001, 5.0)))
        world.source.begin_run(chance.randint(0, 40) if fate == "revoked" else None)
        if fate == "outage":
            network.out_from = self._some_seconds()
        if fate in ("kill-at-write", "power-at-write"):
            self._disk.dies_at = chance.randint(1, chance.choice((10, 60, 200)))
        if fate == "disk":
            self._disk.fail_rate = chance.choice((0.01, 0.1))
        if fate == "full":
            self._disk.fails_from, self._disk.fail_rate = chance.randint(1, 150), 1.0
        jobs = jobs or [self.sync if chance.random() < 0.4 else self.export for _ in range(1 + self.was_shared)]
        with closing(SimulatedLoop(self._pause_seconds, self._disk.offloaded)) as world.loop:
            world.loop.set_exception_handler(self._note_unhandled)
            ended = self._simulate(network, world.loop, jobs)
            self.ended_at = world.loop.time()
            world.loop = None
        world.trace.append(
            f"{fate} {' '.join(job.__name__ for job in jobs)}: {_told(ended)} after {self.ended_at:.3f} s, "
            f"{network.requests} requests, {len(network.faults)} faults, {self._disk.operations} writes"
        )
        world.elapsed_seconds += self.ended_at + 1
        if self._disk.is_dead and fate.startswith("power"):
            self._disk.cut_power()
        return None if self._disk.is_dead else ended

    def _simulate(self, network: Network, loop: SimulatedLoop, jobs: Sequence[Job]) -> Result | ExporterError | None:
        with self._in_place(network, loop):
            delays = [0.0, self._some_seconds()]
            tasks = [loop.create_task(self._work(job, delay)) for job, delay in zip(jobs, delays, strict=False)]
            told_at = self._foretell(loop, tasks[0])
            loop.call_at(LONGEST_RUN_SECONDS, loop.stop)
            everything = asyncio.gather(*tasks, return_exceptions=True)
            everything.add_done_callback(lambda _: loop.stop())
            loop.run_forever()
            assert everything.done(), "the run does not end"
            # Threads finish what they have begun.
            loop.run_until_complete(asyncio.sleep(1))
            loop.run_until_complete(loop.shutdown_asyncgens())
            ends = everything.result()
        assert not self._unhandled, self._unhandled
        if self._disk.is_dead:
            return None
        for end in ends:
            # Before a server has answered, two minutes of faults end a run.
            is_first_contact = isinstance(end, TransientError) and "What was read" not in str(end)
            is_expected = is_first_contact or isinstance(end, _EXPECTED.get(self._fate, ()))
            if isinstance(end, BaseException) and not (is_expected or self._world.is_refusal(end)):
                raise AssertionError(f"{self._fate}: {end!r}") from end
        if told_at and isinstance(ends[0], InterruptedExportError):
            assert loop.time() - told_at[0] <= STOP_SECONDS, "it took long to stop"
        last = ends[-1]
        assert isinstance(last, Result | ExporterError)
        return last

    def _context(self) -> RunContext:
        return RunContext(self._world.settings, Credentials(TOKEN), Quiet(), self._world.now, self._world.keys)

    async def export(self) -> Summary:
        return await export(self._world.destination, self._world.asked, self._context())

    async def sync(self) -> Summary:
        keep_generations = self._chance.choice((None, 0, 2))
        synced = await sync(
            self._world.destination,
            self._world.asked,
            self._context(),
            refilter=self._world.asked.filters is not None,
            keep_generations=keep_generations,
        )
        return synced.summary

    async def erase(self) -> EraseResult:
        world = self._world
        wish = Wish(ids=(world.chosen,))
        return await erase(world.destination, wish, world.keys, Quiet(), now=world.wall_clock(), clock=world.now)

    async def expire(self) -> ExpireResult:
        world = self._world
        asked: Retention = {"conversations": world.age_days * DAY // SECOND}
        return await expire(
            world.destination,
            now=world.wall_clock(),
            asked=asked,
            settings=world.settings,
            observer=Quiet(),
            clock=world.now,
            keys=world.keys,
        )

    async def protect(self) -> ProtectResult:
        world = self._world
        return await protect(
            world.destination, POLICY, keys=world.keys, memory_bytes=1 << 28, observer=Quiet(), clock=world.now
        )

    async def rekey(self) -> RekeyResult:
        world = self._world
        return await rekey(
            world.destination,
            new_key=data_key("d2"),
            keys=world.keys,
            memory_bytes=1 << 28,
            observer=Quiet(),
            clock=world.now,
        )

    async def _work(self, job: Job, delay: float) -> Result:
        await asyncio.sleep(delay)
        try:
            return await job()
        except asyncio.CancelledError:
            # Before the pipeline listens, a signal ends the process where it is.
            raise InterruptedExportError("interrupted") from None

    def _foretell(self, loop: SimulatedLoop, run: "asyncio.Task[Result]") -> list[float]:
        """Sets the timers of what will happen. Returns a list that will hold when the run is told to stop."""
        told_at: list[float] = []

        def die() -> None:
            self._disk.die()
            run.cancel()

        def tell() -> None:
            told_at.append(loop.time())
            if not loop.send_signal(signal.SIGTERM):
                run.cancel()

        if self._fate in ("kill", "power"):
            loop.call_at(self._some_seconds(), die)
        if self._fate == "stop":
            at = self._some_seconds()
            for number in range(self._chance.choice((1, 1, 2))):
                loop.call_at(at + number * 0.1, tell)
        if self._world.moves:
            for _ in range(self._chance.randint(1, 20)):
                loop.call_at(self._some_seconds(), self._world.source.move)
        return told_at

    def _some_seconds(self) -> float:
        """Draws a moment in a run: most of the time soon, at times after minutes."""
        return self._chance.choice((0.1, 1.0, 10.0, 100.0)) * self._chance.random()

    @contextmanager
    def _in_place(self, network: Network, loop: SimulatedLoop) -> Iterator[None]:
        """Puts the world in the place of the machine while the block runs."""
        world, chance = self._world, self._chance
        add = WindowWriter.add

        def note(writer: WindowWriter, settled: Any, *args: Any) -> Coroutine[Any, Any, Any]:
            # A sync puts aside what it reads again, and commits it as a whole.
            if not isinstance(writer._target, SpoolSink):
                for row in settled.rows.rows:
                    self.settled.setdefault(row.id, loop.time())
            return add(writer, settled, *args)

        seeded = SimpleNamespace(Random=lambda: random.Random(chance.getrandbits(32)))
        with ExitStack() as stack:
            for where, name, what in (
                (anyio.to_thread, "run_sync", run_sync),
                (aiohttp, "TCPConnector", network.connector),
                (time, "time_ns", lambda: (world.wall_clock() + world.quirks.machine_ahead) * 1000),
                (time, "sleep", lambda _: None),
                (secrets, "token_hex", lambda size: f"{chance.getrandbits(8 * size):0{2 * size}x}"),
                (attempts, "random", seeded),
                (WindowWriter, "add", note),
                (signals, "set_handler", loop.set_handler),
            ):
                stack.enter_context(patch.object(where, name, what))
            if self.was_shared:
                stack.enter_context(patch.object(lock, "try_lock", lambda *_: True))
            stack.enter_context(self._disk.in_place())
            yield

    def _pause_seconds(self) -> float:
        return self._chance.random() * self._chance.choice((0.001, 0.02))

    def _note_unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        if not self._disk.is_dead:
            self._unhandled.append(str(context))


def _told(end: Result | ExporterError | None) -> str:
    return (
        "killed"
        if end is None
        else f"{type(end).__name__}: {end}"
        if isinstance(end, ExporterError)
        else getattr(end, "state", "done")
    )
