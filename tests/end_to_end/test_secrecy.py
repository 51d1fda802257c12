"""Tests that no output, log, file, exception or crash holds the token, whichever way a run ends."""

import base64
import errno
import os
import resource
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

import exporter
from exporter.contract import DAY, format_instant
from exporter.jobs import export as job
from exporter.pipeline.committer import Committer
from exporter.sandbox import Behaviour, Sandbox, gate, make_conversations
from exporter.sandbox.behaviour import Fault
from exporter.store.local.store import LocalStore
from tests.end_to_end.conftest import Command, CommandResult, Serving, Spawn, behave_from
from tests.end_to_end.records import SINCE
from tests.end_to_end.test_disk import failing
from tests.end_to_end.test_faults import LASTING, PASSING, hurry
from tests.toolkit.disclosure import everything_said
from tests.toolkit.peer import Peer, Script, http, http_json, self_signed
from tests.toolkit.processes import started
from tests.toolkit.sizes import some_of

pytestmark = pytest.mark.usefixtures("hasty")

_CORE = "7d1f0c93e2b84a65"
#: A token that differs in every notation: quoted for a URL, escaped in JSON, or printed by `repr`.
TOKEN = f"ak_\"\\%{_CORE}+/=&<>'"

UNTIL = SINCE + 3 * DAY
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))
OPTIONS = (*RANGE, "--page-size", "10", "--concurrency", "2")


def spellings() -> Iterator[str]:
    """Returns what betrays the token: its middle, which no notation changes, and its Base64 at every offset."""
    yield _CORE
    for offset in range(3):
        encoded = base64.b64encode(b"." * offset + _CORE.encode()).decode()
        # The characters that depend on the neighbours are left out.
        yield encoded[4 if offset else 0 : -4]


def assert_silent(text: str, where: str) -> None:
    for spelling in spellings():
        assert spelling not in text, f"{where}: {text[:2000]}"


