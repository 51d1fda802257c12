"""Runs the stand-in server in a process of its own, and reports its traffic."""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeAlias

from exporter.sandbox import Behaviour, Row, serve

#: Makes the rows, in the server's process.
MakeRows: TypeAlias = Callable[[], Sequence[Row]]

_READY_SECONDS = 300.0


class Traffic(NamedTuple):
    """Holds the number of requests since the last report.

    `began` is when the first of them came in, and `ended` when the last was answered, by the machine's monotonic clock.
    """

    requests: int
    began: float
    ended: float


class Server:
    """Knows where the stand-in listens, and asks it for its traffic."""

    def __init__(self, url: str, connection: Connection) -> None:
        self.url = url
        self._connection = connection

    def take_traffic(self) -> Traffic:
        """Returns the traffic since the last call. Raises `EOFError` if the server has died."""
        self._connection.send("traffic")
        traffic = self._connection.recv()
        assert isinstance(traffic, Traffic)
        return traffic


@contextmanager
def serving(
    make_rows: MakeRows,
    *,
    latency_seconds: float = 0.0,
    warm: bool = False,
    warm_fields: frozenset[str] | None = None,
) -> Iterator[Server]:
    """Runs a server with these rows while the block runs.

    With `warm`, it renders every row beforehand; with `warm_fields`, these fields. Raises `RuntimeError` if it does not
    start.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    run = partial(_serve, make_rows, Behaviour(latency=latency_seconds), warm, warm_fields, theirs)
    process = context.Process(target=run, daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_READY_SECONDS):
            raise RuntimeError(f"the server did not start within {_READY_SECONDS:.0f} s")
        try:
            url = ours.recv()
        except EOFError as error:
            raise RuntimeError("the server did not start; its own message is above") from error
        yield Server(url, ours)
    finally:
        ours.close()
        process.join(timeout=10)
        process.kill()


def _serve(
    make_rows: MakeRows,
    behaviour: Behaviour,
    warm: bool,
    warm_fields: frozenset[str] | None,
    connection: Connection,
) -> None:
    asyncio.run(_serve_until_closed(make_rows(), behaviour, warm, warm_fields, connection))


async def _serve_until_closed(
    rows: Sequence[Row],
    behaviour: Behaviour,
    warm: bool,
    warm_fields: frozenset[str] | None,
    connection: Connection,
) -> None:
    arrivals: list[float] = []
    answers: list[float] = []

    async with serve(rows, behaviour) as sandbox:
        if warm or warm_fields:
            sandbox.warm(warm_fields)
        sandbox.on_request = lambda _: arrivals.append(time.monotonic())
        sandbox.on_answer = lambda *_: answers.append(time.monotonic())
        connection.send(sandbox.url)
        while await _is_asked(connection):
            connection.send(Traffic(len(arrivals), arrivals[0] if arrivals else 0.0, answers[-1] if answers else 0.0))
            arrivals.clear()
            answers.clear()


async def _is_asked(connection: Connection) -> bool:
    """Waits for a question; returns whether one came before the other side ended."""
    try:
        return bool(await asyncio.to_thread(connection.recv))
    except EOFError:
        return False
