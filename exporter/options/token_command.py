"""Runs the command that prints the token, for a password manager or a vault that keeps it. An edge to other programs.

The command is given no shell, no terminal and no input, and is a process group of its own, so that it can be ended with
its children. What it prints is the token, and is shown nowhere; of what it says about a failure, a line is shown if no
word of it could be a secret.
"""

import os
import re
import selectors
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from exporter.contract import TOKEN_PREFIXES
from exporter.errors import UsageError
from exporter.keys import without_secrets
from exporter.store.location import quoted

_OPTION: Final = "--token-command"
_LIMIT_SECONDS: Final = 30.0
#: How often it is looked whether the run has been stopped.
_LOOK_SECONDS: Final = 0.1
_MOST_BYTES: Final = 64 * 1024
_MOST_SAID_BYTES: Final = 4096
_MOST_SAID_CHARACTERS: Final = 200
#: A run of letters and digits that no word, path or address has between its marks.
_OPAQUE: Final = re.compile(r"(?=[\w+=~-]*\d)[\w+=~-]{20,}", re.ASCII)
_ADVICE: Final = "Run it by hand: it must print the token, alone"


@dataclass(frozen=True, slots=True)
class _End:
    """Holds what a command has printed and said, and the status that it ended with."""

    status: int
    printed: bytes = field(repr=False)
    said: bytes = field(repr=False)


def split_command(given: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the arguments of a command, of which a text is split as a shell would. Raises `UsageError`."""
    try:
        command = tuple(shlex.split(given) if isinstance(given, str) else given)
    except ValueError as error:
        raise UsageError(f"{_OPTION}: cannot be split into arguments: {str(error).lower()}") from error
    if not command or not command[0]:
        raise UsageError(f"{_OPTION}: must be a command that prints the token")
    if command[0].startswith(TOKEN_PREFIXES):
        raise UsageError(f"{_OPTION}: must be a command that prints the token, not the token itself")
    if any("\0" in word for word in command):
        raise UsageError(f"{_OPTION}: an argument holds a NUL character")
    return command


def token_printed_by(command: Sequence[str], stopped: threading.Event, *, limit_seconds: float = _LIMIT_SECONDS) -> str:
    """Returns what `command` prints, without the space around it. Blocks for `limit_seconds` at the most.

    The command is killed when they are over, and soon after `stopped` is set. Raises `UsageError` unless it ends well
    and prints one line of text.
    """
    # Other arguments may be secrets.
    named = f"{_OPTION} {quoted(Path(command[0]).name)}"
    end = _run(command, stopped, limit_seconds, named)
    if end.status:
        raise UsageError(f"{named}: {_ending(end.status)}{_reason(end)}. {_ADVICE}")
    try:
        token = end.printed.decode().strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"{named}: printed what is not text. {_ADVICE}") from error
    if not token:
        raise UsageError(f"{named}: printed nothing. {_ADVICE}")
    if len(token.splitlines()) > 1:
        raise UsageError(f"{named}: printed several lines. {_ADVICE}")
    if not all("!" <= character <= "~" for character in token):
        raise UsageError(f"{named}: printed a space, or a character that no token has. {_ADVICE}")
    if token.startswith(("{", "[", '"')):
        raise UsageError(f"{named}: printed JSON. {_ADVICE}")
    return token


def _run(command: Sequence[str], stopped: threading.Event, limit_seconds: float, named: str) -> _End:
    try:
        process = subprocess.Popen(  # noqa: S603 - what the user wants run
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=without_secrets(os.environ),
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(
            f"{named}: cannot be started: {error.strerror or 'refused'}. Check its path, and PATH"
        ) from error
    with _killed_unless_ended(process), selectors.DefaultSelector() as selector:
        return _followed(process, selector, stopped, limit_seconds, named)


@contextmanager
def _killed_unless_ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        # Once the end of a process is known, its number may be another one's.
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _followed(
    process: "subprocess.Popen[bytes]",
    selector: selectors.BaseSelector,
    stopped: threading.Event,
    limit_seconds: float,
    named: str,
) -> _End:
    """Returns how the command ended: when it is gone, and nothing can print in its place any longer.

    A child of it may hold stderr for long, as that of `ssh` does, which is not waited for.
    """
    printed, said, is_open, ends_at = bytearray(), bytearray(), True, monotonic() + limit_seconds
    for pipe, kept in ((process.stdout, printed), (process.stderr, said)):
        if pipe is not None:
            selector.register(pipe, selectors.EVENT_READ, kept)
    while is_open or process.poll() is None:
        left = ends_at - monotonic()
        if left <= 0:
            raise UsageError(
                f"{named}: did not end within {limit_seconds:g} s, or left a child that may still print. {_ADVICE}"
            )
        if stopped.is_set():
            raise UsageError(f"{named}: was killed, because the run was stopped")
        for ended in _taken(process, selector, min(left, _LOOK_SECONDS)):
            is_open = is_open and ended is not process.stdout
        if len(printed) > _MOST_BYTES:
            raise UsageError(f"{named}: printed more than {_MOST_BYTES // 1024} KiB. {_ADVICE}")
        del said[_MOST_SAID_BYTES:]
    return _End(process.returncode, bytes(printed), bytes(said))


def _taken(process: "subprocess.Popen[bytes]", selector: selectors.BaseSelector, seconds: float) -> Iterator[object]:
    """Waits until something happens, takes what has been written, and yields the pipes that have ended."""
    if not selector.get_map():
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return
    for key, _ in selector.select(seconds):
        chunk = os.read(key.fd, _MOST_BYTES)
        key.data.extend(chunk)
        if not chunk:
            selector.unregister(key.fileobj)
            yield key.fileobj


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _reason(end: _End) -> str:
    """Returns the first line that a command said of its failure, unless a word of it may be the token."""
    lines = (" ".join(line.split()) for line in end.said.decode(errors="replace").splitlines())
    line = next(("".join(letter for letter in line if letter.isprintable()) for line in lines if line), "")
    if not line:
        return ""
    secrets = (*TOKEN_PREFIXES, *end.printed.decode(errors="replace").split())
    if _OPAQUE.search(line) or any(secret in line for secret in secrets):
        return "; what it said is not shown, because it may hold the token"
    return f": {line[:_MOST_SAID_CHARACTERS]}"
