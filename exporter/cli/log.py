"""Writes dated lines: each begins with a time in UTC, so that a log of many nights can be read."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TextIO, TypeAlias

from exporter.errors import UsageError

LogFormat: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["info", "warning", "error"]
Log: TypeAlias = Callable[[Level, str, dict[str, object]], None]

#: Of a log that is rotated by size, this many older files are kept beside it.
_KEPT_FILES: Final = 5


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
    """Returns `event key=value …`; a value that could break the line or the terminal is quoted and escaped."""
    return " ".join([event, *(f"{key}={_plain(value)}" for key, value in details.items())])


class LogFile:
    """Appends to a file that only its owner can read.

    With `most_bytes`, a file that would grow beyond is renamed to `FILE.1`, and the older ones to the next number.
    Otherwise the file is left to logrotate: when its name leads elsewhere, it is opened again.
    """

    def __init__(self, path: Path, most_bytes: int | None = None) -> None:
        self._path = path
        self._most_bytes = most_bytes
        try:
            self._descriptor = self._open()
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"--log-file {path}: {what}. Name a file in a directory that you can write to") from error

    def write(self, text: str) -> None:
        """Writes the text, which ends with a newline. Raises `OSError`."""
        content = text.encode(errors="backslashreplace")
        if self._has_moved() or self._is_full(len(content)):
            # If it cannot be opened again, the old file goes on: a descriptor that is closed twice is another file's.
            with suppress(OSError):
                old, self._descriptor = self._descriptor, self._open()
                os.close(old)
        os.write(self._descriptor, content)

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

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


def _plain(value: object) -> str:
    text = str(round(value, 3) if isinstance(value, float) else value)
    harmless = text and text.isprintable() and not set(text) & set(' "=')
    return text if harmless else json.dumps(text)
