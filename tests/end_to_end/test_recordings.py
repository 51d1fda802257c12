"""Runs that keep recordings are killed, stopped and repeated as processes; each recording is kept once in the end."""

import json
import signal
from pathlib import Path
from threading import Event

import msgspec
import pytest

from exporter.sandbox import Behaviour, Sandbox
from tests.end_to_end.conftest import Command, Serving, Spawn
from tests.toolkit.recordings import SMALL, call, check_outcomes, outcomes
from tests.toolkit.sizes import size_of, some_of

HOME = ("--allow-network", "127.0.0.0/8")
ROWS = [call(number) for number in range(60)]


@pytest.fixture
def server(serving: Serving) -> Sandbox:
    return serving(ROWS, media=msgspec.structs.replace(SMALL, bytes_each=20_000))


def after(server: Sandbox, more: int) -> Event:
    """Returns what is set once this many more recordings have been asked for."""
    assert server.media is not None
    reached, last = Event(), server.media.count + more
    server.media.on_request = lambda request: reached.set() if request.number >= last else None
    return reached


def test_a_run_that_is_killed_is_repeated_without_harm(
    server: Sandbox, command: Command, spawn: Spawn, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export", out, server=server).status == 0
    slow = ("--recording-rate", "200kB", "--recording-concurrency", "2")
    for _ in range(size_of(1, 2)):
        under_way = after(server, 6)
        running = spawn("recordings", out, *HOME, *slow, server=server)
        assert under_way.wait(60)
        running.process.kill()
        assert running.wait().status == -signal.SIGKILL
    done = command("recordings", out, *HOME, "--json", server=server)
    assert (done.status, json.loads(done.out)["stored"]) == (0, 60)
    assert server.media is not None
    assert check_outcomes(out, server.media, ROWS) == {"stored": 60}
    assert command("verify", out).status == 0


def test_a_run_that_is_stopped_keeps_what_it_has_fetched(
    server: Sandbox, command: Command, spawn: Spawn, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export", out, server=server).status == 0
    under_way = after(server, 9)
    running = spawn(
        "recordings", out, *HOME, "--recording-rate", "200kB", "--recording-concurrency", "2", server=server
    )
    assert under_way.wait(60)
    running.process.send_signal(signal.SIGINT)
    done = running.wait()
    assert done.status == 130
    assert "stopped" in done.err
    kept = len(outcomes(out))
    assert 4 <= kept < 60
    again = command("recordings", out, *HOME, "--json", server=server)
    assert (again.status, json.loads(again.out)["new_stored"]) == (0, 60 - kept)
    assert server.media is not None
    assert check_outcomes(out, server.media, ROWS) == {"stored": 60}


def test_what_is_said_names_no_link(server: Sandbox, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = command("export", out, "--recordings", *HOME, "-v", "--log-format", "json", server=server)
    assert done.status == 0
    refused = tmp_path / "refused"
    assert command("export", refused, server=server).status == 0
    without = command("recordings", refused, "-v", server=server)
    assert without.status == 3
    assert "add --allow-network 127.0.0.0/8" in without.out
    for text in (done.out, done.err, without.out, without.err):
        assert "Expires=" not in text
        assert "Signature=" not in text
    again = command("recordings", refused, *HOME, "--retry", "refused", server=server)
    assert (again.status, len(outcomes(refused))) == (0, 60)


def test_a_stop_while_recordings_are_fetched_leaves_the_export_sealed(
    server: Sandbox, command: Command, spawn: Spawn, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("export", out, server=server).status == 0
    under_way = after(server, 9)
    slow = ("--recording-rate", "200kB", "--recording-concurrency", "2")
    running = spawn("export", out, "--recordings", *HOME, *slow, server=server)
    assert under_way.wait(60)
    running.process.send_signal(signal.SIGINT)
    done = running.wait()
    assert (done.status, "stopped" in done.err) == (130, True)
    assert (out / "_SUCCESS").exists()
    kept = len(outcomes(out))
    assert 4 <= kept < 60
    again = command("export", out, *HOME, "--json", server=server)
    assert (again.status, json.loads(again.out)["recordings"]["new_stored"]) == (0, 60 - kept)
    assert server.media is not None
    assert check_outcomes(out, server.media, ROWS) == {"stored": 60}


@pytest.mark.parametrize("number", some_of([signal.SIGKILL, signal.SIGINT], signal.SIGKILL))
def test_an_export_that_ends_while_rows_and_recordings_come(
    number: signal.Signals, server: Sandbox, command: Command, spawn: Spawn, tmp_path: Path
) -> None:
    out, slow = tmp_path / "out", ("--concurrency", "1", "--page-size", "5")
    server.behaviour, under_way = Behaviour(latency=0.1), after(server, 12)
    running = spawn("export", out, "--recordings", *HOME, *slow, server=server)
    assert under_way.wait(60)
    running.process.send_signal(number)
    assert running.wait().status == (-number if number == signal.SIGKILL else 130)
    assert not (out / "_SUCCESS").exists(), "rows still come"
    assert server.media is not None
    server.behaviour, kept = Behaviour(), outcomes(out)
    assert len(kept) >= (8 if number == signal.SIGINT else 0)
    server.media.attempts.clear()
    again = command("export", out, *HOME, "--json", server=server)
    assert (again.status, json.loads(again.out)["recordings"]["stored"]) == (0, 60)
    assert check_outcomes(out, server.media, ROWS) == {"stored": 60}
    assert not server.media.attempts.keys() & kept.keys(), "what has its row is not fetched again"
    assert command("verify", out, "--media").status == 0
