"""Runs a command on a terminal of its own, and reads what a person would see there."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pyte


class Terminal:
    """Holds a process on a pseudo-terminal, and the screen that its output makes."""

    def __init__(self, process: "subprocess.Popen[bytes]", descriptor: int, columns: int, rows: int) -> None:
        self.process = process
        self.output = b""
        self._descriptor = descriptor
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """Returns the lines that are not empty."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def cursor_column(self) -> int:
        return int(self._screen.cursor.x)

    def resize(self, columns: int, rows: int) -> None:
        _resize(self._descriptor, columns, rows)
        self._screen.resize(rows, columns)
        self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def wait_for(self, seen: Callable[[list[str]], bool], seconds: float = 300.0) -> list[str]:
        """Reads until the screen is as `seen` wants it, and returns its lines."""
        deadline = time.monotonic() + seconds
        while not seen(self.lines):
            assert self._read(deadline), "\n".join(self.lines)
        return self.lines

    def wait(self, seconds: float = 300.0) -> int:
        """Reads until the process has ended, and returns its exit status."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self.process.wait(60)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, "\n".join(["nothing came any more:", *self.lines])
        try:
            read = os.read(self._descriptor, 65_536)
        except OSError:  # the last process has closed its end
            return False
        self.output += read
        self._stream.feed(read)
        return bool(read)


@contextmanager
def terminal(*arguments: str, variables: Mapping[str, str], columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    """Yields a terminal on which `exporter` runs with these arguments and environment `variables`."""
    ours, theirs = pty.openpty()
    _resize(theirs, columns, rows)
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **variables},
        # Ctrl-C reaches the process only if the terminal is its own.
        preexec_fn=_take_terminal,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours, columns, rows)
    finally:
        process.kill()
        process.wait(60)
        os.close(ours)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _resize(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
