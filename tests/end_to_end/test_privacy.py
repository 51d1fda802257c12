"""Tests that what a policy takes away is nowhere, whichever command wrote, and however it ended."""

import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporter import ExportSpec, stream
from exporter.clock import wall_clock
from exporter.contract import DAY, FIELD_NAMES, HOUR, format_instant
from exporter.errors import DoubtfulStreamError
from exporter.keys import PRIVACY_VARIABLE
from exporter.layout import CHANGES
from exporter.log.commits import load_state
from exporter.pipeline.committer import Committer
from exporter.sandbox import TOKEN, MediaBehaviour, Sandbox
from exporter.store.local.store import LocalStore
from tests.end_to_end.conftest import Command, CommandResult, Serving, Spawn
from tests.end_to_end.export_directory import snapshot, without_lock
from tests.end_to_end.records import SINCE
from tests.end_to_end.test_object_stores import Placing, placing
from tests.toolkit.callers import Callers
from tests.toolkit.canaries import UNRULED, Canary
from tests.toolkit.canary_search import Found, find_canaries
from tests.toolkit.clouds import S3
from tests.toolkit.policies import EVERYTHING, key_text, write_policy
from tests.toolkit.protected import tag_of
from tests.toolkit.recordings import SMALL
from tests.toolkit.sizes import size_of

__all__ = ["placing"]

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
        callers.call(UNTIL - HOUR, "p1", wall_clock())
        callers.change("c0", wall_clock())
        callers.change("c1", wall_clock(), duration="a while")
        callers.oddities(UNTIL - HOUR, f"odd{night}", wall_clock())
        run("sync", "--lag", "0", status=3)
    callers.change("c1", wall_clock())
    callers.change("c2", wall_clock())
    callers.delete("c3")
    run("audit", "--repair", "--delete", status=3)
    callers.change("c4", wall_clock())
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


# With a policy, none of them is anywhere.

#: Kills the process before this many steps on the file system are done, and then runs the command.
_DYING = """
import os, runpy, signal, sys
left = int(sys.argv.pop(1))
written = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def count(event, arguments):
    global left
    is_step = event in ("os.rename", "os.link", "os.remove", "os.mkdir")
    if is_step or (event == "open" and isinstance(arguments[2], int) and arguments[2] & written):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
runpy.run_module("exporter", run_name="__main__")
"""
KILLS = size_of(1, 40, "EXPORTER_PRIVATE_KILLS")


@pytest.fixture
def policy(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PRIVACY_VARIABLE, key_text())
    return write_policy(tmp_path_factory.mktemp("policy") / "policy.toml")


def test_with_a_policy_no_command_leaves_a_canary(with_media: Guarded, policy: Path) -> None:
    def look(name: str) -> None:
        assert with_media.find() == [], name

    use(with_media, look, "--policy", policy)
    found = {one.where for one in with_media.find(list(with_media.callers.canaries.known.values()))}
    assert {f"{name}:id" for name in with_media.callers.rows} <= found, "ids stay"


def test_a_run_that_is_killed_leaves_no_canary(guarded: Guarded, policy: Path, spawn: Spawn) -> None:
    chance = random.Random(5)
    for name, *options in (("export", "--tables", "conversations,turns", "--policy", policy), ("sync", "--lag", "0")):
        for kill in range(KILLS):
            steps = chance.randint(1, 60)
            program = ("-c", _DYING, str(steps))
            started = spawn(name, guarded.out, *options, "--page-size", "5", server=guarded.server, program=program)
            done = started.wait()
            (guarded.root / f"said-{name}-{kill}").write_text(done.out + done.err)
            assert done.status in (-signal.SIGKILL, 3), done.err
            assert guarded.find() == [], (name, steps)
            guarded.callers.change("c0", wall_clock())
            guarded.callers.call(UNTIL - HOUR, "p1", wall_clock())
        guarded.run(name, *options, status=3)
    assert guarded.find() == []


def test_a_defect_shows_no_canary(guarded: Guarded, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*arguments: object) -> None:
        raise RuntimeError(f"as no error that is meant for a user: {len(arguments)}")

    monkeypatch.setattr(Committer, "commit", fail)
    done = guarded.run("export", "--policy", policy, status=1)
    assert " line " in done.err
    assert guarded.find() == []


