"""Tests an engine that many exports share, over real connections, with an engine that does what a test says."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import SECOND
from exporter.coverage import Interval
from exporter.errors import EngineError
from exporter.fleet.engine_server import EngineServer
from exporter.fleet.turn_server import TurnServer
from exporter.model import Counters
from exporter.run.engine_frames import Frame, FrameDecoder, encode_frame
from exporter.run.remote_engine import RemoteEngine
from exporter.run.share import Outcome, decode_outcome, decode_share, encode
from exporter.run.shared_turns import SharedTurns
from exporter.run.turn_messages import Join, digest_of
from tests.toolkit.shares import BEACON, prepare, share_of

pytestmark = pytest.mark.anyio
URL = "https://one.test/v1"


class HeldEngine:
    """Holds each task until a test lets it go; then `answer` makes its answer."""

    name = "held"

    def __init__(self, slots: int = 2) -> None:
        self.slots = slots
        self.tasks: dict[str, bytes] = {}
        self.answer: Callable[[bytes], bytes] = lambda task: encode(
            Outcome(task=decode_share(task).task, counters=Counters(requests=3))
        )
        self._may_go = threading.Condition()
        self._gone: set[str] = set()

    def call(self, task: bytes) -> bytes:
        name = decode_share(task).task
        with self._may_go:
            self.tasks[name] = task
            self._may_go.notify_all()
            assert self._may_go.wait_for(lambda: name in self._gone, timeout=20)
        return self.answer(task)

    def close(self) -> None:
        pass

    def let_go(self, *names: str) -> None:
        with self._may_go:
            self._gone.update(names)
            self._may_go.notify_all()

    async def has_begun(self, *names: str) -> None:
        def wait() -> None:
            with self._may_go:
                assert self._may_go.wait_for(lambda: set(names) <= set(self.tasks), timeout=20), self.tasks.keys()

        await to_thread.run_sync(wait)

    async def first(self, number: int) -> tuple[str, ...]:
        """Returns the names of the tasks that have begun, once there are this many."""

        def wait() -> tuple[str, ...]:
            with self._may_go:
                assert self._may_go.wait_for(lambda: len(self.tasks) >= number, timeout=20), self.tasks.keys()
                return tuple(self.tasks)

        return await to_thread.run_sync(wait)

    def allowance(self, name: str) -> float | None:
        return decode_share(self.tasks[name]).settings.max_rps


class Calls:
    """Makes the calls of an export, and keeps how they ended."""

    def __init__(self, engine: RemoteEngine, root: Path) -> None:
        self.engine = engine
        self.root = root
        self.ended: dict[str, str] = {}

    async def call(self, name: str) -> None:
        task = encode(share_of(URL, self.root, Interval(0, SECOND), now=SECOND, task=name))
        try:
            answer = await to_thread.run_sync(self.engine.call, task)
        except EngineError as error:
            self.ended[name] = str(error)
        else:
            self.ended[name] = decode_outcome(answer).task


@asynccontextmanager
async def shared(
    engine: HeldEngine, turns: TurnServer, *roots: Path
) -> AsyncIterator[tuple[EngineServer, list[Calls]]]:
    """Yields a server, and the calls of an export for each destination, which has the name of the directory."""
    server, exports = EngineServer(engine, turns), []
    async with anyio.create_task_group() as group:
        group.start_soon(server.run)
        async with anyio.create_task_group() as serving:
            for root in roots:
                ours, theirs = socket.socketpair()
                ours.setblocking(False)
                serving.start_soon(server.serve, root.name, ours)
                exports.append(Calls(RemoteEngine(theirs), root))
            with anyio.fail_after(30):
                yield server, exports
            for each in exports:
                await to_thread.run_sync(each.engine.close)
        group.cancel_scope.cancel()


async def told(calls: Calls, slots: int) -> None:
    while await to_thread.run_sync(lambda: calls.engine.slots) != slots:
        pass


async def test_exports_share_the_slots_and_each_gets_its_own_answers(tmp_path: Path) -> None:
    engine = HeldEngine(2)
    async with shared(engine, TurnServer(), tmp_path / "a", tmp_path / "b") as (server, (a, b)):
        await told(a, 2)
        assert a.engine.name == "held"
        async with anyio.create_task_group() as group:
            for name in ("a1", "a2", "a3"):
                group.start_soon(a.call, name)
            # Threads may ask in any order.
            first, second = await engine.first(2)
            (last,) = {"a1", "a2", "a3"} - {first, second}
            group.start_soon(b.call, "b1")
            await told(b, 1)
            await told(a, 1)
            assert set(engine.tasks) == {first, second}
            # The next one is of the export that has none under way, although the other one came first.
            engine.let_go(first)
            await engine.has_begun("b1")
            assert last not in engine.tasks
            engine.let_go(second, "b1")
            await engine.has_begun(last)
            engine.let_go(last)
        assert a.ended == {name: name for name in ("a1", "a2", "a3")}
        assert b.ended == {"b1": "b1"}
        assert server.requests == 12
        engine.slots = 8
        await told(b, 4)


class LostEngine(HeldEngine):
    """Cannot say how many slots it has, as if its cluster were gone."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go("a1")

    @property
    def slots(self) -> int:
        raise ConnectionRefusedError

    @slots.setter
    def slots(self, _: int) -> None:
        pass


