"""Sends tasks to a process and answers back over a connection. Neither end trusts the other to be there.

A task is its length in eight bytes, and its content. Before an answer, which begins with what it is, come any number
of beats, a byte each, by which a worker says that it is there.
"""

import socket
from contextlib import suppress
from typing import Final

from exporter.errors import EngineError

_LENGTH_BYTES: Final = 8
_READ_BYTES: Final = 1 << 20
_BEAT: Final = b"."
_ANSWER: Final = b"="
_REFUSAL: Final = b"!"


def send_task(connection: socket.socket, task: bytes) -> None:
    """Sends a task. Raises `OSError`."""
    connection.sendall(_with_length(task))


def receive_task(connection: socket.socket) -> bytes:
    """Waits for a task. Raises `OSError`, which includes the end of the connection."""
    return _receive_content(connection)


def send_answer(connection: socket.socket, answer: bytes, *, is_refusal: bool = False) -> None:
    """Sends the answer to a task, or why there is none. Raises `OSError`."""
    connection.sendall((_REFUSAL if is_refusal else _ANSWER) + _with_length(answer))


def send_beat(connection: socket.socket) -> None:
    """Says that this process is there, unless so many beats wait that there is no room. Raises `OSError`."""
    with suppress(BlockingIOError):
        connection.send(_BEAT, socket.MSG_DONTWAIT)


def receive_answer(connection: socket.socket) -> bytes:
    """Waits for the answer to a task. Raises `EngineError` if the worker has refused it, and `OSError`: `TimeoutError`
    if the worker is silent for as long as the connection waits, and others if it has ended."""
    while (kind := _receive(connection, 1)) == _BEAT:
        pass
    content = _receive_content(connection)
    if kind == _REFUSAL:
        raise EngineError(content.decode())
    return content


def _with_length(content: bytes) -> bytes:
    return len(content).to_bytes(_LENGTH_BYTES) + content


def _receive_content(connection: socket.socket) -> bytes:
    return _receive(connection, int.from_bytes(_receive(connection, _LENGTH_BYTES)))


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        if not (more := connection.recv(min(size - len(received), _READ_BYTES))):
            raise ConnectionResetError("the other process has ended")
        received += more
    return bytes(received)
