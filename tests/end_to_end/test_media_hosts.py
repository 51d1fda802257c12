"""Tests that each recording ends as one file or a named reason, whatever its host does, and whenever a run is killed.

EXPORTER_RECORDINGS=3000 pytest -s tests/end_to_end/test_media_hosts.py        this many
EXPORTER_KILLS_SEED=4711 pytest …                                              other instants than by default
"""

import json
import os
import random
import re
import secrets
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pyarrow.parquet as pq
import pytest

from exporter.contract import DAY, HOUR, MINUTE, SECOND, Instant, format_instant
from exporter.log.commits import load_state
from exporter.sandbox import MEDIA_FAULTS, RECORDINGS_HOST, TOKEN, MediaBehaviour, MediaHost, Row, Sandbox
from exporter.store.local.store import LocalStore
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from tests.end_to_end.conftest import CommandResult, RunningCommand, Serving, Spawn
from tests.end_to_end.records import conversation
from tests.end_to_end.test_object_stores import Place
from tests.pipeline.test_download import ENDS
from tests.toolkit import fence
from tests.toolkit.clouds import S3, AskedRequest
from tests.toolkit.peer import self_signed
from tests.toolkit.sizes import THOROUGH, size_of

SEED = int(os.environ.get("EXPORTER_KILLS_SEED", "0"))
IS_THOROUGH = THOROUGH in os.environ
COUNT = size_of(160, 11_112, "EXPORTER_RECORDINGS")
KILLS = size_of(1, 3)
#: Each of these is met by as many recordings. Some take long until they are given up.
FAULTS = [fault for fault in MEDIA_FAULTS if IS_THOROUGH or fault not in ("cut-always", "long")]
FAULTY = 0.05 if IS_THOROUGH else 0.3
DAYS = 4
#: Recordings of calls that are younger than this appear between two runs.
LATE = 36 * HOUR
PATIENCE_SECONDS = 900.0
OPTIONS = (
    *("--allow-network", "127.0.0.0/8", "--max-recording-size", "1MB", "-v"),
    *("--recording-concurrency", "32", "--page-size", "100"),
)
_HEXADECIMAL = re.compile(rb"[0-9a-f]{64}")