async def test_an_engine_that_cannot_say_its_slots_is_tried_with_one_task_at_a_time(tmp_path: Path) -> None:
    async with shared(LostEngine(), TurnServer(), tmp_path / "a") as (_, (a,)):
        await a.call("a1")
        assert (a.ended, a.engine.slots) == ({"a1": "a1"}, 1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EngineError("the machine \udcff is gone"), "the machine \\udcff is gone"),
        (KeyError("x"), "held failed with KeyError: 'x'"),
        (SystemExit(3), "held failed with SystemExit: 3"),
        (asyncio.CancelledError(), "held failed with CancelledError: "),
    ],
    ids=["engine", "defect", "exit", "cancelled"],
)
async def test_an_export_is_told_why_there_is_no_answer(tmp_path: Path, error: BaseException, said: str) -> None:
    engine = HeldEngine()

    def fail(_: bytes) -> bytes:
        raise error

    engine.answer = fail
    engine.let_go("a1", "a2")
    async with shared(engine, TurnServer(), tmp_path / "a") as (_, (a,)):
        await a.call("a1")
        # What is no outcome is for the export to judge.
        engine.answer = lambda _: b"?"
        with pytest.raises(EngineError, match="no outcome"):
            await a.call("a2")
    assert a.ended == {"a1": said}


async def test_what_is_left_of_an_export_that_ends_is_stopped_and_its_slots_are_free(tmp_path: Path) -> None:
    engine = HeldEngine(1)
    store = await prepare(tmp_path / "a")
    async with shared(engine, TurnServer(), tmp_path / "a", tmp_path / "b") as (_, (a, b)):
        async with anyio.create_task_group() as group:
            group.start_soon(a.call, "a1")
            await engine.has_begun("a1")
            group.start_soon(a.call, "a2")
            group.start_soon(b.call, "b1")
            await told(b, 1)
            assert await store.read(BEACON) is not None
            await to_thread.run_sync(a.engine.close)
            while await store.read(BEACON) is not None:
                pass
            # The slot is free when the task has ended, for which the beacon was taken away.
            engine.let_go("a1", "b1")
        assert set(engine.tasks) == {"a1", "b1"}
        assert set(a.ended.values()) == {"the process that runs the tasks of this export has ended"}
        assert b.ended == {"b1": "b1"}


class NotedTurns(TurnServer):
    """Notes what is lent of the ceilings."""

    def __init__(self) -> None:
        super().__init__()
        self.lent: list[float] = []

    def lend(self, origin: str, max_rps: float) -> None:
        super().lend(origin, max_rps)
        self.lent.append(max_rps)


