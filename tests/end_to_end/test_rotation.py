"""A token that rotates in the middle of a run costs nothing: no row, no status, no retry."""

import json
from functools import partial
from pathlib import Path

import msgspec
import pytest

import exporter
from exporter import bearer
from exporter.contract import DAY
from exporter.errors import AccessError
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.pipeline import attempts
from exporter.sandbox import TOKEN, Behaviour, Sandbox, ServedAnswer, ServedRequest, make_conversations
from tests.end_to_end.conftest import Command, CommandResult, Serving
from tests.end_to_end.export_directory import ExportDirectory, assert_same
from tests.end_to_end.records import SINCE, records
from tests.toolkit.recordings import SMALL, call, check_outcomes

NEXT = f"{TOKEN}_next"
ROWS = list(make_conversations(200, since=SINCE, until=SINCE + 20 * DAY, seed=3))
RANGE = ("--since", "2024-01-01", "--until", "2024-01-21", "--page-size", "10")
LATE = Behaviour(rotates_after=12, latency=0.002)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets refusals be doubted as often as usual, but without pauses."""
    patience = Patience(attempts=4, seconds=0.0, throttled_seconds=0.0)
    monkeypatch.setattr(attempts, "RetryPolicy", partial(RetryPolicy, doubted=patience, base_seconds=0.01))


class Kept:
    """Keeps the token of a server in a private file, which follows when the server changes it.

    `follows_after` is how many requests are refused before the file follows. `reader` is a command that prints the
    file, and notes each time that it is run.
    """

    def __init__(self, server: Sandbox, root: Path, follows_after: int = 0, new: str = NEXT) -> None:
        self.path, self._notes = root / "token", root / "notes"
        self.refused = 0
        self._server, self._follows_after, self._new = server, follows_after, new
        self._write(TOKEN)
        self.reader = f"sh -c 'cat {self.path}; echo read >>{self._notes}'"
        server.on_request, server.on_answer = self._see_request, self._see_answer

    @property
    def readings(self) -> int:
        return len(self._notes.read_text().split())

    def _write(self, token: str) -> None:
        # As those who rotate keys should: it is never half written.
        beside = self.path.with_name("token.new")
        beside.touch(0o600)
        beside.write_text(f"{token}\n")
        beside.replace(self.path)

    def _see_request(self, _seen: ServedRequest) -> None:
        if self._server.token == NEXT and self.refused >= self._follows_after:
            self._write(self._new)

    def _see_answer(self, _seen: ServedRequest, answer: ServedAnswer) -> None:
        self.refused += answer.status == 401


def check_whole(done: CommandResult, out: Path, refused: int) -> None:
    """Checks that the run is as one without a rotation, except that `refused` requests more were sent."""
    summary = json.loads(done.out)
    assert (done.status, done.complaint) == (0, [])
    assert (summary["state"], summary["retries"], summary["throttled"]) == ("complete", 0, 0)
    assert refused >= 1
    ExportDirectory(out).check(records(ROWS))


@pytest.mark.parametrize("concurrency", ["1", "8"])
def test_a_file_that_follows(serving: Serving, command: Command, tmp_path: Path, concurrency: str) -> None:
    server = serving(ROWS, LATE)
    kept, out = Kept(server, tmp_path), tmp_path / "out"
    options = (*RANGE, "--concurrency", concurrency, "--token-file", kept.path)
    done = command("export", out, *options, "--json", server=server, token=None)
    check_whole(done, out, kept.refused)
    assert json.loads(done.out)["requests"] == server.count
    assert [request.authorization for request in server.requests[-5:]] == [f"Bearer {NEXT}"] * 5


def test_a_command_is_run_once_at_first_and_once_when_eight_requests_are_refused(
    serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(ROWS, LATE)
    kept, out = Kept(server, tmp_path), tmp_path / "out"
    options = (*RANGE, "--concurrency", "8", "--token-command", kept.reader)
    done = command("export", out, *options, "--json", "-v", server=server, token=None)
    assert kept.readings == 2
    assert "asking again with another token" in done.err
    assert TOKEN not in done.out + done.err
    check_whole(done._replace(err=""), out, kept.refused)


def test_a_key_that_dies_before_the_next_one_is_there(
    serving: Serving, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearer, "_AFTER_NONE_SECONDS", 0.0)
    server = serving(ROWS, LATE)
    kept, out = Kept(server, tmp_path, follows_after=3), tmp_path / "out"
    options = (*RANGE, "--concurrency", "1", "--token-command", kept.reader)
    done = command("export", out, *options, "--json", server=server, token=None)
    assert (done.status, kept.refused) == (0, 4)
    # At first, and before each time that the request is doubted.
    assert kept.readings == 1 + 4
    ExportDirectory(out).check(records(ROWS))


def test_a_token_that_stays_refused_is_said_to_be_the_same(serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving(ROWS, LATE)
    kept, out = Kept(server, tmp_path, new=TOKEN), tmp_path / "out"
    done = command("export", out, *RANGE, "--token-file", kept.path, server=server, token=None)
    assert done.status == 4
    assert f"check --token-file {kept.path}; --token-file {kept.path} still gives the same token" in done.err
    # The same command goes on where it was, once there is another one.
    kept.path.write_text(NEXT)
    assert command("export", out, *RANGE, "--token-file", kept.path, server=server, token=None).status == 0
    ExportDirectory(out).check(records(ROWS))


@pytest.mark.parametrize(
    ("new", "found"),
    [
        ("", "reading the token again failed: --token-command sh: printed nothing. Run it by hand: it must print the "),
        ("pat_sandbox_next", "reading the token again failed: a personal token (pat_) needs its organization: set ANY"),
        ("two words", "reading the token again failed: --token-command sh: printed a space, or a character that no"),
    ],
)
def test_a_renewal_that_fails_is_said_beside_the_refusal(
    serving: Serving, command: Command, tmp_path: Path, new: str, found: str
) -> None:
    server = serving(ROWS, LATE)
    kept, out = Kept(server, tmp_path, new=new), tmp_path / "out"
    options = (*RANGE, "--token-command", kept.reader)
    done = command("export", out, *options, server=server, token=None)
    assert done.status == 4
    assert "answered 401: Token is missing, invalid or expired; check --token-command; " in done.err
    assert found in done.err
    assert "Traceback" not in done.err


def test_a_token_of_another_kind_goes_on(serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving(ROWS, LATE)
    kept, out = Kept(server, tmp_path, new="pat_sandbox_next"), tmp_path / "out"
    options = (*RANGE, "--token-file", kept.path, "--org-id", "org_sandbox")
    done = command("export", out, *options, "--json", server=server, token=None)
    check_whole(done, out, kept.refused)


@pytest.mark.parametrize("fields", [(), ("--fields", "id,created_at")])
@pytest.mark.parametrize(
    ("has_rows", "said"),
    [
        (True, "the new one serves conversations of organization 'org_other' instead of 'org_sandbox'"),
        (False, "no conversation at all, but there are rows before: is it one of another organization than 'org_sand"),
    ],
)
def test_a_token_of_another_organization_ends_the_run(
    serving: Serving, command: Command, tmp_path: Path, fields: tuple[str, ...], has_rows: bool, said: str
) -> None:
    server = serving(ROWS, LATE)
    kept, out = Kept(server, tmp_path), tmp_path / "out"
    see, changed = server.on_request, list[str]()

    def change(seen: ServedRequest) -> None:
        assert see is not None
        see(seen)
        for row in list(server.rows) if seen.authorization == f"Bearer {NEXT}" and not changed else ():
            identity = str(row.content()["id"])
            changed.append(identity)
            if has_rows:
                server.update(identity, row.updated_at, organization_id="org_other")
            else:
                server.delete(identity)

    server.on_request = change
    options = (*RANGE, *fields, "--concurrency", "1")
    done = command("export", out, *options, "--token-file", kept.path, server=server, token=None)
    assert done.status == 4
    assert said in done.err
    # Nothing else was asked with it, and nothing that came is kept.
    asked = [seen.query for seen in server.requests if seen.authorization == f"Bearer {NEXT}"]
    assert {query["fields"].rpartition(",")[2] for query in asked} == {"organization_id"}
    assert len(ExportDirectory(out).records()) < len(ROWS)
    kept_rows = ExportDirectory(out).records().values()
    assert fields or {each["organization_id"] for each in kept_rows} <= {"org_sandbox"}


def test_a_command_that_always_prints_another_token_ends(serving: Serving, command: Command, tmp_path: Path) -> None:
    server, serial = serving(ROWS, LATE), tmp_path / "serial"
    script = (
        f"echo x >>{serial}; if test $(wc -l <{serial}) = 1; then echo {TOKEN}; else echo ak_$(wc -l <{serial}); fi"
    )
    options = (*RANGE, "--concurrency", "2", "--token-command", f"sh -c '{script}'")
    done = command("export", tmp_path / "out", *options, server=server, token=None)
    assert done.status == 4
    assert server.count < 12 + 60
    # At first, and once more.
    assert len(serial.read_text().split()) == 2
    assert "--token-command gave that token only just now" in done.err


def test_recordings_go_on_and_their_host_sees_no_token(serving: Serving, command: Command, tmp_path: Path) -> None:
    rows = [call(number) for number in range(40)]
    server = serving(rows, media=SMALL)
    out = tmp_path / "out"
    assert command("export", out, server=server).status == 0
    server.behaviour = Behaviour(rotates_after=2)
    kept = Kept(server, tmp_path)
    options = ("--allow-network", "127.0.0.0/8", "--page-size", "10", "--token-file", kept.path)
    done = command("recordings", out, *options, "--json", server=server, token=None)
    assert (done.status, json.loads(done.out)["stored"]) == (0, 40)
    assert kept.refused >= 1
    assert server.media is not None
    assert check_outcomes(out, server.media, rows) == {"stored": 40}


@pytest.mark.anyio
async def test_a_stream_goes_on_or_ends_with_both_reasons(serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS, LATE)
    kept = Kept(server, tmp_path)
    spec = exporter.ExportSpec(
        base_url=server.url, token_file=kept.path, since="2024-01-01", until="2024-01-21", page_size=10
    )
    found: dict[str, object] = {}
    async with exporter.stream(spec) as batches:
        async for batch in batches:
            found |= {row["id"]: row for row in batch.to_pylist()}
    assert_same(found, records(ROWS))  # type: ignore[arg-type]
    assert kept.refused >= 1
    server.behaviour = Behaviour(revoked_after=9)
    with pytest.raises(AccessError, match="still gives the same token"):
        async for batch in exporter.stream(spec):
            del batch


def test_the_end_of_a_token_is_warned_of_once_while_there_is_time(
    serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(ROWS, Behaviour(token_ends_in=9 * 86_400))
    kept, out = Kept(server, tmp_path), tmp_path / "out"
    for words in (("export", out, *RANGE), ("sync", out), ("audit", out)):
        done = command(*words, "--token-file", kept.path, server=server, token=None)
        assert done.status == 0
        (warning,) = [line for line in done.err.splitlines() if "the token ends" in line]
        assert "warning: the API says that the token ends in " in warning
        assert warning.endswith(f". Have another one made, and put it where this one is: --token-file {kept.path}")
    server.behaviour = msgspec.structs.replace(server.behaviour, token_ends_in=15 * 86_400)
    assert "the token ends" not in command("sync", out, server=server).err
