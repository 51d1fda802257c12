"""Takes turns at the API from the process that started this one, which gives turns to others as well."""

import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

import anyio
from yarl import URL

from exporter.errors import ThrottledError
from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.throttle import Ticket
from exporter.run.turn_messages import (
    MOST_REASON_CHARACTERS,
    Ask,
    Denied,
    Join,
    Message,
    MessageDecoder,
    PageTook,
    Passed,
    Refused,
    ToRun,
    Withdraw,
    digest_of,
    encode,
)
from exporter.settings import Credentials, RunSettings

#: The connection to the process that gives turns, if there is one.
GIVEN: ContextVar[socket.socket | None] = ContextVar("given", default=None)

_RECEIVE_BYTES: Final = 65_536
#: Before the first turn, and so before anything is known.
_FIRST_WORKERS: Final = 2


def shared_turns(settings: RunSettings, credentials: Credentials) -> "SharedTurns | None":
    """Returns the turns that another process gives to a run; None if there is no such process."""
    connection = GIVEN.get()
    if connection is None:
        return None
    connection.setblocking(False)
    bearer = credentials.bearer

    def join() -> Join:
        return Join(
            origin=origin_of(settings.base_url),
            token=digest_of(bearer.token),
            concurrency=settings.concurrency,
            max_rps=settings.max_rps,
        )

    return SharedTurns(connection, join, time.monotonic)


def origin_of(base_url: str) -> str:
    """Returns the origin of a URL, the same however it is written."""
    url = URL(base_url)
    return f"{url.scheme}://{(url.raw_host or '').rstrip('.')}:{url.port}"


class NumberedTicket(Ticket, frozen=True):
    """Represents a turn by the number by which it was asked for."""

    number: int


class SharedTurns:
    """Takes the turns of this process from another one, over a connection. `clock` counts seconds.

    `join` says by which token requests are sent now. When the other process has ended, no turn comes any more. Whoever
    looks after this process then stops it.
    """

    def __init__(self, connection: socket.socket, join: Callable[[], Join], clock: Callable[[], float]) -> None:
        self._connection = connection
        self._join = join
        self._clock = clock
        self._decoder: MessageDecoder[ToRun] = MessageDecoder(ToRun)  # type: ignore[arg-type]
        # The first in line asks, the others wait for their turn to ask.
        self._line = anyio.Lock()
        self._asked = 0
        self._workers = _FIRST_WORKERS
        self._joined = join()
        self._unsent = encode(self._joined)

    @property
    def useful_concurrency(self) -> int:
        """Returns how many workers can use the share of turns that this process gets."""
        return min(self._workers, self._joined.concurrency)

    async def take(self) -> NumberedTicket:
        """Waits until a request may be sent. Raises `ThrottledError` if the server wants to be left alone for long."""
        async with self._line:
            if (join := self._join()) != self._joined:
                self._joined = join
                self._post(join)
            self._asked += 1
            number = self._asked
            self._post(Ask(number=number))
            try:
                while self._unsent:
                    await anyio.wait_writable(self._connection)
                    self._flush()
                turn = await self._receive(number)
            except BaseException:
                self._post(Withdraw(number=number))
                raise
            if isinstance(turn, Denied):
                # What another run was told, this one would be.
                brief = f"slowed down by the API ({turn.status})"
                raise ThrottledError(turn.reason, turn.retry_after_seconds, turn.status).in_brief(brief)
            self._workers = turn.workers
            return NumberedTicket(self._clock(), 1, number)

    def succeeded(self, ticket: Ticket, quota: Quota | None = None) -> None:
        """Notes that the request was let through, whatever came of it, and the quota that its answer states."""
        self._post(Passed(number=_number_of(ticket), quota=quota))

    def refused(self, ticket: Ticket, error: ThrottledError) -> None:
        """Notes that the server said: too fast, or too early."""
        number, wait_seconds = _number_of(ticket), error.retry_after_seconds
        reason = str(error)[:MOST_REASON_CHARACTERS]
        self._post(Refused(number=number, status=error.status, retry_after_seconds=wait_seconds, reason=reason))

    def page_took(self, seconds: float) -> None:
        """Notes how long a page took, from sending the request to having decoded it."""
        self._post(PageTook(seconds=max(0.0, seconds)))

    async def _receive(self, number: int) -> ToRun:
        while True:
            try:
                received = self._connection.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._connection)
                continue
            except OSError:
                received = b""
            if not received:
                await anyio.sleep_forever()
            # Only the latest ask can be answered here: those before it were answered or withdrawn.
            for turn in list(self._decoder.decode(received)):
                if turn.number == number:
                    return turn

    def _post(self, message: Message) -> None:
        self._unsent += encode(message)
        self._flush()

    def _flush(self) -> None:
        """Sends what the connection takes now; the rest goes with the next message, and at the latest before a turn."""
        try:
            self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # The other process has ended.
            self._unsent = b""


def _number_of(ticket: Ticket) -> int:
    if not isinstance(ticket, NumberedTicket):
        raise TypeError("a ticket of another process's turns")
    return ticket.number
