"""Fields that were not shown to the token are told of by each run, and by whatever shows the export afterwards."""

import json
from pathlib import Path

import pytest

from exporter.contract import DAY, FIELDS, parse_timestamp
from exporter.sandbox import TOKEN_NOSENSITIVE, Sandbox, make_conversations
from tests.end_to_end.conftest import Command, Serving

START = parse_timestamp("2026-01-10")
SENSITIVE = [field.name for field in FIELDS if field.sensitive]
NAMES = f"(scope conversations:read_sensitive): {', '.join(SENSITIVE)}"
REQUEST = " · all fields, of which 6 were not shown to the token: agent, summary, … · "


@pytest.fixture
def server(serving: Serving) -> Sandbox:
    return serving(make_conversations(20, START, START + DAY, seed=6, transcripts=False))


def test_a_quiet_run_warns_once_though_nothing_has_changed(tmp_path: Path, server: Sandbox, command: Command) -> None:
    reader = "the token that read them"
    for name, token in (("export", "this token"), ("export", reader), ("sync", reader), ("sync", reader)):
        done = command(name, tmp_path, "-q", server=server, token=TOKEN_NOSENSITIVE)
        assert (done.status, done.complaint) == (0, [f"warning: fields not shown to {token} {NAMES}"])
        assert len(done.out.splitlines()) == 1
    assert done.out.startswith("✔ up to date  20 conversations")


def test_a_quiet_run_says_what_is_in_doubt_and_advises_what_helps(
    tmp_path: Path, server: Sandbox, command: Command
) -> None:
    calls, half = tmp_path / "calls", "2026-01-10T12:00:00Z"
    command("export", calls, "--since", "2026-01-10", "--until", half, server=server, token=TOKEN_NOSENSITIVE)
    for words in (("export", "--until", "2026-01-11"), ("sync",)):
        done = command(words[0], calls, *words[1:], "-q", server=server)
        assert done.status == 3
        assert "warning: some rows came without sensitive fields, others with them: the token's role has changed" in (
            done.complaint
        )
    done = command("reread", calls, "--since", half, server=server)
    advised = [line.strip() for line in done.out.splitlines() if line.strip().startswith("exporter reread")]
    assert (done.status, advised) == (3, [f"exporter reread {calls} --withheld"])
    assert command("reread", calls, "--withheld", server=server).status == 0


def test_every_summary_and_status_says_so(tmp_path: Path, server: Sandbox, command: Command) -> None:
    calls = tmp_path / "calls"
    assert REQUEST in command("export", calls, server=server, token=TOKEN_NOSENSITIVE).out
    for words in (("sync",), ("reread",), ("export",), ("status",), ("status", "--check")):
        done = command(words[0], calls, *words[1:], server=server, token=TOKEN_NOSENSITIVE)
        assert done.status == 0
        assert NAMES in done.out if words == ("sync",) else REQUEST in done.out
        done = command(words[0], calls, *words[1:], "--json", server=server, token=TOKEN_NOSENSITIVE)
        assert (done.status, json.loads(done.out)["withheld"]) == (0, SENSITIVE)


def test_a_token_that_sees_more_is_not_said_to_see_less(tmp_path: Path, server: Sandbox, command: Command) -> None:
    calls = tmp_path / "calls"
    assert command("export", calls, "--until", "2026-01-11", server=server, token=TOKEN_NOSENSITIVE).status == 0
    done = command("export", calls, server=server)
    assert f"fields not shown to the token that read them {NAMES}\n" in done.out
    assert f"      exporter reread {calls} --withheld\n" in done.out
    assert command("reread", calls, "--withheld", server=server).status == 0
    for words in ("export", "status"):
        done = command(words, calls, "-q" if words == "export" else "--check", server=server)
        assert (done.status, done.complaint, "not shown" in done.out) == (0, [], False)


def test_of_chosen_fields_those_are_named(tmp_path: Path, server: Sandbox, command: Command) -> None:
    calls, fields = tmp_path / "calls", "id,summary,status,created_at,updated_at"
    assert command("export", calls, "--fields", fields, server=server, token=TOKEN_NOSENSITIVE).status == 0
    assert ", of which 1 was not shown to the token: summary · by day" in command("status", calls).out
