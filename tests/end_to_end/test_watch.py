"""Others are told of runs: by commands, over HTTP, and in a file for Prometheus."""

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from exporter.contract import DAY, format_instant
from exporter.layout import LOCK, RUNS
from exporter.sandbox import Behaviour, Row, make_conversations
from exporter.store.local.lock import acquire, release
from tests.end_to_end.conftest import Command, Serving, Spawn, when_asked
from tests.end_to_end.records import SINCE
from tests.toolkit.listeners import Listener, listening
from tests.toolkit.prometheus import samples_of

pytestmark = pytest.mark.usefixtures("hasty")

UNTIL = SINCE + 4 * DAY
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))


@pytest.fixture
def rows() -> list[Row]:
    return make_conversations(60, SINCE, UNTIL, seed=3, transcripts=False, density="flat")


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


class Configured(Protocol):
    """Writes the config file of the export `acme` at `destination`, for the commands that follow."""

    def __call__(self, destination: Path, *lines: str) -> None: ...


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Configured:
    def configure(destination: Path, *lines: str) -> None:
        file = tmp_path / "exporter.toml"
        entry = ["[exports.acme]", f"destination = {json.dumps(str(destination))}", *lines]
        file.write_text("\n".join(entry))
        monkeypatch.setenv("EXPORTER_CONFIG", str(file))

    return configure


def all_hooks(url: str) -> list[str]:
    events = ("on_start", "on_success", "on_failure", "on_doubt")
    return ["[hooks]", *(f'{event} = "{url}/{event}"' for event in events), f'ping = "{url}/ping?rid=1"']


def told(listener: Listener) -> list[tuple[str, Any]]:
    """Returns the paths and bodies that came, and forgets them; what came at once is in order of the paths."""
    heard, listener.heard[:] = list(listener.heard), []
    return [(each.path, json.loads(each.body) if each.body.startswith(b"{") else each.body.decode()) for each in heard]


def test_hooks_are_told_of_the_start_and_of_success(
    rows: list[Row],
    serving: Serving,
    command: Command,
    listener: Listener,
    configured: Configured,
    tmp_path: Path,
) -> None:
    configured(tmp_path / "out", *all_hooks(listener.url))
    assert command("export", "acme", *RANGE, server=serving(rows)).status == 0
    by_path = dict(told(listener))
    assert sorted(by_path) == ["/on_start", "/on_success", "/ping/start?rid=1", "/ping?rid=1"]
    start, success = by_path["/on_start"], by_path["/on_success"]
    assert by_path["/ping?rid=1"] == success
    assert (start["event"], start["export"], start["command"], start["pid"]) == ("start", "acme", "export", os.getpid())
    assert (start["exit_status"], start["rows"], start["ended_at"]) == (None, None, None)
    written = json.loads((tmp_path / "out" / RUNS).read_text())
    assert success == start | {
        "event": "success",
        "run": written["run"],
        "ended_at": success["ended_at"],
        "seconds": success["seconds"],
        "exit_status": 0,
        "result": "success",
        "state": "complete",
        "generation": written["generation"],
        "rows": 60,
        "new_rows": 60,
        "range_end": format_instant(UNTIL),
        "requests": written["requests"],
        "retries": 0,
        "throttled": 0,
    }
    assert success["destination"] == str(tmp_path / "out")


