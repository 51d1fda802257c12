"""Lets requests wait for their turn at the API."""

from collections.abc import Callable
from typing import Protocol

import anyio

from exporter.errors import ThrottledError
from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.throttle import Throttle, Ticket


class Turns(Protocol):
    """Gives turns to all requests to one API by one token; `useful_concurrency` is how many workers can use them."""

    @property
    def useful_concurrency(self) -> int: ...

    async def take(self) -> Ticket:
        """Waits until a request may be sent. Then it is sent at once, and `succeeded` or `refused` follows."""

    def succeeded(self, ticket: Ticket, quota: Quota | None = None) -> None:
        """Notes that the request was let through, whatever came of it, and the quota that its answer states."""

    def refused(self, ticket: Ticket, error: ThrottledError) -> None:
        """Notes that the server said: too fast, or too early."""

    def page_took(self, seconds: float) -> None:
        """Notes how long a page took, from sending the request to having decoded it."""


class OwnTurns:
    """Gives the turns of one process, as a throttle of its own decides. `clock` counts seconds."""

    def __init__(self, throttle: Throttle, clock: Callable[[], float]) -> None:
        self._throttle = throttle
        self._clock = clock
        # The first in line waits for a turn, the others for their turn to wait.
        self._line = anyio.Lock()
        self._landed = anyio.Event()

    @property
    def useful_concurrency(self) -> int:
        return self._throttle.useful_concurrency

    async def take(self) -> Ticket:
        async with self._line:
            while (seconds := self._throttle.delay_seconds(self._clock())) > 0:
                with anyio.move_on_after(seconds):
                    await self._landed.wait()
            return self._throttle.sent(self._clock())

    def succeeded(self, ticket: Ticket, quota: Quota | None = None) -> None:
        self._throttle.succeeded(ticket, self._clock(), quota)
        self._wake()

    def refused(self, ticket: Ticket, error: ThrottledError) -> None:
        self._throttle.refused(ticket, self._clock(), error)
        self._wake()

    def page_took(self, seconds: float) -> None:
        self._throttle.page_took(seconds)

    def _wake(self) -> None:
        self._landed.set()
        self._landed = anyio.Event()
