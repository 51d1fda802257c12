"""Tests that what a policy takes away is nowhere, whichever command wrote, and however it ended."""

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.contract import DAY, FIELD_NAMES, HOUR, format_instant
from exporter.sandbox import MediaBehaviour, Sandbox
from tests.end_to_end.conftest import Command, CommandResult, Serving
from tests.end_to_end.records import SINCE
from tests.toolkit.callers import Callers
from tests.toolkit.canaries import UNRULED, Canary
from tests.toolkit.canary_search import Found, find_canaries
from tests.toolkit.recordings import SMALL

UNTIL = SINCE + 3 * DAY
#: The commands that write a log.
LOGGED = ("export", "sync", "audit", "reread", "recordings")
HOME = ("--allow-network", "127.0.0.0/8")


class Guarded:
    """Runs commands, and keeps all that they say beside what they write, where canaries are looked for after each."""

    def __init__(self, root: Path, command: Command, server: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
        self.root = root
        self.out = root / "out"
        self.server = server
        self.callers = Callers(server, random.Random(1))
        self._command = command
        self._caplog = caplog
        self._said = root / "said"
        self._said.mkdir()

    def run(self, name: str, *options: str | Path, status: int = 0) -> CommandResult:
        logged = ("-v", "--log-file", self.root / "log", "--log-format", "json") if name in LOGGED else ()
        done = self._command(name, self.out, *options, *logged, server=self.server)
        said = self._said / str(len(list(self._said.iterdir())))
        said.write_text(f"{done.out}\n{done.err}\n{self._caplog.text}")
        assert done.status == status, (name, done.out, done.err)
        return done

    def find(self, among: list[Canary] | None = None) -> list[Found]:
        return find_canaries(self.root, self.callers.canaries, among)


@pytest.fixture
def guard(
    tmp_path: Path,
    command: Command,
    serving: Serving,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Callable[..., Guarded]]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    caplog.set_level(0)

    def make(media: MediaBehaviour | None = None) -> Guarded:
        guarded = Guarded(tmp_path, command, serving((), media=media), caplog)
        for number in range(6):
            guarded.callers.call(SINCE + number * DAY // 2, f"p{number % 4}")
        guarded.callers.oddities(SINCE + HOUR)
        return guarded

    yield make
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def guarded(guard: Callable[..., Guarded]) -> Guarded:
    return guard()


@pytest.fixture
def with_media(guard: Callable[..., Guarded]) -> Guarded:
    """Serves the recordings, whose links the host of media signs, so that each row's own query is gone."""
    return guard(SMALL)


def use(guarded: Guarded, look: Callable[[str], None], *policy: str | Path) -> None:
    """Runs every command that writes, while the source changes; `look` is called with its name after each."""
    callers, times = guarded.callers, ("--since", format_instant(SINCE))

    def run(name: str, *options: str | Path, status: int = 0) -> None:
        guarded.run(name, *options, status=status)
        look(" ".join(map(str, (name, *options))))

    run("export", *times, "--until", format_instant(SINCE + DAY), "--tables", "conversations,turns", *policy, status=3)
    run("export", *times, "--until", format_instant(UNTIL), "--table-format", "delta", status=3)
    for night in range(2):
        at = UNTIL + night * DAY
        callers.call(at - HOUR, "p1")
        callers.change("c0", at)
        callers.change("c1", at, duration="a while")
        callers.oddities(at - HOUR, f"odd{night}")
        run("sync", "--lag", "0", status=3)
    callers.change("c1", UNTIL + 3 * DAY)
    callers.change("c2", UNTIL + 3 * DAY)
    callers.delete("c3")
    run("audit", "--repair", "--delete", status=3)
    callers.change("c4", UNTIL + 3 * DAY)
    run("reread", *times, status=3)
    run("recordings", *HOME, status=0)
    run("compact", status=0)
    for name in ("accept", "verify", "status", "vacuum"):
        run(name)


def test_an_export_without_a_policy_has_every_canary(guarded: Guarded) -> None:
    assert guarded.run("export", "--tables", "conversations,turns", status=3)
    everything = list(guarded.callers.canaries.known.values())
    assert {one.where for one in guarded.find(everything)} == {canary.where for canary in everything}
    labels = {canary.where.partition(":")[2] for canary in everything}
    times = {"created_at", "updated_at"}
    assert {name for name in FIELD_NAMES if not any(label.startswith(name) for label in labels)} == times
    unruled = {canary.where.partition(":")[2] for canary in guarded.callers.canaries.of("c0", "everybody")}
    assert unruled >= {*UNRULED} - times


def test_without_a_policy_each_command_leaves_canaries(with_media: Guarded) -> None:
    seen: dict[str, set[str]] = {}
    use(with_media, lambda name: seen.update({name: {one.where for one in with_media.find()}}))
    everything = {canary.where for canary in with_media.callers.canaries.known.values() if not canary.stays}
    assert set.union(*seen.values()) == {where for where in everything if not where.endswith("recording_url query")}
    assert all(seen.values())