def test_hooks_are_told_of_each_way_to_fail_and_never_of_the_token(
    rows: list[Row],
    serving: Serving,
    command: Command,
    listener: Listener,
    configured: Configured,
    tmp_path: Path,
) -> None:
    server, out = serving(rows), tmp_path / "out"
    configured(out, *all_hooks(listener.url))
    # The token is missing: the run ends before it begins.
    assert command("export", "acme", *RANGE, token=None).status == 2
    ((_, failure), (_, reason)) = sorted(told(listener))
    assert (failure["event"], failure["exit_status"], failure["result"]) == ("failure", 2, "refused")
    assert reason == failure["reason"]
    assert reason.startswith("an option, the token, the config file or the environment is wrong or missing")
    assert command("export", "acme", *RANGE, server=server, token="ak_another-secret").status == 4
    heard = listener.heard[:]
    by_path = dict(told(listener))
    assert sorted(by_path) == ["/on_failure", "/on_start", "/ping/fail?rid=1", "/ping/start?rid=1"]
    assert (by_path["/on_failure"]["exit_status"], by_path["/on_failure"]["result"]) == (4, "denied")
    assert not any("another-secret" in str(each) for each in heard)
    # Another export's destination: what was asked for may be a caller's number.
    assert command("export", "acme", *RANGE, server=server).status == 0
    told(listener)
    assert command("export", "acme", "--user-id", "caller-7", server=server).status == 2
    assert "caller-7" not in str(listener.heard)
    assert "/on_failure" in listener.paths


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ('token = "${NEVER_SET}"', ()),
        ('lag = "${NEVER_SET}"', ()),
        ("", ("--concurrency", "many")),
        ("", ("--since", "whenever")),
        ("", ("--keep-generations", "-1")),
    ],
)
def test_a_run_that_cannot_begin_calls_once_and_keeps_the_figures_of_the_export(
    rows: list[Row],
    serving: Serving,
    command: Command,
    listener: Listener,
    configured: Configured,
    tmp_path: Path,
    line: str,
    options: tuple[str, ...],
) -> None:
    out, file = tmp_path / "out", tmp_path / "acme.prom"
    assert command("export", out, *RANGE, server=serving(rows)).status == 0
    hooks = [each for each in all_hooks(listener.url) if not each.startswith("on_doubt")]
    configured(out, line, f'metrics_file = "{file}"', *hooks, 'on_doubt = "https://hc.example/${NEVER_SET}"')
    assert command("sync", "acme", *options).status == 2
    assert sorted(listener.paths) == ["/on_failure", "/ping/fail?rid=1"]
    failure = dict(told(listener))["/on_failure"]
    assert (failure["export"], failure["destination"], failure["result"]) == ("acme", str(out), "refused")
    assert "whenever" not in str(failure)
    figures = samples_of(file.read_text())
    assert figures["exporter_last_exit_status", ("export", "acme")] == 2
    assert figures["exporter_rows", ("export", "acme")] == 60


def test_an_entry_is_told_of_that_lacks_its_destination(
    command: Command, listener: Listener, configured: Configured, tmp_path: Path
) -> None:
    configured(tmp_path / "${NEVER_SET}", f'metrics_file = "{tmp_path}/acme.prom"', *all_hooks(listener.url))
    assert command("export", "acme").status == 2
    assert dict(told(listener))["/on_failure"]["destination"] == f"{tmp_path}/${{NEVER_SET}}"
    assert samples_of((tmp_path / "acme.prom").read_text())["exporter_last_exit_status", ("export", "acme")] == 2


def test_a_word_that_is_no_entry_writes_over_the_figures_of_none(
    command: Command, listener: Listener, configured: Configured, tmp_path: Path
) -> None:
    configured(tmp_path / "out", *all_hooks(listener.url))
    assert command("export", "acmee", "--metrics-file", tmp_path / "acme.prom").status == 2
    assert not (tmp_path / "acme.prom").exists()
    assert not listener.heard


def test_a_doubt_is_told_as_one_and_a_ping_counts_it_as_a_failure(
    rows: list[Row],
    serving: Serving,
    command: Command,
    listener: Listener,
    configured: Configured,
    tmp_path: Path,
) -> None:
    odd = Row(rows[0].created_at, fields={**rows[0].fields, "duration_seconds": "not a number, and a secret"})
    bad = [odd, *rows[1:]]
    configured(tmp_path / "out", *all_hooks(listener.url))
    assert command("export", "acme", *RANGE, server=serving(bad)).status == 3
    by_path = dict(told(listener))
    assert sorted(by_path) == ["/on_doubt", "/on_start", "/ping/fail?rid=1", "/ping/start?rid=1"]
    assert by_path["/on_doubt"]["result"] == "doubt"
    assert by_path["/ping/fail?rid=1"] == "finished, but something is in doubt: 1 doubt, 1 quarantined row"
    assert "a secret" not in str(by_path)


def test_a_run_that_finds_another_one_at_work_is_no_failure(
    rows: list[Row],
    serving: Serving,
    command: Command,
    listener: Listener,
    configured: Configured,
    tmp_path: Path,
) -> None:
    server, out, file = serving(rows), tmp_path / "out", tmp_path / "acme.prom"
    assert command("export", out, *RANGE, server=server).status == 0
    configured(out, f'metrics_file = "{file}"', *all_hooks(listener.url))
    file.write_text("what the run at work has written")
    lock = acquire(out / LOCK, "another", SINCE)
    try:
        assert command("sync", "acme", server=server).status == 5
        assert listener.paths == ["/ping/log?rid=1"]
        assert file.read_text() == "what the run at work has written"
        # Also a run that its options end says nothing in the place of the one at work.
        assert command("sync", "acme", token=None).status == 2
        assert file.read_text() == "what the run at work has written"
    finally:
        release(lock)