async def test_tasks_have_their_part_of_the_ceiling_of_a_host_as_long_as_they_run(tmp_path: Path) -> None:
    engine, turns = HeldEngine(4), NotedTurns()
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    join = Join(origin="https://one.test:443", token=digest_of("ak_one"), concurrency=8, max_rps=80.0)
    async with anyio.create_task_group() as group:
        group.start_soon(turns.serve, "a", ours)
        own = SharedTurns(theirs, lambda: join, anyio.current_time)
        own.succeeded(await own.take())
        async with (
            shared(engine, turns, tmp_path / "a", tmp_path / "b") as (_, (a, b)),
            anyio.create_task_group() as calling,
        ):
            calling.start_soon(a.call, "a1")
            await engine.has_begun("a1")
            calling.start_soon(b.call, "b1")
            await told(a, 2)
            # All that tasks may have is given away until that one ends.
            assert list(engine.tasks) == ["a1"]
            engine.let_go("a1")
            await engine.has_begun("b1")
            assert {name: engine.allowance(name) for name in engine.tasks} == {"a1": 70.0, "b1": 70.0}
            engine.let_go("b1")
        theirs.close()
    assert turns.lent[-1] == 0.0
    assert max(turns.lent) == 70.0


async def test_an_export_that_sends_anything_else_gets_no_more_answers() -> None:
    for wrong in (b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n", encode_frame(Frame("slots", 1))):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            theirs.send(wrong)
            with pytest.raises(EngineError):
                await EngineServer(HeldEngine(), TurnServer()).serve("a", ours)
            await anyio.wait_readable(theirs)
            assert theirs.recv(100) == b""


async def test_without_the_process_that_holds_the_engine_every_call_fails() -> None:
    ours, theirs = socket.socketpair()
    engine = RemoteEngine(theirs)
    async with anyio.create_task_group() as group:

        async def call() -> None:
            with anyio.fail_after(20), pytest.raises(EngineError, match="has ended"):
                await to_thread.run_sync(engine.call, b"task")

        group.start_soon(call)
        await to_thread.run_sync(ours.recv, 100)
        ours.close()
    assert engine.slots == 1
    await call()
    engine.close()


@given(
    st.lists(st.builds(Frame, st.sampled_from(["task", "answer", "refusal"]), st.integers(0, 9), st.binary())),
    st.data(),
)
def test_frames_are_read_wherever_bytes_are_cut(frames: list[Frame], data: st.DataObject) -> None:
    sent, decoder = b"".join(map(encode_frame, frames)), FrameDecoder()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert [frame for piece in pieces for frame in decoder.decode(piece)] == frames


STRANGE = {
    "garbage": Frame("task", 1, b"?"),
    "no request": Frame(
        "task", 1, encode(share_of(URL, Path("/x"), Interval(0, SECOND), now=SECOND, settings={"max_rps": -100.0}))
    ),
}


@pytest.mark.parametrize("frames", [*([frame] for frame in STRANGE.values()), "twice"], ids=[*STRANGE, "twice"])
async def test_an_export_that_sends_what_is_no_task_gets_none_and_others_go_on(
    frames: list[Frame] | str, tmp_path: Path
) -> None:
    engine, share = HeldEngine(), share_of(URL, tmp_path, Interval(0, SECOND), now=SECOND, task="b1")
    sent = 2 * [Frame("task", 1, encode(share))] if isinstance(frames, str) else frames
    async with shared(engine, TurnServer(), tmp_path / "a") as (server, (a,)):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            theirs.sendall(b"".join(map(encode_frame, sent)))
            with (
                anyio.fail_after(20),
                pytest.raises(EngineError, match=r"has sent|was given"),
            ):
                await server.serve("b", ours)
        engine.let_go("a1", "b1")
        await a.call("a1")
        assert a.ended == {"a1": "a1"}
