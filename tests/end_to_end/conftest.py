import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from anyio.from_thread import start_blocking_portal

from exporter.cli import main
from exporter.contract import Instant
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.pipeline import attempts
from exporter.sandbox import TOKEN, Behaviour, MediaBehaviour, MediaHost, Row, Sandbox, ServedRequest, serve
from exporter.sandbox.clock import system_clock
from tests.toolkit.dated import undated

NOBODY = 65_534
#: What a run says only after some seconds: how far it is, and that no answer has helped it for ten.
_OF_LONG_RUNS = re.compile(r"started command=|progress percent=|warning: no answer that helps |answers come again$")


class CommandResult(NamedTuple):
    """Holds the exit status of a command, and what it printed; times before lines on stderr are left out."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> list[str]:
        """Returns the lines on stderr, except those that a run adds when it takes long."""
        return [line for line in self.err.splitlines() if not _OF_LONG_RUNS.match(line)]


def _heed_a_hang_up() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Serving(Protocol):
    """Serves `rows` on loopback, beside the test, until it ends."""

    def __call__(
        self,
        rows: Iterable[Row],
        behaviour: Behaviour | None = None,
        *,
        now: Instant | None = None,
        media: MediaBehaviour | MediaHost | None = None,
    ) -> Sandbox: ...


class Command(Protocol):
    """Runs the command line in this process, against `server`; `url` stands in for a server."""

    def __call__(
        self,
        *arguments: str | Path,
        server: Sandbox | None = None,
        url: str | None = None,
        token: str | None = TOKEN,
        organization: str | None = None,
    ) -> CommandResult: ...


class RunningCommand(NamedTuple):
    """Holds a process of the command line; `wait` returns its result."""

    process: "subprocess.Popen[str]"
    wait: Callable[..., CommandResult]


class Spawn(Protocol):
    """Starts the command line as a process of its own, against `server`; `url` stands in for a server.

    `program` is what Python runs.
    """

    def __call__(
        self,
        *arguments: str | Path,
        server: Sandbox | None = None,
        url: str | None = None,
        token: str = TOKEN,
        program: Sequence[str | Path] = ("-m", "exporter"),
    ) -> RunningCommand: ...


@pytest.fixture
def serving() -> Iterator[Serving]:
    with start_blocking_portal() as portal, ExitStack() as stack:

        def start(
            rows: Iterable[Row],
            behaviour: Behaviour | None = None,
            *,
            now: Instant | None = None,
            media: MediaBehaviour | MediaHost | None = None,
        ) -> Sandbox:
            clock = system_clock if now is None else partial(int, now)
            sandbox = serve(rows, behaviour, clock=clock, media=media)
            return stack.enter_context(portal.wrap_async_context_manager(sandbox))

        yield start


def _environment(url: str | None, token: str | None, organization: str | None = None) -> dict[str, str | None]:
    return {"ANYREACH_BASE_URL": url, "ANYREACH_TOKEN": token, "ANYREACH_ORG_ID": organization}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(
        *arguments: str | Path,
        server: Sandbox | None = None,
        url: str | None = None,
        token: str | None = TOKEN,
        organization: str | None = None,
    ) -> CommandResult:
        for name, value in _environment(server.url if server else url, token, organization).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        done = CommandResult(status, out, undated(err))
        if token and token.strip():
            assert token not in done.out + done.err
        return done

    return run


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    with ExitStack() as stack:

        def start(
            *arguments: str | Path,
            server: Sandbox | None = None,
            url: str | None = None,
            token: str = TOKEN,
            program: Sequence[str | Path] = ("-m", "exporter"),
        ) -> RunningCommand:
            known: dict[str, Any] = {name: value for name, value in os.environ.items() if "ANYREACH" not in name}
            wanted = _environment(server.url if server else url, token)
            chosen = {name: value for name, value in wanted.items() if value is not None}
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *map(str, (*program, *arguments))],
                    env=known | chosen,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="surrogateescape",
                    # The tests may have been started by nohup, and what ignores a signal hands that on.
                    preexec_fn=_heed_a_hang_up,
                )
            )
            # This precedes the closing of the pipes: nothing must wait for a process that a failed test leaves behind.
            stack.callback(process.kill)

            def wait(timeout_seconds: float = 240.0) -> CommandResult:
                out, err = process.communicate(timeout=timeout_seconds)
                assert token not in out + err
                return CommandResult(process.returncode, out, undated(err))

            return RunningCommand(process, wait)

        yield start


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a run ask a server that answers badly as often as usual, but without long pauses.

    For one that does not answer, give --wait.
    """
    patience = Patience(attempts=6, seconds=0.0, throttled_seconds=0.0)
    hasty = partial(RetryPolicy, unknown=patience, base_seconds=0.01)
    monkeypatch.setattr(attempts, "RetryPolicy", hasty)


def when_asked(server: Sandbox, number: int, act: Callable[[], object]) -> None:
    """Does something before the server answers request `number`."""

    def see(seen: ServedRequest) -> None:
        if seen.number == number:
            act()

    server.on_request = see


def behave_from(server: Sandbox, number: int, behaviour: Behaviour) -> None:
    """Gives the server another behaviour before it answers request `number`."""

    def change() -> None:
        server.behaviour = behaviour

    when_asked(server, number, change)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Runs as a user who may not write everywhere, even if root runs the tests."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