def test_hooks_begin_once_the_run_holds_the_destination_and_before_it_asks_anything(
    rows: list[Row], serving: Serving, command: Command, configured: Configured, tmp_path: Path
) -> None:
    server, out, seen = serving(rows), tmp_path / "out", tmp_path / "seen"
    server.on_request = lambda _: asked.append(seen.read_text())
    asked: list[str] = []
    configured(out, "[hooks]", f"on_start = 'cp {out / LOCK} {seen}'")
    assert command("export", "acme", *RANGE, server=server).status == 0
    assert asked
    assert all(str(os.getpid()) in each for each in asked)


def test_a_run_that_finds_nothing_to_do_is_told_of_with_what_is_there(
    rows: list[Row],
    serving: Serving,
    command: Command,
    listener: Listener,
    configured: Configured,
    tmp_path: Path,
) -> None:
    server = serving(rows)
    configured(tmp_path / "out", *all_hooks(listener.url))
    assert command("export", "acme", *RANGE, server=server).status == 0
    told(listener)
    assert command("export", "acme", *RANGE, server=server).status == 0
    assert sorted(listener.paths) == ["/on_start", "/on_success", "/ping/start?rid=1", "/ping?rid=1"]
    start = dict(told(listener))["/on_start"]
    assert (start["state"], start["rows"], start["range_end"]) == ("complete", 60, format_instant(UNTIL))


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nobody_can_be_told_in_vain_without_a_warning_however_quiet(
    rows: list[Row], serving: Serving, command: Command, configured: Configured, tmp_path: Path, log_format: str
) -> None:
    hooks = ("[hooks]", 'on_success = "/nowhere/page"')
    configured(tmp_path / "out", f'metrics_file = "{tmp_path}/nowhere/acme.prom"', *hooks)
    done = command("export", "acme", *RANGE, "--quiet", "--log-format", log_format, server=serving(rows))
    assert done.status == 0
    assert done.err.count("hook of success, page: cannot be started") == 1
    assert done.err.count("/nowhere/acme.prom: No such file or directory") == 1
    assert len(done.err.splitlines()) == 2


def test_hooks_that_fail_warn_and_change_nothing(
    rows: list[Row],
    serving: Serving,
    command: Command,
    listener: Listener,
    configured: Configured,
    tmp_path: Path,
) -> None:
    listener.answer = lambda _path: (302, {"Location": "/elsewhere"})
    configured(
        tmp_path / "out",
        "[hooks]",
        f'on_start = [["/bin/sh", "-c", "echo secret >&2; exit 7", "a-secret"], "{listener.url}/secret"]',
        'on_success = "/nowhere/page a-secret"',
    )
    done = command("export", "acme", *RANGE, "--json", server=serving(rows))
    assert done.status == 0
    assert json.loads(done.out)["state"] == "complete"
    assert "warning: hook of start, sh: ended with exit status 7" in done.err
    assert f"warning: hook of start, {listener.url}: answered 302, a redirect, which is not followed" in done.err
    assert "warning: hook of success, page: cannot be started: No such file or directory" in done.err
    assert "secret" not in done.err
    assert listener.paths == ["/secret"]


def test_a_killed_run_is_told_by_the_next_one_and_once(
    rows: list[Row],
    serving: Serving,
    spawn: Spawn,
    command: Command,
    listener: Listener,
    configured: Configured,
    tmp_path: Path,
) -> None:
    server, out = serving(rows, Behaviour()), tmp_path / "out"
    running = spawn("export", out, *RANGE, "--page-size", "5", "--part-size", "1B", server=server)
    when_asked(server, 8, lambda: os.kill(running.process.pid, signal.SIGKILL))
    assert running.wait().status == -signal.SIGKILL
    configured(out, *all_hooks(listener.url))
    # Neither of the next runs commits anything: the killed one stays the last that did.
    assert command("sync", "acme", server=server, token="ak_wrong").status == 4
    (_, killed), (_, failed) = [each for each in told(listener) if each[0] == "/on_failure"]
    assert (killed["result"], killed["command"], killed["exit_status"]) == ("killed", None, None)
    assert (killed["pid"], killed["state"], killed["export"]) == (running.process.pid, "incomplete", "acme")
    assert failed["result"] == "denied"
    assert command("sync", "acme", server=server, token="ak_wrong").status == 4
    assert [body["result"] for path, body in told(listener) if path == "/on_failure"] == ["denied"]
    # What was noted is no record of its end: the next run that reads looks after what it left.
    assert command("status", out, "--json", token=None).out.count('"unended_run": {') == 1
    assert command("export", out, server=server).status == 0


