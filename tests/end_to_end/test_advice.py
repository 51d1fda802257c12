"""A command that a report advises is the one to type: with the destination, and the options, as they were typed."""

from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.advice import advise
from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import make_conversations
from exporter.store.location import parse_location
from tests.end_to_end.conftest import Command, Serving

START = parse_timestamp("2026-01-10")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_audit_s_advice_keeps_what_was_typed(typed: Path, serving: Serving, command: Command) -> None:
    server = serving(make_conversations(30, START, START + DAY, seed=6, transcripts=False))
    assert command("export", "my calls", "--until", "2026-01-11", server=server).status == 0
    gone = server.rows[0]
    server.delete(str(gone.facts()["id"]))
    done = command("audit", "my calls", "--lag", "1", "--since", "2026-01-10", "--max-rps", "500", "-v", server=server)
    assert done.status == 6
    wanted = "  exporter audit 'my calls' --since 2026-01-10 --lag 1 --max-rps 500 --repair --delete drops what the API"
    assert [line for line in done.out.splitlines() if line.startswith(wanted)], done.out


def test_nothing_is_left_of_an_earlier_command_line(typed: Path) -> None:
    assert main(["verify", "calls", "--sample", "10%"]) == 2
    assert advise("verify", parse_location("calls"), "--repair") == "exporter verify calls --repair"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("calls", "calls"),
        ("/srv/calls", "/srv/calls"),
        ("./-calls", "./-calls"),
        ("a b", "'a b'"),
        ("s3://lake/a b", "'s3://lake/a b'"),
    ],
)
def test_a_destination_is_the_word_that_was_typed(given: str, word: str) -> None:
    assert advise("status", parse_location(given)) == f"exporter status {word}"