@pytest.mark.parametrize("key", [None, "another", "short"])
def test_without_the_right_key_nothing_is_touched(
    guarded: Guarded, policy: Path, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.run("export", "--policy", policy, status=3)
    guarded.callers.change("c0", wall_clock())
    if key is None:
        monkeypatch.delenv(PRIVACY_VARIABLE)
    else:
        monkeypatch.setenv(PRIVACY_VARIABLE, "AAAA" if key == "short" else key_text(key))
    before, asked = snapshot(guarded.out), len(guarded.server.requests)
    for words in (("export",), ("sync",), ("reread",), ("audit", "--repair")):
        done = guarded.run(*words, status=2)
        assert "key" in done.err
        assert key_text() not in done.err + done.out
    assert without_lock(snapshot(guarded.out)) == without_lock(before)
    assert len(guarded.server.requests) == asked


def test_a_path_that_is_nowhere_is_named(guarded: Guarded, policy: Path) -> None:
    write_policy(policy, EVERYTHING + '"custom_metadata.emial" = "drop"\n')
    done = guarded.run("export", "--policy", policy, status=3)
    assert "custom_metadata.emial" in done.out + done.err
    assert "custom_metadata.phone" not in done.out + done.err


def test_a_filter_on_what_is_protected_is_refused(guarded: Guarded, policy: Path) -> None:
    number = guarded.callers.people["p0"].number
    for option in ("--user-id", "--agent-number"):
        done = guarded.run("export", "--policy", policy, option, number, status=2)
        assert option in done.err
    assert not guarded.out.exists()
    assert guarded.find() == []


def test_an_object_store_and_what_is_on_its_way_there_have_no_canary(
    guarded: Guarded, policy: Path, spawn: Spawn, s3: S3, placing: Placing
) -> None:
    place = placing(s3)
    options = ("--tables", "conversations,turns", "--policy", policy)
    for number, steps in enumerate((4, 12, 1000)[size_of(1, 0) :]):
        program = ("-c", _DYING, str(steps))
        done = spawn("export", str(place), *options, server=guarded.server, program=program).wait()
        assert done.status == (3 if steps == 1000 else -signal.SIGKILL), done.err
        place.mirror(guarded.root)
        (guarded.root / f"said-{number}").write_text(done.out + done.err)
        assert guarded.find() == [], steps
    assert guarded.find(guarded.callers.canaries.of("c0")), "ids stay"


@pytest.mark.parametrize("table", ["conversations", "turns"])
def test_a_stream_has_no_canary(guarded: Guarded, policy: Path, table: str) -> None:
    spec = ExportSpec(base_url=guarded.server.url, token=TOKEN, policy=policy)
    read: list[pa.RecordBatch] = []

    async def collect() -> str:
        async with stream(spec, table=table) as batches:
            with suppress(DoubtfulStreamError):
                async for batch in batches:
                    # What was read before the doubt is raised counts.
                    read.append(batch)  # noqa: PERF401
            return repr(batches.report)

    (guarded.root / "report").write_text(anyio.run(collect))
    pq.write_table(pa.Table.from_batches(read), guarded.root / "streamed")
    assert guarded.find() == []
    assert guarded.find(guarded.callers.canaries.of("c0")), "ids stay"


# Who was erased is nowhere, whatever killed the erasure.

AFTERWARDS = (("export",), ("sync", "--lag", "0"), ("compact",), ("vacuum",), ("audit", "--repair"), ("erase",))


def test_an_erasure_that_is_killed_is_finished_by_the_next_run(
    guarded: Guarded, policy: Path, spawn: Spawn, tmp_path: Path
) -> None:
    """Without a policy, so that more of them is there."""
    callers, chance, values = guarded.callers, random.Random(3), tmp_path / "values"
    guarded.run("export", "--tables", "conversations,turns", "--table-format", "delta", status=3)
    callers.change("c0", wall_clock())
    guarded.run("sync", "--lag", "0", status=3)
    committed = 0
    for round_ in range(2 * KILLS):
        person = f"p{round_}"
        name = callers.call(UNTIL - HOUR, person, wall_clock())
        callers.change("c5", wall_clock())
        guarded.run("sync", "--lag", "0", status=3)
        values.write_text(callers.people[person].user_id)
        steps = chance.randint(1, 90)
        erase = ("erase", guarded.out, "--by", "user_id", "--values-from", values)
        done = spawn(*erase, server=guarded.server, program=("-c", _DYING, str(steps))).wait()
        values.unlink()
        (guarded.root / f"said-{round_}").write_text(done.out + done.err)
        assert done.status in (-signal.SIGKILL, 0), done.err
        tombstones = anyio.run(load_state, LocalStore(guarded.out)).privacy.tombstones
        is_erased = tag_of("tombstone", callers.id_of(name)) in tombstones
        committed += is_erased and done.status != 0
        words = chance.choice(AFTERWARDS)
        guarded.run(*words, status=0 if words[0] in ("compact", "vacuum", "erase") else 3)
        # Copies learn from files of changes whom they must let go; a vacuum deletes these files.
        found = [
            one
            for one in guarded.find(callers.canaries_of([person]))
            if not (one.file.startswith(f"out/{CHANGES}/") and one.where.endswith(":id"))
        ]
        assert bool(found) != is_erased, (steps, words, found[:5])
    assert committed or KILLS < 10
    # Any run takes away what is left of the last; only an erasure calls it finished.
    guarded.run("erase")
    guarded.run("verify", status=3)
