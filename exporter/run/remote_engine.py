"""Runs tasks on the engine of the process that has started this one, which shares it out among many exports."""

import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from itertools import count
from typing import Final

from exporter.errors import EngineClosedError, EngineError
from exporter.run.engine_frames import Frame, FrameDecoder, encode_frame

#: The connection to the process that holds the engine, if there is one.
LENT: ContextVar[socket.socket | None] = ContextVar("lent", default=None)

_RECEIVE_BYTES: Final = 1 << 20
_OVER: Final = "the process that runs the tasks of this export has ended"


class RemoteEngine:
    """Sends tasks over a connection, as `Engine` says. `slots` is the share of this export in those of the engine."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._numbers = count(1)
        self._sending = threading.Lock()
        self._calls: dict[int, Future[bytes]] = {}
        self._slots = 1
        self._name = "engine"
        self._is_over = False
        self._is_told = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True, name="engine")
        self._reader.start()

    @property
    def name(self) -> str:
        self._is_told.wait()
        return self._name

    @property
    def slots(self) -> int:
        self._is_told.wait()
        return self._slots

    def call(self, task: bytes) -> bytes:
        """Returns the answer to a task, as `Engine.call` does."""
        if not task:
            return task  # others have woken it, and it is awake for all
        future = Future[bytes]()
        with self._sending:
            number = next(self._numbers)
            self._calls[number] = future
            # After the end, nobody looks for new calls.
            if self._is_over:
                raise EngineClosedError(_OVER)
            try:
                self._connection.sendall(encode_frame(Frame("task", number, task)))
            except OSError as error:
                raise EngineClosedError(_OVER) from error
        return future.result()

    def close(self) -> None:
        """Gives up all calls. The engine itself goes on for others."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._connection.close()

    def _read(self) -> None:
        decoder = FrameDecoder()
        with suppress(OSError, EngineError):
            while received := self._connection.recv(_RECEIVE_BYTES):
                for frame in decoder.decode(received):
                    self._take(frame)
        self._is_over = True
        self._is_told.set()
        with self._sending:
            calls = list(self._calls.values())
        for call in calls:
            call.set_exception(EngineClosedError(_OVER))

    def _take(self, frame: Frame) -> None:
        if frame.kind == "slots":
            self._slots, self._name = max(1, frame.number), frame.content.decode()
            self._is_told.set()
            return
        call = self._calls.pop(frame.number, None)
        if call is None:
            return
        if frame.kind == "answer":
            call.set_result(frame.content)
        else:
            call.set_exception(EngineError(frame.content.decode()))
