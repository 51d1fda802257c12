"""Runs the tasks of child processes on one engine, which they reach over connections that they have inherited."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread
from msgspec.structs import replace

from exporter.engine import Engine
from exporter.errors import EngineError, ExporterError
from exporter.fleet.task_queue import Running, Task, TaskQueue
from exporter.fleet.turn_server import TurnServer
from exporter.run.distribution_call import call, slots_of
from exporter.run.engine_frames import Frame, FrameDecoder, encode_frame
from exporter.run.share import Share, decode_outcome, decode_share, encode
from exporter.run.shared_turns import origin_of
from exporter.store.location import parse_location
from exporter.store.open import open_store

_RECEIVE_BYTES: Final = 1 << 20
_TICK_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Peer:
    """Represents a child by its end of a connection, and the share of the slots that it was told."""

    writer: asyncio.StreamWriter
    slots: int = 0


class EngineServer:
    """Shares out an engine. What tasks send to a host comes off the ceiling of its `turns`. `requests` is what tasks
    have sent that have ended."""

    def __init__(self, engine: Engine, turns: TurnServer) -> None:
        self.requests = 0
        self._engine: Final = engine
        self._turns: Final = turns
        self._queue: Final = TaskQueue(1)
        self._peers: dict[str, _Peer] = {}
        self._shares: dict[Task, Share] = {}
        self._threads: Final = CapacityLimiter(inf)
        self._moved = anyio.Event()

    async def run(self) -> None:
        """Runs tasks whenever there are some, until it is cancelled. Tasks under way are then left to the engine."""
        await self._look_at_slots()
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow_slots)
            while True:
                moved = self._moved
                self._follow_ceilings()
                while (running := self._queue.take()) is not None:
                    self._lend()
                    group.start_soon(self._answer, running)
                self._tell()
                # What an export has left idle goes to others.
                with anyio.move_on_after(_TICK_SECONDS):
                    await moved.wait()

    async def _follow_slots(self) -> None:
        while True:
            await anyio.sleep(_TICK_SECONDS)
            await self._look_at_slots()

    async def _look_at_slots(self) -> None:
        slots = await slots_of(self._engine, self._threads, self._queue.slots)
        if slots != self._queue.slots:
            self._queue.slots = slots
            self._wake()

    async def serve(self, name: str, connection: socket.socket) -> None:
        """Takes the tasks of the export with this name until its end of the connection is closed.

        Then its tasks that wait are forgotten, and those under way are told to stop. Raises `EngineError` for what is
        no task: the export then gets no answer any more.
        """
        reader, writer = await asyncio.open_connection(sock=connection)
        decoder = FrameDecoder()
        self._peers[name] = _Peer(writer)
        self._wake()
        try:
            with suppress(OSError):
                while received := await reader.read(_RECEIVE_BYTES):
                    for frame in decoder.decode(received):
                        self._add(name, frame)
                    self._wake()
        finally:
            del self._peers[name]
            writer.close()
            left = self._queue.leave(name)
            for task in [each for each in self._shares if each.export == name and each not in left]:
                del self._shares[task]
            self._wake()
            for share in {share.beacon: share for share in map(self._shares.__getitem__, left)}.values():
                await _stop(share)

    def _add(self, name: str, frame: Frame) -> None:
        if frame.kind != "task":
            raise EngineError("an export has sent what is no task")
        share = decode_share(frame.content)
        max_rps = share.settings.max_rps
        task = Task(name, frame.number, origin_of(share.settings.base_url), max_rps)
        if task in self._shares or (max_rps is not None and max_rps <= 0):
            raise EngineError("an export has sent a task twice, or one that may ask nothing")
        self._shares[task] = share
        self._queue.add(task, _now())

    async def _answer(self, running: Running) -> None:
        task = running.task
        share = self._shares[task]
        if running.allowance is not None:
            share = replace(share, settings=replace(share.settings, max_rps=running.allowance))
        asked = partial(call, self._engine, encode(share))
        try:
            answer = await to_thread.run_sync(asked, abandon_on_cancel=True, limiter=self._threads)
            frame = Frame("answer", task.number, answer)
            with suppress(EngineError):  # the export says so
                self.requests += decode_outcome(answer).counters.requests
        except ExporterError as error:
            frame = Frame("refusal", task.number, str(error).encode(errors="backslashreplace"))
        del self._shares[task]
        self._queue.ended(running, _now())
        self._lend()
        if (peer := self._peers.get(task.export)) is not None:
            peer.writer.write(encode_frame(frame))
        self._wake()

    def _follow_ceilings(self) -> None:
        for origin in self._queue.origins:
            self._queue.set_ceiling(origin, self._turns.ceiling_of(origin))

    def _lend(self) -> None:
        for origin in self._queue.origins:
            self._turns.lend(origin, self._queue.lent(origin))

    def _tell(self) -> None:
        """Tells each export its share of the slots, if it has changed."""
        for name, peer in self._peers.items():
            slots = self._queue.share_of(name, _now())
            if slots != peer.slots:
                peer.slots = slots
                peer.writer.write(encode_frame(Frame("slots", slots, self._engine.name.encode())))

    def _wake(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _stop(share: Share) -> None:
    """Takes the beacon of a run away that cannot do so any more, so that its tasks end at their page."""
    # Without that, they end with their budget.
    with suppress(ExporterError):
        async with open_store(parse_location(share.destination)) as store:
            await store.delete(share.beacon)