def test_metrics_are_written_however_a_run_ends(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server, out, file = serving(rows), tmp_path / "out", tmp_path / "acme.prom"
    assert command("export", out, *RANGE, "--metrics-file", file, server=server).status == 0
    first = samples_of(file.read_text())
    label = ("export", str(out))
    assert first["exporter_rows", label] == 60
    assert first["exporter_last_exit_status", label] == 0
    assert first["exporter_run_state", label, ("state", "success")] == 1
    assert first["exporter_run_state", label, ("state", "running")] == 0
    assert first["exporter_export_state", label, ("state", "complete")] == 1
    assert first["exporter_range_end_timestamp_seconds", label] == UNTIL / 1e6
    assert first["exporter_requests", label] > 0
    assert first["exporter_last_success_timestamp_seconds", label] <= first["exporter_run_end_timestamp_seconds", label]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir() if each.name != "out"] == ["acme.prom"]

    assert command("sync", out, "--metrics-file", file, server=server, token="ak_wrong").status == 4
    failed = samples_of(file.read_text())
    assert failed["exporter_run_state", label, ("state", "failure")] == 1
    assert failed["exporter_last_exit_status", label] == 4
    kept = ("exporter_rows", "exporter_last_success_timestamp_seconds", "exporter_range_end_timestamp_seconds")
    assert all(failed[name, label] == first[name, label] for name in kept)


def test_the_config_file_names_the_file_and_the_export(
    rows: list[Row], serving: Serving, command: Command, configured: Configured, tmp_path: Path
) -> None:
    server, file = serving(rows), tmp_path / "acme.prom"
    configured(tmp_path / "out", 'metrics_file = "${NAME}.prom"', "[hooks]", f'on_success = "cp {file} {file}.seen"')
    assert command("export", "acme", *RANGE, server=server).status == 0
    assert samples_of(file.read_text())["exporter_rows", ("export", "acme")] == 60
    # Whoever is called finds the figures of the run that it is told of.
    assert Path(f"{file}.seen").read_text() == file.read_text()
    file.unlink()
    assert command("sync", "acme", "--metrics-file", tmp_path / "other.prom", server=server).status == 0
    assert not file.exists()
    assert samples_of((tmp_path / "other.prom").read_text())["exporter_last_exit_status", ("export", "acme")] == 0


def test_a_file_that_cannot_be_written_is_a_warning(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    missing = tmp_path / "nowhere" / "acme.prom"
    done = command("export", tmp_path / "out", *RANGE, "--metrics-file", missing, server=serving(rows))
    assert done.status == 0
    assert done.err.count(f"--metrics-file {missing}: No such file or directory") == 1
    inside = tmp_path / "out" / "acme.prom"
    assert command("sync", tmp_path / "out", "--metrics-file", inside, token=None).status == 2
    assert not inside.exists()


def test_a_run_is_running_in_the_file_until_it_is_interrupted(
    rows: list[Row], serving: Serving, spawn: Spawn, tmp_path: Path
) -> None:
    server, out, file = serving(rows), tmp_path / "out", tmp_path / "acme.prom"
    label, seen = ("export", str(out)), list[str]()
    running = spawn("export", out, *RANGE, "--page-size", "5", "--metrics-file", file, server=server)

    def interrupt() -> None:
        seen.append(file.read_text())
        os.kill(running.process.pid, signal.SIGTERM)

    when_asked(server, 6, interrupt)
    assert running.wait().status == 130
    assert samples_of(seen[0])["exporter_run_state", label, ("state", "running")] == 1
    assert samples_of(file.read_text())["exporter_run_state", label, ("state", "interrupted")] == 1
