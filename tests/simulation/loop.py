"""Simulates time: an event loop whose time is a number, which jumps from timer to timer.

Nothing outside ever wakes it. The loop itself does what is offloaded to threads, after a pause, so that one seed gives
one order of events.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import nullcontext
from io import IOBase
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter
from anyio.lowlevel import checkpoint

Result = TypeVar("Result")


class StuckError(Exception):
    """Raised when tasks wait, and nothing is left that could wake them."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs tasks in simulated time. Offloaded work waits for `pause_seconds()`; `before` is called with it first."""

    def __init__(self, pause_seconds: Callable[[], float], before: Callable[[Callable[..., Any]], None]) -> None:
        super().__init__()
        self._now = 0.0
        self._pause_seconds = pause_seconds
        self._before = before
        self._handlers: dict[signal.Signals, Any] = {}
        # asyncio's own loop asks this for events.
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise StuckError
        self._now += timeout
        return []

    def _process_events(self, events: list[Any]) -> None:
        """Does nothing, because no events come."""

    def _write_to_self(self) -> None:
        """Does nothing, because nothing sleeps in `select`."""

    def set_handler(self, number: signal.Signals, handler: Any) -> Any:
        """Stands in for `signal.signal`."""
        before = self._handlers.get(number, signal.SIG_DFL)
        self._handlers[number] = handler
        return before

    def send_signal(self, number: signal.Signals) -> bool:
        """Returns whether a handler took it."""
        handler = self._handlers.get(number, signal.SIG_DFL)
        if callable(handler):
            handler(number, None)
        return callable(handler)

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Result], *args: Any
    ) -> "asyncio.Future[Result]":
        future: asyncio.Future[Result] = self.create_future()
        self.call_later(self._pause_seconds(), self._perform, future, func, args)
        return future

    def _perform(self, future: "asyncio.Future[Result]", func: Callable[..., Result], args: tuple[Any, ...]) -> None:
        # A thread does its work even if nothing waits for it any longer.
        try:
            self._before(func)
            result = func(*args)
        except BaseException as error:  # noqa: BLE001 - handed over
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)
            elif isinstance(result, IOBase):
                result.close()  # opened for a process that is dead


async def run_sync(
    func: Callable[..., Result],
    *args: Any,
    abandon_on_cancel: bool = False,
    limiter: CapacityLimiter | None = None,
) -> Result:
    """Stands in for `anyio.to_thread.run_sync`."""
    await checkpoint()
    async with limiter or nullcontext():
        with anyio.CancelScope(shield=not abandon_on_cancel):
            return await asyncio.get_running_loop().run_in_executor(None, func, *args)
    raise AssertionError("cancelled, and nobody was told")
