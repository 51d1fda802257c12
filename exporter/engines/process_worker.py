"""Answers the tasks of another process, in a process of its own that lives no longer than that one."""

import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Final

from exporter.engines.process_frames import receive_task, send_answer, send_beat
from exporter.errors import EngineError
from exporter.heap import keep_heap_compact
from exporter.interpreter import end_loading, set_up_interpreter

_BEAT_MILLISECONDS: Final = 1000


def serve(number: int, driver: int, work: str) -> None:
    """Answers tasks with a function, `work`, that is named `module:function`, until the process with the id `driver`
    has ended or closes the connection, whose descriptor is `number`."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The driver is told as well, and says what becomes of the tasks. Programs that this one starts heed them.
        signal.signal(each, lambda *_: None)
    set_up_interpreter()
    keep_heap_compact("export")
    connection = socket.socket(fileno=number)
    connection.set_inheritable(False)
    sending = threading.Lock()
    threading.Thread(target=_stay, args=(connection, driver, sending), daemon=True, name="lifeline").start()
    try:
        # While the first task is on its way.
        module, _, name = work.partition(":")
        answer = getattr(import_module(module), name)
    except Exception as error:  # noqa: BLE001 - whatever it is, the task's answer says so
        answer = partial(_refuse, f"exporter cannot be loaded in a process: {type(error).__name__}: {error}")
    end_loading()
    with suppress(OSError):
        while True:
            _answer(connection, answer, receive_task(connection), sending)
    _end()


def _answer(connection: socket.socket, work: Callable[[bytes], bytes], task: bytes, sending: threading.Lock) -> None:
    is_refusal = True
    try:
        content = work(task)
        is_refusal = False
    except EngineError as error:
        content = str(error).encode()
    except Exception as error:  # noqa: BLE001 - it may quote a conversation: its type must do
        content = f"a task ended with {type(error).__name__}; this is a defect, please report it".encode()
    with sending:
        send_answer(connection, content, is_refusal=is_refusal)


def _refuse(reason: str, _task: bytes) -> bytes:
    raise EngineError(reason)


def _stay(connection: socket.socket, driver: int, sending: threading.Lock) -> None:
    """Says again and again that this process is there, and ends it when there is nobody to tell."""
    hangup = select.poll()
    # Tasks are for the main thread to read.
    hangup.register(connection, 0)
    is_wanted = True
    while is_wanted:
        with sending:
            send_beat(connection)
        # A process that the driver has forked may hold the connection open after its end.
        is_wanted = not hangup.poll(_BEAT_MILLISECONDS) and os.getppid() == driver
    _end()


def _end() -> None:
    """Ends this process at once. What it has not answered is nobody's, and lies where the next run clears it away."""
    os._exit(0)
