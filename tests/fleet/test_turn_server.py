"""Tests turns that pass between processes, over real connections."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec.structs import replace

from exporter.errors import ThrottledError
from exporter.fetch.pace.throttle import Ticket
from exporter.fleet.turn_server import TurnServer
from exporter.run.shared_turns import SharedTurns, origin_of
from exporter.run.turn_messages import (
    Ask,
    FromRun,
    Join,
    MessageDecoder,
    Turn,
    TurnMessageError,
    digest_of,
    encode,
)

pytestmark = pytest.mark.anyio
JOIN = Join(origin="https://one.test", token=digest_of("ak_one"), concurrency=3)


@asynccontextmanager
async def served(*names: str) -> AsyncIterator[tuple[TurnServer, list[SharedTurns], list[socket.socket]]]:
    """Yields a server, the turns of a run of each name, and the ends of their connections."""
    server, turns, ends = TurnServer(), [], []
    async with anyio.create_task_group() as group:
        for name in names:
            ours, theirs = socket.socketpair()
            for each in (ours, theirs):
                each.setblocking(False)
            group.start_soon(server.serve, name, ours)
            ends.append(theirs)
            turns.append(SharedTurns(theirs, lambda: JOIN, anyio.current_time))
        with anyio.fail_after(20):
            yield server, turns, ends
        for each in ends:
            each.close()
    # Each connection has ended by itself.


async def test_a_run_takes_its_turns_from_another_process() -> None:
    async with served("a") as (server, (turns,), _):
        assert turns.useful_concurrency == 2
        first, second = await turns.take(), await turns.take()
        with anyio.move_on_after(0.05) as waited:
            await turns.take()
        assert waited.cancelled_caught
        turns.succeeded(first)
        turns.page_took(0.1)
        turns.refused(second, ThrottledError("too fast", 0.01))
        # What was cancelled above holds nothing up.
        third = await turns.take()
        assert (third.number, server.given) == (4, 3)
        turns.succeeded(third)
    assert turns.useful_concurrency <= 3


async def test_the_turns_of_a_run_that_ends_go_to_others() -> None:
    async with served("a", "b") as (_, (first, second), (end, _end)):
        await first.take()
        await first.take()
        async with anyio.create_task_group() as group:
            group.start_soon(second.take)
            await anyio.wait_all_tasks_blocked()
            end.close()


async def test_a_run_that_sends_anything_else_is_cut_off() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        theirs.send(b"GET / HTTP/1.1\n")
        with pytest.raises(TurnMessageError):
            await TurnServer().serve("a", ours)
        await anyio.wait_readable(theirs)
        assert theirs.recv(100) == b""


async def test_a_run_is_told_what_another_one_with_its_token_was() -> None:
    async with served("a", "b") as (server, (first, second), _):
        ticket = await first.take()
        async with anyio.create_task_group() as group:
            # A run that has an answer before its turns are over.
            first.refused(ticket, ThrottledError("one.test answered 429: come tomorrow", 86_400.0))
            with pytest.raises(ThrottledError, match="answered 429: come tomorrow") as told:
                while True:
                    second.succeeded(await second.take())
            assert told.value.status == 429
            assert told.value.retry_after_seconds == pytest.approx(86_400, abs=60)
            group.cancel_scope.cancel()
        given = server.given
        with pytest.raises(ThrottledError):
            await first.take()
        assert server.given == given


async def test_a_run_with_another_token_shares_with_those_that_have_it_too() -> None:
    ours, theirs = socket.socketpair()
    tokens = ["ak_one"]
    with ours, theirs:
        theirs.setblocking(False)
        turns = SharedTurns(theirs, lambda: replace(JOIN, token=digest_of(tokens[-1])), anyio.current_time)
        decoder: MessageDecoder[FromRun] = MessageDecoder(FromRun)  # type: ignore[arg-type]
        for number, token in enumerate(["ak_one", "ak_two", "ak_two"], 1):
            tokens.append(token)
            ours.send(encode(Turn(number=number, workers=1)))
            await turns.take()
        said = list(decoder.decode(ours.recv(65_536)))
        joined = [each.token if isinstance(each, Join) else each.number for each in said]  # type: ignore[union-attr]
        assert joined == [digest_of("ak_one"), 1, digest_of("ak_two"), 2, 3]


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("http://LocalHost.:80/v1", "http://localhost:80"),
        ("HTTP://localhost", "http://localhost:80"),
        ("https://API.test:443/", "https://api.test:443"),
        ("https://[0:0::1]:8443", "https://::1:8443"),
        ("https://b\u00fccher.test", "https://xn--bcher-kva.test:443"),
    ],
)
def test_a_host_is_one_however_it_is_written(written: str, origin: str) -> None:
    assert origin_of(written) == origin


async def test_without_its_server_a_run_gets_no_turn_and_fails_nowhere() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        theirs.setblocking(False)
        turns = SharedTurns(theirs, lambda: JOIN, anyio.current_time)
        turns.page_took(1.0)
        with anyio.move_on_after(0.05) as waited:
            await turns.take()
        assert waited.cancelled_caught
        with pytest.raises(TypeError):
            turns.succeeded(Ticket(0.0, 1))


def test_messages_are_read_wherever_bytes_are_cut_and_never_without_end() -> None:
    sent = encode(Turn(number=7, workers=2)) + encode(Turn(number=8, workers=1))
    decoder = MessageDecoder(Turn)
    found = [turn.number for one in sent for turn in decoder.decode(bytes([one]))]
    assert found == [7, 8]
    for wrong in (encode(Ask(number=1)), b"[\n", b"{" * 5000):
        with pytest.raises(TurnMessageError):
            list(MessageDecoder(Turn).decode(wrong))


def test_a_digest_does_not_hold_its_token() -> None:
    assert digest_of("ak_secret") == digest_of("ak_secret") != digest_of("ak_other")
    assert "secret" not in digest_of("ak_secret")
    assert len(digest_of("ak_secret")) == 16