class World:
    """Runs an API that knows the token and a command line that gets it, and looks for the token in all output."""

    def __init__(
        self,
        command: Command,
        serving: Serving,
        spawn: Spawn,
        portal: BlockingPortal,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self.out = root / "out"
        self.root = root
        self.spawn = spawn
        self.monkeypatch = monkeypatch
        self._command = command
        self._serving = serving
        self._portal = portal
        self._caplog = caplog
        self._stack = ExitStack()
        self._raised: list[BaseException] = []
        self._watch_exceptions()

    def _watch_exceptions(self) -> None:
        real = job.export

        async def watched(*arguments: Any) -> Any:
            try:
                return await real(*arguments)
            except BaseException as error:
                self._raised.append(error)
                raise

        self.monkeypatch.setattr(job, "export", watched)

    def serve(self, behaviour: Behaviour | None = None, later: Behaviour | None = None) -> Sandbox:
        """Runs a server whose behaviour changes to `later` half-way."""
        server = self._serving(make_conversations(80, SINCE, UNTIL, seed=61, density="flat"), behaviour)
        if later is not None:
            behave_from(server, 8, later)
        return server

    def peer(self, script: Script, context: ssl.SSLContext | None = None) -> str:
        peer = Peer([script], ssl_context=context)
        return self._stack.enter_context(self._portal.wrap_async_context_manager(peer)).url

    def export(self, *options: str | Path, **arguments: Any) -> CommandResult:
        """Runs the command with its most detailed output."""
        return self.look(self._command("export", self.out, *OPTIONS, "-v", *options, token=TOKEN, **arguments))

    def look(self, done: CommandResult) -> CommandResult:
        assert_silent(done.out + done.err, "output")
        assert_silent(self._caplog.text, "log")
        for path in self.root.rglob("*"):
            assert_silent(str(path), "name of a file")
            if path.is_file():
                assert_silent(path.read_bytes().decode("latin-1"), str(path))
        for error in self._raised:
            for text in everything_said(error):
                assert_silent(text, "exception")
        return done

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def world(
    command: Command,
    serving: Serving,
    spawn: Spawn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[World]:
    hurry(monkeypatch, attempts=2)
    monkeypatch.setattr(gate, "FIRST_TOKENS", (TOKEN,))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    caplog.set_level(0)
    with start_blocking_portal() as portal:
        world = World(command, serving, spawn, portal, tmp_path, monkeypatch, caplog)
        yield world
        world.close()


Case = Callable[[World], CommandResult]


def spoilt(fault: Fault, world: World) -> CommandResult:
    server = world.serve(later=Behaviour(faults=(fault,), fault_rate=1.0, trickle_rate=1000, oversized_bytes=2_000_000))
    return world.export(server=server)


def told(status: int, world: World) -> CommandResult:
    """Makes the API say the token in every place where it can say something."""
    headers = {"Content-Type": f"text/{TOKEN}", "Location": f"https://{TOKEN}/{TOKEN}", "Retry-After": TOKEN}
    return world.export(url=world.peer([http_json({"detail": f"Bearer {TOKEN}: no"}, status, headers)]))


def mistyped(url: str, world: World) -> CommandResult:
    return world.export(url=url)


def never(world: World) -> CommandResult:
    return world.export(server=world.serve())


def refused_at_once(world: World) -> CommandResult:
    world.monkeypatch.setattr(gate, "FIRST_TOKENS", ("ak_other",))
    return world.export(server=world.serve())


def without_scope(world: World) -> CommandResult:
    world.monkeypatch.setattr(gate, "TOKEN_NOSCOPE", TOKEN)
    return world.export(server=world.serve())


def revoked(world: World) -> CommandResult:
    return world.export(server=world.serve(Behaviour(revoked_after=10)))


def contradiction(world: World) -> CommandResult:
    return world.export(server=world.serve(Behaviour(order="oldest")))


def untrusted(world: World) -> CommandResult:
    context, _ = self_signed(world.root)
    return world.export(url=world.peer([http()], context).replace("http:", "https:"))


def not_tls(world: World) -> CommandResult:
    return world.export(url=world.peer([http()]).replace("http:", "https:"))


def not_http(world: World) -> CommandResult:
    return world.export(url=world.peer([b"220 mail ready\r\n"]))


def nobody_there(world: World) -> CommandResult:
    return world.export("--wait", "1s", url="http://127.0.0.1:9")


def disk_full(world: World) -> CommandResult:
    async def free_bytes(_: LocalStore) -> int:
        return 0

    world.monkeypatch.setattr(LocalStore, "free_bytes", free_bytes)
    return world.export(server=world.serve())


def disk_broken(world: World) -> CommandResult:
    world.monkeypatch.setattr(os, "fsync", failing(errno.EIO, os.fsync, iter([False] * 12)))
    return world.export(server=world.serve())


def defect(world: World) -> CommandResult:
    async def fail(*_: object) -> None:
        raise RuntimeError("as no error that is meant for a user")

    world.monkeypatch.setattr(Committer, "commit", fail)
    return world.export(server=world.serve())


def held(world: World) -> CommandResult:
    store = LocalStore(world.out)
    anyio.run(store.prepare)
    anyio.run(store.acquire_lock, "another")
    try:
        return world.export(server=world.serve())
    finally:
        anyio.run(store.release_lock)


def another_request(world: World) -> CommandResult:
    server = world.serve()
    assert world.export(server=server).status == 0
    return world.export("--direction", "inbound", server=server)


def token_for_a_file(world: World) -> CommandResult:
    return world.export("--token-file", TOKEN, server=world.serve())


CASES: dict[str, tuple[int, Case]] = {
    "none": (0, never),
    **{fault: (1, partial(spoilt, fault)) for fault in (*PASSING, *LASTING)},
    **{f"told-{status}": (1, partial(told, status)) for status in (200, 302, 400, 404, 429, 500, 503)},
    **{f"told-{status}": (4, partial(told, status)) for status in (401, 403)},
    "refused": (4, refused_at_once),
    "scope": (4, without_scope),
    "revoked": (4, revoked),
    "contradiction": (1, contradiction),
    "untrusted": (1, untrusted),
    "not-tls": (1, not_tls),
    "not-http": (1, not_http),
    "nobody": (1, nobody_there),
    "disk-full": (1, disk_full),
    "disk-broken": (1, disk_broken),
    "defect": (1, defect),
    "held": (5, held),
    "another-request": (2, another_request),
    "token-as-url": (2, partial(mistyped, TOKEN)),
    "token-as-host": (2, partial(mistyped, f"http://{TOKEN}")),
    "token-as-user": (2, partial(mistyped, f"https://{TOKEN}@127.0.0.1")),
    "token-as-quoted-user": (2, partial(mistyped, f"https://{quote(TOKEN, safe='')}@127.0.0.1")),
    "token-in-query": (2, partial(mistyped, f"https://127.0.0.1/?token={quote(TOKEN)}")),
    "token-in-path": (2, partial(mistyped, f"https://127.0.0.1/{quote(TOKEN, safe='')}")),
    "token-as-file": (2, token_for_a_file),
}


@pytest.mark.parametrize("name", CASES)
def test_however_a_run_ends(name: str, world: World) -> None:
    status, case = CASES[name]
    done = case(world)
    assert done.status == status, done.err
    assert ("Traceback" in done.err or " line " in done.err) == (name == "defect")


def test_however_a_run_ends_with_json_for_a_log(world: World) -> None:
    for behaviour, status in ((Behaviour(revoked_after=10), 4), (Behaviour(order="oldest"), 1), (Behaviour(), 0)):
        world.out = world.root / f"out-{status}"
        done = world.export("--log-format", "json", "--json", server=world.serve(behaviour))
        assert done.status == status


def test_interrupted(world: World) -> None:
    server = world.serve()
    reached = threading.Event()
    server.on_request = lambda seen: reached.set() if seen.number == 8 else None
    started = world.spawn("export", world.out, *OPTIONS, "-v", server=server, token=TOKEN)
    assert reached.wait(60)
    started.process.send_signal(signal.SIGINT)
    assert world.look(started.wait()).status in (0, 130)


@pytest.mark.parametrize("crash", some_of([signal.SIGABRT, signal.SIGSEGV], signal.SIGABRT))
def test_a_crash_leaves_no_core(crash: signal.Signals, world: World) -> None:
    """Whatever limit the process started with, this holds."""
    server = world.serve()
    reached = threading.Event()
    server.on_request = lambda seen: reached.set() if seen.number == 8 else None
    code = (
        "import resource, runpy; most = resource.getrlimit(resource.RLIMIT_CORE)[1];"
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most)); runpy.run_module('exporter', run_name='__main__')"
    )
    variables = {
        "ANYREACH_TOKEN": TOKEN,
        "ANYREACH_BASE_URL": server.url,
        "PYTHONPATH": str(Path(exporter.__file__).parent.parent),
    }
    with started(
        [sys.executable, "-c", code, "export", world.out, *OPTIONS],
        env=os.environ | variables,
        cwd=world.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert reached.wait(60)
        assert resource.prlimit(process.pid, resource.RLIMIT_CORE)[0] == 0
        process.send_signal(crash)
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert (ended.si_code, ended.si_status) == (os.CLD_KILLED, crash)
    assert not list(world.root.glob("core*"))
    world.look(CommandResult(0, "", ""))
