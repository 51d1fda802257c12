"""Real commands print the token, or fail to, in every way that was thought of."""

import os
import threading
from pathlib import Path
from time import monotonic

import pytest

from exporter.errors import UsageError
from exporter.options.token_command import split_command, token_printed_by
from tests.toolkit.processes import ends

TOKEN = "ak_51c0ffee.7d1f0c93e2b84a65"
ADVICE = ". Run it by hand: it must print the token, alone"
LIMIT_SECONDS = 0.3


def shell(script: str, limit_seconds: float = LIMIT_SECONDS, stopped: threading.Event | None = None) -> str:
    return token_printed_by(("sh", "-c", script), stopped or threading.Event(), limit_seconds=limit_seconds)


@pytest.mark.parametrize(
    "script",
    [
        f"echo {TOKEN}",
        f"printf '\\r\\n  {TOKEN}\\r\\n\\n'",
        f"echo a warning, as usual >&2; echo {TOKEN}",
        # stdin is closed, so that nothing waits for an answer.
        f"cat; echo {TOKEN}",
        # A daemon that it starts may live on, also with stderr.
        f"sleep 2 >/dev/null & echo {TOKEN}",
        # More than a pipe holds.
        f"head -c 300000 /dev/zero >&2; echo {TOKEN}",
    ],
)
def test_what_is_printed_is_the_token(script: str) -> None:
    assert shell(script, 10) == TOKEN


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("true", "printed nothing"),
        ("echo; echo '  '", "printed nothing"),
        (f"echo {TOKEN}; echo {TOKEN}", "printed several lines"),
        (f"printf '{TOKEN}\\014{TOKEN}'", "printed several lines"),
        (f"echo token: {TOKEN}", "printed a space, or a character that no token has"),
        (f"printf '\\033[32m{TOKEN}'", "printed a space, or a character that no token has"),
        (f"printf '{TOKEN}\\377'", "printed what is not text"),
        (f"""echo '{{"token":"{TOKEN}"}}'""", "printed JSON"),
        (f"echo '\"{TOKEN}\"'", "printed JSON"),
        ("yes", "printed more than 64 KiB"),
        (f"echo {TOKEN}; sleep 60", "did not end within 0.3 s, or left a child that may still print"),
        (f"echo {TOKEN}; exec >&- 2>&-; sleep 60", "did not end within 0.3 s, or left a child that may still print"),
        (f"echo {TOKEN}; sleep 60 &", "did not end within 0.3 s, or left a child that may still print"),
        (f"echo {TOKEN}; exit 3", "ended with status 3"),
        (f"echo {TOKEN}; kill -9 $$", "was ended by SIGKILL"),
        ("echo; echo ' no  such item\t' >&2; echo and more >&2; exit 1", "ended with status 1: no such item"),
        ("printf 'a\\033[31mb\\n' >&2; exit 1", "ended with status 1: a[31mb"),
        ("head -c 9000 /dev/zero | tr '\\0' '. ' >&2; exit 1", f"ended with status 1: {'.' * 200}"),
    ],
)
def test_what_is_not_the_token_is_refused_in_one_line(script: str, message: str) -> None:
    limit_seconds = LIMIT_SECONDS if "sleep" in script else 10
    with pytest.raises(UsageError) as raised:
        shell(script, limit_seconds)
    assert str(raised.value) == f"--token-command sh: {message}{ADVICE}"


@pytest.mark.parametrize(
    "script",
    [
        f"echo the answer was {TOKEN} >&2; exit 1",
        # A secret of another kind: of the vault, or the second half of one that was printed.
        "echo hvs.CAESIJ4bX0a8w1dTq2kLm7 is wrong >&2; exit 1",
        "echo swordfish; echo bad password: swordfish >&2; exit 1",
        f"set -x; true {TOKEN[:5]}; exit 1",
    ],
)
def test_what_may_hold_a_secret_is_not_shown(script: str) -> None:
    with pytest.raises(UsageError) as raised:
        shell(script, 10)
    hidden = "ended with status 1; what it said is not shown, because it may hold the token"
    assert str(raised.value) == f"--token-command sh: {hidden}{ADVICE}"


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    numbers, lines, limit_seconds = tmp_path / "pids", list[str](), 1.0
    # On a busy machine, it may not have begun within the shortest time.
    while len(lines) < 2:
        with pytest.raises(UsageError, match="did not end within"):
            shell(f"sleep 600 & echo $! >{numbers}; echo $$ >>{numbers}; wait", limit_seconds)
        lines = numbers.read_text().split() if numbers.exists() else []
        limit_seconds *= 2
    assert all(ends(int(number)) for number in lines)


def test_a_run_that_is_stopped_does_not_wait_for_the_command() -> None:
    stopped, began = threading.Event(), monotonic()
    stopped.set()
    with pytest.raises(UsageError, match="because the run was stopped"):
        shell("sleep 60", 60, stopped)
    assert monotonic() - began < 30


def test_a_command_is_a_session_of_its_own_without_a_terminal() -> None:
    assert (
        shell('test "$(ps -o sid= -p $$ | tr -d " ")" = $$ && ! (: </dev/tty) 2>/dev/null && echo ak_x', 10) == "ak_x"
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "no-such-program read",
            "no-such-program: cannot be started: No such file or directory",
        ),
        ("/etc/passwd", "passwd: cannot be started: Permission denied"),
    ],
)
def test_a_command_that_cannot_be_started(command: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        token_printed_by(split_command(command), threading.Event())
    assert str(raised.value) == f"--token-command {message}. Check its path, and PATH"


def test_a_text_is_split_as_a_shell_would_and_a_list_is_taken_as_it_is() -> None:
    assert split_command("op read 'op://calls/the key/token' \"a b\" c\\ d") == (
        "op",
        "read",
        "op://calls/the key/token",
        "a b",
        "c d",
    )
    assert split_command(["cat", "a file"]) == ("cat", "a file")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "must be a command that prints the token"),
        ("  ", "must be a command that prints the token"),
        ([], "must be a command that prints the token"),
        ([""], "must be a command that prints the token"),
        ("op 'read", "cannot be split into arguments: no closing quotation"),
        ("cat a\0b", "an argument holds a NUL character"),
        (TOKEN, "must be a command that prints the token, not the token itself"),
    ],
)
def test_a_command_that_is_none(given: str | list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        split_command(given)
    assert str(raised.value) == f"--token-command: {message}"


def test_a_command_has_the_environment_without_the_secrets_of_the_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANYREACH_TOKEN", "EXPORTER_PRIVACY_KEY", "EXPORTER_DATA_KEY", "EXPORTER_NEW_DATA_KEY"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("OP_SERVICE_ACCOUNT_TOKEN", "ops_x")
    assert shell("env | grep -q hush || echo ak_$OP_SERVICE_ACCOUNT_TOKEN", 10) == "ak_ops_x"


def test_its_standard_streams_are_all_that_a_command_gets(tmp_path: Path) -> None:
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        assert shell(f"test -e /proc/self/fd/{secret} || echo ak_x", 10) == "ak_x"
    finally:
        os.close(secret)
