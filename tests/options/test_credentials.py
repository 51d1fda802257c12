"""Only one source may give the token."""

import threading
from pathlib import Path

import pytest

from exporter.bearer import TokenPlace, TokenSource
from exporter.errors import UsageError
from exporter.options.credentials import load_credentials
from exporter.options.spec import ExportSpec
from exporter.settings import Credentials


def test_the_token_is_what_a_command_prints() -> None:
    credentials = load_credentials({"ANYREACH_TOKEN": "ak_environment"}, token_command="echo ak_printed")
    assert credentials == Credentials("ak_printed")
    assert ExportSpec(token_command=["echo", "ak_printed"]).resolve({}).credentials == credentials


def test_an_environment_cannot_be_read_again_and_the_others_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "token"
    kept.write_text("ak_kept")
    kept.chmod(0o600)

    def source(**sources: object) -> TokenSource:
        environment = {"ANYREACH_TOKEN": "ak_x", "ACME_TOKEN": "ak_acme"}
        return load_credentials(environment, **sources).bearer.source  # type: ignore[arg-type]

    assert source() == TokenSource("ANYREACH_TOKEN", None, TokenPlace())
    # As a config file gives it: token = "${ACME_TOKEN}".
    assert source(token="ak_acme") == TokenSource("ACME_TOKEN", None, TokenPlace(variable="ACME_TOKEN"))
    assert source(token="ak_given") == TokenSource("the token that the program gives", None, None)
    file, command = source(token_file="token"), source(token_command=f"cat {kept}")
    assert (file.named, command.named) == ("--token-file token", "--token-command")
    # Another process may have another working directory.
    assert (file.place, command.place) == (TokenPlace(file=str(kept)), TokenPlace(command=("cat", str(kept))))
    kept.write_text("ak_next")
    assert [each.read(threading.Event()) for each in (file, command) if each.read] == ["ak_next"] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"token": "ak_x", "token_file": "x"}, "token and token_file: give only one of them"),
        ({"token_file": "x", "token_command": "x"}, "token_file and token_command: give only one of them"),
        ({"token": "ak_x", "token_command": "x"}, "token and token_command: give only one of them"),
        ({"token_command": "'"}, "token_command: cannot be split into arguments: no closing quotation"),
        ({"token_command": 3}, "token_command: must be a text or a list of names, not int"),
        ({"token_command": ["cat", 3]}, "token_command: each of several must be a text, not int"),
    ],
)
def test_sources_that_a_program_cannot_give(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        ExportSpec(**given)  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_a_token_that_needs_an_organization_needs_it_from_every_source() -> None:
    with pytest.raises(UsageError, match="needs its organization"):
        load_credentials({}, token_command="echo pat_x")
    assert load_credentials({}, organization="org_1", token_command="echo pat_x") == Credentials("pat_x", "org_1")
