"""Handles Ctrl-C, SIGTERM and SIGHUP while there is work that must be brought to an orderly end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: A simulation of the signals replaces this.
set_handler: Callable[[signal.Signals, Any], Any] = signal.signal


def heeded() -> list[signal.Signals]:
    """Returns the signals that end a run; SIGHUP is not among them where it is ignored, as under nohup."""
    return [each for each in _SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]


def listening_in_loop(told: Callable[[], object], *, heeds: bool) -> AbstractContextManager[None]:
    """Is `listening` for tasks of the event loop that runs, which calls `told`; without `heeds` it does nothing."""
    if not heeds:
        return nullcontext()
    import asyncio  # help needs none, and reads options, which need signals

    return listening(partial(asyncio.get_running_loop().call_soon_threadsafe, told))


@contextmanager
def listening(told: Callable[[], object]) -> Iterator[None]:
    """Makes each of the signals call `told` while the block runs, between two steps of whatever the main thread does.

    Before and after, the previous handlers are in charge; at no moment is there no handler. In another thread this does
    nothing. asyncio's own handlers leave the system's default behind, which kills in the middle of the next step.
    A terminal that closes may send more than one SIGHUP, from the shell and from the system: the first one counts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    is_hung_up = False

    def handle(number: int, _frame: object) -> None:
        nonlocal is_hung_up
        if number == signal.SIGHUP:
            if is_hung_up:
                return
            is_hung_up = True
        told()

    before = [(number, set_handler(number, handle)) for number in heeded()]
    try:
        yield
    finally:
        for number, handler in before:
            set_handler(number, handler)