def behaviour(faulty: float = FAULTY, **switches: Any) -> MediaBehaviour:
    chosen = {"lifetime_seconds": 60, "slow_rate": 2000 if IS_THOROUGH else 100_000}
    chosen |= {"retry_after_seconds": 1 if IS_THOROUGH else 0, "late_seconds": LATE // SECOND}
    return MediaBehaviour(faults=dict.fromkeys(FAULTS, faulty / len(FAULTS)), **(chosen | switches))


def calls(count: int, now: Instant) -> list[Row]:
    """Makes conversations of the last days; one in ten is a text, which has no recording."""
    step = DAYS * DAY // count
    return [
        conversation(
            at := now - HOUR - number * step,
            at + MINUTE,
            f"c-{number:05d}",
            **(
                {"channel": "text"}
                if number % 10 == 9
                else {
                    "channel": "telephone",
                    "duration": 30,
                    "recording_details": {"recording_url": f"{RECORDINGS_HOST}/take{number}.wav", "duration": 30},
                }
            ),
        )
        for number in range(count)
    ]


@dataclass
class World:
    """Runs the command line behind a fence, against an API and a host of recordings, and looks at what it leaves."""

    server: Sandbox
    host: MediaHost
    spawn: Spawn
    root: Path
    destination: str
    trusted: Path
    look: Callable[[], Path]
    said: list[str] = field(default_factory=list)

    @property
    def record(self) -> Path:
        return self.root / "connections"

    @property
    def recorded(self) -> set[str]:
        """Returns the ids of the conversations that have a recording."""
        return {str(row.facts()["id"]) for row in self.server.rows if row.facts()["recording_details"]}

    def start(self, command: str, *options: str) -> RunningCommand:
        program: list[str | Path] = [Path(fence.__file__), self.record]
        trusting = [] if command == "verify" else ["--ca-file", str(self.trusted)]
        return self.spawn(command, self.destination, *options, *trusting, server=self.server, program=program)

    def run(self, command: str, *options: str) -> CommandResult:
        return self.ended(self.start(command, *options))

    def ended(self, started: RunningCommand) -> CommandResult:
        done = started.wait(PATIENCE_SECONDS)
        self.said.append(done.out + done.err)
        return done

    def keep(self, *options: str) -> CommandResult:
        return self.run("recordings", *OPTIONS, *options)

    def kill(self, requests: int, seconds: float) -> bool:
        """Keeps recordings until this many were asked for, and so many seconds; returns whether it was still at it."""
        reached, first = threading.Event(), self.host.count
        self.host.on_request = lambda seen: reached.set() if seen.number - first >= requests else None
        started = self.start("recordings", *OPTIONS)
        while not reached.wait(0.05) and started.process.poll() is None:
            pass
        try:
            started.process.wait(seconds)
        except subprocess.TimeoutExpired:
            started.process.kill()
        return self.ended(started).status == -signal.SIGKILL

    def rows(self, root: Path) -> dict[str, dict[str, Any]]:
        """Returns the rows that the log names, by conversation, which has no more than one."""
        found: dict[str, dict[str, Any]] = {}
        for file in anyio.run(load_state, LocalStore(root)).recordings:
            for row in pq.ParquetFile(root / file.path).read().to_pylist():
                assert row["conversation_id"] not in found, "a recording that is there twice"
                found[row["conversation_id"]] = row
        return found

    def check_left(self) -> int:
        """Checks that what is stored has its bytes, wherever a run was killed; returns the number of rows."""
        root = self.look()
        rows = self.rows(root)
        assert rows.keys() <= self.recorded
        self._check_rows(root, rows)
        return len(rows)

    def check(self) -> Counter[str]:
        """Checks that each recording is kept once or has the reason that its fault gives, and that nothing else is
        there; counts them by status."""
        root = self.look()
        manifest = json.loads((root / "_manifest.json").read_bytes())
        shown = [
            row
            for file in manifest["tables"]["recordings"]["files"]
            for row in pq.ParquetFile(root / file["path"]).read().to_pylist()
        ]
        rows = self.rows(root)
        assert sorted(row["conversation_id"] for row in shown) == sorted(rows)
        assert rows.keys() == self.recorded, sorted(self.recorded - rows.keys())[:5]
        self._check_rows(root, rows)
        media = {path.relative_to(root).as_posix() for path in (root / "media").rglob("*") if path.is_file()}
        stored = [row for row in rows.values() if row["status"] == "stored"]
        named = {row["path"]: row["bytes"] for row in stored}
        assert media == named.keys()
        assert manifest["media"] == {"files": len(named), "bytes": sum(named.values())}
        counts = Counter[str](row["status"] for row in rows.values())
        assert manifest["recordings"] == {
            "with": len(rows),
            "left": 0,
            **{status: counts[status] for status in ("stored", "gone", "expired", "failed", "refused")},
        }
        assert (root / "_SUCCESS").exists()
        assert manifest["state"] == "complete"
        assert not list((root / "_exporter" / "staging").iterdir())
        return counts

    def _check_rows(self, root: Path, rows: Mapping[str, dict[str, Any]]) -> None:
        for identity, row in rows.items():
            end, reason = self._end_of(identity, row)
            assert (row["status"], row["reason"]) == (end, reason), (identity, self.host.fault_of(identity))
            if end == "stored":
                content, data = self.host.content(identity), (root / row["path"]).read_bytes()
                assert data == content, (identity, self.host.fault_of(identity))
                assert (row["bytes"], row["sha256"]) == (len(content), sha256(content).hexdigest())
                assert row["path"].split("/")[1] == f"created_date={row['conversation_created_at']:%Y-%m-%d}"
            else:
                assert row["path"] is row["sha256"] is None

    def _end_of(self, identity: str, row: Mapping[str, Any]) -> tuple[str, str | None]:
        fault = self.host.fault_of(identity)
        if fault == "long" and row["status"] == "failed":
            return "failed", row["reason"]  # whether more bytes are seen depends on how they are sent
        if fault == "redirect-name":
            return "failed", "certificate"  # which does not name `localhost`
        status, reason = ENDS[fault] or ("stored", None)
        is_young = row["conversation_created_at"].timestamp() > row["fetched_at"].timestamp() - DAY // SECOND
        return "failed" if status == "gone" and is_young else status, reason

    def check_secrets(self) -> None:
        """Checks that the token went to the API alone, that no link is anywhere but in the table of conversations,
        where the API has put it, and that nothing left this machine."""
        assert self.host.leaks == 0
        assert self.host.requests
        for seen in self.host.requests:
            assert TOKEN not in f"{seen}"
        signatures = {seen.query.get("Signature", "").encode() for seen in self.host.requests} - {b""}
        assert signatures
        for name, text in self._texts():
            assert b"Signature=" not in text, name
            assert b"Expires=" not in text, name
            assert not signatures.intersection(_HEXADECIMAL.findall(text)), name
            assert TOKEN.encode() not in text, name
        reached = fence.attempts(self.record)
        assert "127.0.0.1" in reached
        assert not {host for host in reached if not fence.is_near(host)}

    def _texts(self) -> Iterator[tuple[str, bytes]]:
        root = self.look()
        for number, said in enumerate(self.said):
            yield f"output {number}", said.encode()
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            yield "name", name.encode()
            if path.is_file() and not name.startswith(("conversations/", "media/")):
                yield name, path.read_bytes()
                if path.suffix == ".parquet":
                    parquet = pq.ParquetFile(path)
                    yield name, repr((parquet.read().to_pylist(), parquet.schema_arrow.metadata)).encode()


@pytest.fixture
def now() -> Instant:
    return time.time_ns() // 1000


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(serving: Serving, spawn: Spawn, tmp_path: Path, now: Instant) -> MakeWorld:
    def make(media: MediaBehaviour, count: int = COUNT, place: Place | None = None) -> World:
        tls, trusted = self_signed(tmp_path)
        host = MediaHost(media, tls=tls)
        server = serving(calls(count, now), media=host)
        directory = tmp_path / "export"
        destination = directory if place is None else place
        look = (lambda: directory) if place is None else partial(place.mirror, tmp_path)
        return World(server, host, spawn, tmp_path, str(destination), trusted, look)

    return make


def bounds(now: Instant) -> tuple[str, ...]:
    return "--since", format_instant(now - DAYS * DAY - 2 * HOUR), "--until", format_instant(now - HOUR // 2)


def live_through(world: World, now: Instant, kills: int) -> Counter[str]:
    """Exports conversations, and then keeps their recordings, killed again and again, until none is left."""
    began, chance = time.monotonic(), random.Random(SEED)
    assert world.run("export", *bounds(now), "--page-size", "100", "-v").status == 0
    killed: list[str] = []
    rows = 0
    for number in range(kills):
        requests, seconds = chance.randint(1, max(1, (len(world.recorded) - rows) // 2)), chance.uniform(0, 0.3)
        try:
            is_killed = world.kill(requests, seconds)
            rows = world.check_left()
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, kill {number + 1}, {requests} requests, {seconds:.4f} s") from error
        killed += [f"{requests} requests and {seconds:.2f} s: {rows} rows"] if is_killed else []
        if number == kills // 2:
            # From now on they are there, though nothing else about their conversations has changed.
            world.host.behaviour = msgspec.structs.replace(world.host.behaviour, late_seconds=0.0)
    done = world.keep()
    assert done.status == (1 if world.host.behaviour.faults else 0), done.err
    counts = world.check()
    print(
        f"\n{len(world.recorded):,} recordings in {time.monotonic() - began:.0f} s: {dict(counts)}; kills at "
        f"{', '.join(killed)}; {world.server.count:,} requests, {world.host.count:,} to the host of recordings"
    )
    return counts


def test_every_recording_is_kept_once_or_named_with_its_reason(make_world: MakeWorld, now: Instant) -> None:
    world = make_world(behaviour())
    counts, attempts = live_through(world, now, KILLS), world.host.attempts.copy()
    assert world.keep().status == 1
    again = {identity for identity, number in world.host.attempts.items() if number != attempts[identity]}
    assert len(again) == counts["failed"] + counts["expired"], "what is final is never asked for again"
    world.check()
    assert world.run("verify", "--media").status == 0
    world.check_secrets()


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Place:
    name = f"recordings-{secrets.token_hex(4)}"
    s3.make_bucket(name)
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    url = Url(s3.scheme, name, "some/where")
    return Place(url, Bucket(url, open_bucket(url)))


def unfinished_uploads(s3: S3, place: Place) -> int:
    with urllib.request.urlopen(f"{s3.url}/{place.url.bucket}?uploads") as answer:
        return int(answer.read().count(b"<Upload>"))


@pytest.mark.thorough
def test_the_same_in_an_object_store(make_world: MakeWorld, now: Instant, s3: S3, bucket: Place) -> None:
    world = make_world(behaviour(0.2), size_of(80, 2000), bucket)
    live_through(world, now, size_of(1, 3))
    assert unfinished_uploads(s3, bucket) == 0
    assert world.run("verify", "--media").status == 0
    world.check_secrets()


def test_a_stop_leaves_no_unfinished_upload(make_world: MakeWorld, now: Instant, s3: S3, bucket: Place) -> None:
    """Of recordings that go up in pieces."""
    world = make_world(MediaBehaviour(bytes_each=6_000_000), 2, bucket)
    assert world.run("export", *bounds(now)).status == 0
    reached = threading.Event()

    def see(asked: AskedRequest) -> None:
        if "partNumber=2" in asked.query:
            reached.set()

    s3.gate.answers = see
    try:
        started = world.start("recordings", "--allow-network", "127.0.0.0/8")
        assert reached.wait(60)
        started.process.send_signal(signal.SIGINT)
        assert world.ended(started).status == 130
    finally:
        s3.gate.answers = lambda _: None
    world.check_left()
    assert unfinished_uploads(s3, bucket) == 0
    assert world.run("recordings", "--allow-network", "127.0.0.0/8").status == 0
    assert world.check() == {"stored": 2}


def test_a_host_that_is_down_unseals_nothing(make_world: MakeWorld, now: Instant) -> None:
    world = make_world(MediaBehaviour(), 6)
    world.host.is_down = True
    done = world.run("export", *bounds(now), "--recordings", *OPTIONS, "--json")
    assert done.status == 1, done.err
    root = Path(world.destination)
    assert (root / "_SUCCESS").exists()
    manifest = json.loads((root / "_manifest.json").read_bytes())
    assert (manifest["state"], manifest["totals"]["rows"]) == ("complete", 6)
    recordings = manifest["recordings"]
    assert recordings["with"] == recordings["failed"] + recordings["left"] == 6
    assert not (root / "media").exists()
    # Conversations are not read again: the host is back, and nothing else has changed.
    world.host.is_down = False
    assert world.run("export", *OPTIONS).status == 0
    assert world.check() == {"stored": 6}
    world.check_secrets()
