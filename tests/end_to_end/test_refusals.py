"""Tests that a command names what is wrong in a line or two, before it touches a file, with the right exit status."""

import os
import socket
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from exporter.contract import format_instant
from exporter.fetch.wire import channel
from exporter.fetch.wire.line import Limits
from exporter.sandbox import PERSONAL_TOKEN, TOKEN_NOSCOPE, Behaviour, Sandbox, make_conversations
from tests.end_to_end.conftest import Command, CommandResult, Serving, Spawn, unprivileged
from tests.end_to_end.export_directory import ExportDirectory, snapshot
from tests.end_to_end.records import SINCE, UNTIL, records

SHORT = ("--wait", "1 s")
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))


@pytest.fixture
def server(serving: Serving) -> Sandbox:
    return serving(make_conversations(30, SINCE, UNTIL, seed=31, transcripts=False))


def assert_refused(done: CommandResult, status: int, *words: str) -> None:
    assert (done.status, done.out) == (status, "")
    assert 1 <= done.err.count("\n") <= 2, done.err
    assert done.err.endswith("\n")
    for word in words:
        assert word in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--since", "2024-02-30"), ("--since", "2024-02-30")),
        (("--since", "the other day"), ("--since", "the other day", "36h or 7d")),
        (("--until", "2024-13-01T00:00:00Z"), ("--until",)),
        (("--since", "2024-02-01", "--until", "2024-01-01"), ("2024-02-01", "2024-01-01")),
        (("--since", "2024-02-01", "--until", "2024-02-01"), ("nothing to export",)),
        (("--since", "2999-01-01"), ("nothing to export", "2999-01-01")),
        (("--direction", "sideways"), ("--direction", "sideways", "inbound, outbound")),
        (("--channel", "fax"), ("--channel", "fax", "telephone")),
        (("--status", "done"), ("--status", "done", "completed")),
        (("--page-size", "0"), ("--page-size 0", "from 1 to 1000")),
        (("--page-size", "1001"), ("--page-size 1001", "from 1 to 1000")),
        (("--concurrency", "0"), ("--concurrency 0",)),
        (("--max-rps", "0"), ("--max-rps",)),
        (("--custom-metadata", "[1]"), ("--custom-metadata", "JSON object")),
        (("--custom-metadata", "{'a': 1}"), ("--custom-metadata", "JSON object")),
        (("--duration-above", "1.5"), ("--duration-above", "must be a duration")),
        (("--fields", "id,transcript"), ("--fields", "transcript", "conversation")),
        (("--fields", "id", "--exclude-fields", "agent"), ("--fields", "--exclude-fields")),
        (("--exclude-fields", "created_at"), ("created_at",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and value[0].startswith("--") else "",
)
def test_a_request_that_makes_no_sense(
    options: tuple[str, ...], words: tuple[str, ...], server: Sandbox, command: Command, tmp_path: Path
) -> None:
    done = command("export", tmp_path / "out", *options, server=server)
    assert_refused(done, 2, *words)
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_no_range_left_by_the_clock_of_the_server(serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving([], now=SINCE)
    since = ("--since", format_instant(SINCE))
    done = command("export", tmp_path / "out", *since, server=server)
    assert_refused(done, 2, "the API's clock (2", "behind this machine's (2", "--trust-clock server, or local")
    done = command("export", tmp_path / "out", *since, "--trust-clock", "server", server=server)
    assert done.status == 2
    assert "as --trust-clock says" in done.err
    assert f"nothing to export: the range starts at {format_instant(SINCE)}" in done.err
    assert "the server's clock less the lag" in done.err
    assert list(tmp_path.iterdir()) == []


class TestTokens:
    def test_none(self, server: Sandbox, command: Command, tmp_path: Path) -> None:
        for token in (None, "", "  "):
            done = command("export", tmp_path / "out", *RANGE, server=server, token=token)
            assert_refused(done, 2, "no token: set ANYREACH_TOKEN, or give --token-file or --token-command")
        assert (server.requests, list(tmp_path.iterdir())) == ([], [])

    def test_a_personal_one_without_organization(self, server: Sandbox, command: Command, tmp_path: Path) -> None:
        done = command("export", tmp_path / "out", *RANGE, server=server, token=PERSONAL_TOKEN)
        assert_refused(done, 2, "pat_", "ANYREACH_ORG_ID", "--org-id")
        assert (server.requests, list(tmp_path.iterdir())) == ([], [])

    def test_a_personal_one_with_its_organization(self, server: Sandbox, command: Command, tmp_path: Path) -> None:
        done = command(
            "export", tmp_path / "out", *RANGE, server=server, token=PERSONAL_TOKEN, organization="org_sandbox"
        )
        assert done.status == 0, done.err
        ExportDirectory(tmp_path / "out").check(records(server.rows))

    @pytest.mark.parametrize(
        ("token", "organization", "words"),
        [
            ("ak_revoked_or_mistyped", None, ("401", "ANYREACH_TOKEN")),
            (TOKEN_NOSCOPE, None, ("403", "conversations:read")),
            (PERSONAL_TOKEN, "org_of_others", ("403",)),
        ],
    )
    def test_one_that_is_refused(
        self,
        token: str,
        organization: str | None,
        words: tuple[str, ...],
        server: Sandbox,
        command: Command,
        tmp_path: Path,
    ) -> None:
        done = command("export", tmp_path / "out", *RANGE, server=server, token=token, organization=organization)
        assert_refused(done, 4, "refused 3 times in ", *words)
        assert len(server.requests) == 3
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
class TestHosts:
    def test_one_that_does_not_listen(self, command: Command, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            done = command("export", tmp_path / "out", *RANGE, *SHORT, url=url)
        assert_refused(done, 1, url.removeprefix("http://"), "no connection", "--wait 2m")
        assert list(tmp_path.iterdir()) == []

    def test_one_whose_name_nobody_knows(self, command: Command, tmp_path: Path) -> None:
        done = command("export", tmp_path / "out", *RANGE, *SHORT, url="https://api.invalid")
        assert_refused(done, 1, "api.invalid", "ANYREACH_BASE_URL")
        assert list(tmp_path.iterdir()) == []

    def test_one_that_accepts_and_says_nothing(
        self, serving: Serving, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(channel, "Limits", partial(Limits, stall_seconds=0.2))
        server = serving([], Behaviour(faults=("stall",), fault_rate=1.0))
        done = command("export", tmp_path / "out", *RANGE, *SHORT, server=server)
        assert_refused(done, 1, "given up after 6 attempts in ", "not a byte for 0.2 s", "--wait 10m")
        assert len(server.requests) == 6
        assert list(tmp_path.iterdir()) == []

    def test_one_that_answers_with_a_web_page(self, serving: Serving, command: Command, tmp_path: Path) -> None:
        server = serving([], Behaviour(faults=("html",), fault_rate=1.0))
        done = command("export", tmp_path / "out", *RANGE, server=server)
        assert_refused(done, 1, "127.0.0.1", "text/html")
        assert len(server.requests) < 20
        assert list(tmp_path.iterdir()) == []

    def test_one_that_has_no_such_path(self, server: Sandbox, command: Command, tmp_path: Path) -> None:
        done = command("export", tmp_path / "out", *RANGE, url=f"{server.url}/elsewhere")
        assert_refused(done, 1, "404", "ANYREACH_BASE_URL")
        assert list(tmp_path.iterdir()) == []

    def test_one_that_sends_elsewhere(self, serving: Serving, command: Command, tmp_path: Path) -> None:
        server = serving([], Behaviour(faults=("redirect",), fault_rate=1.0))
        done = command("export", tmp_path / "out", *RANGE, server=server)
        assert_refused(done, 1, "redirect", "localhost")
        assert len(server.requests) == 3
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://api.example.com", "https://user:pass@api.example.com"])
    def test_one_that_no_token_may_be_sent_to(self, url: str, command: Command, tmp_path: Path) -> None:
        assert_refused(command("export", tmp_path / "out", *RANGE, url=url), 2, "ANYREACH_BASE_URL")
        assert list(tmp_path.iterdir()) == []


class TestDestinations:
    def test_a_file(self, server: Sandbox, command: Command, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("mine")
        for destination in (tmp_path / "out", tmp_path / "out" / "inside"):
            assert_refused(command("export", destination, *RANGE, server=server), 2, str(tmp_path / "out"), "a file")
        assert server.requests == []
        assert (tmp_path / "out").read_text() == "mine"

    def test_one_that_holds_something_else(self, server: Sandbox, command: Command, tmp_path: Path) -> None:
        (tmp_path / "conversations").mkdir()
        (tmp_path / "conversations" / "mine.parquet").write_text("mine")
        before = snapshot(tmp_path)
        done = command("export", tmp_path, *RANGE, server=server)
        assert_refused(done, 2, str(tmp_path), "not empty, and not an export")
        assert (server.requests, snapshot(tmp_path)) == ([], before)

    def test_one_that_cannot_be_written(self, server: Sandbox, command: Command) -> None:
        with TemporaryDirectory() as directory:
            Path(directory).chmod(0o555)
            with unprivileged():
                done = command("export", Path(directory) / "out", *RANGE, server=server)
            assert_refused(done, 2, directory, "not writable")
            assert (server.requests, list(Path(directory).iterdir())) == ([], [])

    def test_an_empty_directory_is_fine(self, server: Sandbox, command: Command, tmp_path: Path) -> None:
        destination = tmp_path / "a" / "b"
        destination.mkdir(parents=True, mode=0o700)
        assert command("export", destination, *RANGE, server=server).status == 0
        ExportDirectory(destination).check(records(server.rows))

    @pytest.mark.parametrize("url", ["s3://bucket/out", "az://container/out"])
    def test_an_object_store_without_credentials(
        self, url: str, server: Sandbox, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_"))]:
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        assert_refused(command("export", url, *RANGE, server=server), 2, url)


def test_the_process_itself_ends_with_the_status_and_without_a_traceback(
    server: Sandbox, spawn: Spawn, tmp_path: Path
) -> None:
    done = spawn("export", tmp_path / "out", *RANGE, server=server, token=TOKEN_NOSCOPE).wait()
    assert_refused(done, 4, "403")
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_the_api_rejects_is_the_fault_of_who_gave_it(
    server: Sandbox, command: Command, tmp_path: Path
) -> None:
    done = command("export", tmp_path / "out", *RANGE, "--filter", "status=bogus", server=server)
    assert_refused(done, 2, " answered 422", "Is one of the filters wrong? They are status=bogus")
    assert list(tmp_path.iterdir()) == []


def test_other_refusals_that_last_say_that_running_again_does_not_help(
    serving: Serving, command: Command, tmp_path: Path
) -> None:
    url = f"{serving([]).url}/elsewhere"
    done = command("export", tmp_path / "out", *RANGE, url=url)
    assert_refused(done, 1, "404")
    assert done.err.endswith("\nRunning again does not help until that is changed\n")
