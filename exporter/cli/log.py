"""Writes dated lines: each begins with a time in UTC, so that a log of many nights can be read."""

import errno
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TextIO, TypeAlias

from exporter.errors import UsageError
from exporter.words import key_value

LogFormat: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["info", "warning", "error"]
Log: TypeAlias = Callable[[Level, str, dict[str, object]], None]

#: Of a log that is rotated by size, this many older files are kept beside it.
_KEPT_FILES: Final = 5
_IRREGULAR: Final = "not a regular file"


def dated(text: str) -> str:
    """Returns the text with the time, in UTC, before each of its lines."""
    return "\n".join(f"{_now()} {line}" for line in text.splitlines())


def open_log(write: Callable[[str], object], log_format: LogFormat) -> Log:
    """Returns a function that writes each event as a line, which ends with a newline: `key=value`, or a JSON object."""

    def log(level: Level, event: str, details: dict[str, object]) -> None:
        if log_format == "json":
            fields = {"timestamp": _now(), "level": level, "event": event, **details}
            line = json.dumps(fields, default=str)
        else:
            line = dated(("" if level == "info" else f"{level}: ") + key_values(event, details))
        with suppress(OSError, ValueError):
            write(f"{line}\n")

    return log


def written_to(stream: TextIO) -> Callable[[str], object]:
    """Returns a function that writes to a stream at once."""

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    return write


def key_values(event: str, details: dict[str, object]) -> str:
    """Returns `event key=value …` on one line."""
    return " ".join([event, *(key_value(key, value) for key, value in details.items())])


class LogFile:
    """Appends to a regular file, which is made so that only its owner can read it.

    With `most_bytes`, a file that would grow beyond is renamed to `FILE.1`, and the older ones to the next number.
    Otherwise the file is left to logrotate: when its name leads elsewhere, it is opened again. `warn` is told once if
    the file cannot be rotated, opened again or written.
    """

    def __init__(self, path: Path, most_bytes: int | None = None, warn: Callable[[str], object] | None = None) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._warn = warn
        try:
            self._descriptor = self._open()
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"--log-file {path}: {what}. Name a file in a directory that you can write to") from error

    def write(self, text: str) -> None:
        """Writes the text, which ends with a newline."""
        content = text.encode(errors="backslashreplace")
        try:
            if self._has_moved() or self._is_full(len(content)):
                # A descriptor that is closed twice is another file's.
                old, self._descriptor = self._descriptor, self._open()
                os.close(old)
        except OSError as error:
            self._complain(f"cannot be rotated or opened again: {error.strerror}; the file that was opened goes on")
        try:
            os.write(self._descriptor, content)
        except OSError as error:
            self._complain(f"{error.strerror}; lines are missing there")

    def close(self) -> None:
        os.close(self._descriptor)

    def _complain(self, what: str) -> None:
        warn, self._warn = self._warn, None
        if warn is not None:
            warn(f"--log-file {self._path}: {what}")

    def _open(self) -> int:
        # A pipe that nobody reads, or no longer reads, would hold up the run.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise (OSError(error.errno, _IRREGULAR) if error.errno == errno.ENXIO else error) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, _IRREGULAR)
        return descriptor

    def _has_moved(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._descriptor))

    def _is_full(self, more_bytes: int) -> bool:
        size = os.fstat(self._descriptor).st_size
        if self._most_bytes is None or size == 0 or size + more_bytes <= self._most_bytes:
            return False
        for number in range(_KEPT_FILES - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        return True

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
