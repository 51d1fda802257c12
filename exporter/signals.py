"""Ctrl-C and SIGTERM, while something is there to be brought to an end in good order."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: Replaced where the signals are simulated.
set_handler: Callable[[signal.Signals, Any], Any] = signal.signal


@contextmanager
def listening(told: Callable[[], object]) -> Iterator[None]:
    """While it lasts, each of the signals calls `told`, between two steps of whatever the main thread does; before and
    after, what was there before is in charge, and at no moment nobody. In another thread it does nothing.

    asyncio's own handlers leave the system's default behind, which kills in the middle of the next step.
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
