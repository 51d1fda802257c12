"""Tests the first contact over real connections: what nothing reaches is given up soon, and what is slow is not."""

import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import TypeAlias

import anyio
import pytest

from exporter.contract import SECOND
from exporter.encode.decode import Decoder
from exporter.errors import AccessError, NoConnectionError, TokenRenewedError, TransientError, UnreachableError
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.fetch.wire.client import Client
from exporter.fetch.wire.line import Limits
from exporter.model import PageRequest
from exporter.pipeline import attempts
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.reader import Reader
from exporter.progress import Quiet
from exporter.sandbox import TOKEN, Behaviour, make_conversations, serve
from exporter.settings import Credentials
from tests.toolkit.peer import Peer, Step, http

pytestmark = pytest.mark.anyio

REQUEST = PageRequest(limit=1)
GOOD = http(b'[{"id":"c1","created_at":"2026-02-10T05:00:00+00:00"}]')
#: In place of ten seconds to connect, a minute for an answer, and two for the first page.
WAIT_SECONDS = 1.0
STALL_SECONDS = 0.5
UNKNOWN = Patience(attempts=2, seconds=2 * STALL_SECONDS, throttled_seconds=2 * STALL_SECONDS)
Host: TypeAlias = Callable[[], AbstractContextManager[str]]


@asynccontextmanager
async def reader_of(url: str, stall_seconds: float = STALL_SECONDS) -> AsyncIterator[Reader]:
    limits = Limits(connect_seconds=0.8 * WAIT_SECONDS, stall_seconds=stall_seconds)
    async with Client(
        url, Credentials(TOKEN), concurrency=1, filters={}, fields=None, limits=limits, wait_seconds=WAIT_SECONDS
    ) as source:
        budget = ByteBudget(Shares.of(1 << 29, 1))
        yield Reader(source, Decoder(None), Quiet(), budget, concurrency=1, max_rps=None, wait_seconds=WAIT_SECONDS)


async def failure_of(url: str) -> tuple[TransientError, float]:
    """Returns what ended the first question, and the seconds that it took."""
    began = time.monotonic()
    async with reader_of(url) as reader:
        with pytest.raises(TransientError) as raised:
            await reader.look(REQUEST)
    return raised.value, time.monotonic() - began


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "RetryPolicy", partial(RetryPolicy, unknown=UNKNOWN, base_seconds=0.05))


@contextmanager
def nobody() -> Iterator[str]:
    """Yields the address of a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def black_hole() -> Iterator[str]:
    """Yields the address of a port that answers no attempt to connect: the queue of its listener is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("host", [nobody, black_hole])
async def test_what_nothing_reaches_is_given_up_after_the_seconds_of_a_connection(host: Host) -> None:
    with host() as url:
        error, seconds = await failure_of(url)
    assert type(error) is NoConnectionError
    assert "no connection" in str(error)
    assert str(error).endswith("or try for longer to reach it: --wait 2m")
    assert seconds >= WAIT_SECONDS


async def test_a_port_that_never_agrees_on_tls_is_not_reached() -> None:
    async with Peer([[Step.STALL]]) as peer:
        error, _ = await failure_of(peer.url.replace("http:", "https:"))
        assert peer.requests == []
    assert type(error) is NoConnectionError


async def test_a_server_that_accepts_and_never_answers_is_asked_twice() -> None:
    async with Peer([[Step.STALL]]) as peer:
        error, seconds = await failure_of(peer.url)
        assert peer.connections == len(peer.requests) == 2
    assert type(error) is UnreachableError
    assert str(error).startswith("given up after 2 attempts in ")
    assert "not a byte for 0.5 s\n" in str(error)
    assert str(error).endswith("or wait longer for its first page: --wait 10m")
    assert seconds >= UNKNOWN.seconds


async def test_a_first_connection_that_stalls_is_followed_by_another() -> None:
    async with Peer([[Step.STALL], [GOOD]]) as peer, reader_of(peer.url) as reader:
        assert len((await reader.look(REQUEST)).page) == 1
        assert peer.connections == 2


async def test_a_first_answer_may_take_longer_than_a_connection() -> None:
    rows = make_conversations(1, 0, SECOND, seed=1)
    async with serve(rows, Behaviour(latency=1.2 * WAIT_SECONDS)) as server:
        async with reader_of(server.url, stall_seconds=60.0) as reader:
            assert len((await reader.look(REQUEST)).page) == 1
        assert len(server.requests) == 1


class Notes(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def note(self, event: str, /, **_details: object) -> None:
        self.events.append(event)


async def test_one_renewal_is_noted_once_and_wakes_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 3600.0
    patience = Patience(attempts=9, seconds=seconds, throttled_seconds=seconds)
    policy = partial(RetryPolicy, doubted_at_first=patience, base_seconds=seconds, cap_seconds=seconds)
    monkeypatch.setattr(attempts, "RetryPolicy", policy)
    notes = Notes()
    pursued = attempts.Attempts(notes, 8, time.monotonic, lambda _: None)
    monkeypatch.setattr(pursued._chance, "random", lambda: 1.0)
    is_there, asked = anyio.Event(), list[str]()

    async def refused_at_first(name: str, error: AccessError) -> str:
        asked.append(name)
        if asked.count(name) == 1:
            if isinstance(error, TokenRenewedError):
                await is_there.wait()
            raise error
        return name

    async def pursue(name: str, error: AccessError) -> None:
        assert await pursued.pursue(partial(refused_at_first, name, error)) == name

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for name in ("one", "two"):
                group.start_soon(pursue, name, AccessError("401"))
            for name in ("three", "four", "five"):
                group.start_soon(pursue, name, TokenRenewedError("401", 1))
            await anyio.wait_all_tasks_blocked()
            assert notes.events == ["asking again"] * 2
            is_there.set()
    assert notes.events == ["asking again", "asking again", "asking again with another token"]
    assert len(asked) == 10
