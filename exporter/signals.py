"""Handles Ctrl-C and SIGTERM while there is work that must be brought to an orderly end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: A simulation of the signals replaces this.
set_handler: Callable[[signal.Signals, Any], Any] = signal.signal


@contextmanager
def listening(told: Callable[[], object]) -> Iterator[None]:
    """Makes each of the signals call `told` while the block runs, between two steps of whatever the main thread does.

    Before and after, the previous handlers are in charge; at no moment is there no handler. In another thread this does
    nothing. asyncio's own handlers leave the system's default behind, which kills in the middle of the next step.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: object) -> None:
        told()

    before = [(number, set_handler(number, handle)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            set_handler(number, handler)
