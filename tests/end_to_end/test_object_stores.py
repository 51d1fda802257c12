"""Tests that exports leave in an object store what they leave on a disk, whatever happens to the runs."""

import json
import os
import random
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pyarrow.parquet as pq
import pytest

from exporter.contract import DAY, format_instant, parse_timestamp
from exporter.layout import LOCK
from exporter.sandbox import Behaviour, Row, make_conversations
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from tests.end_to_end.conftest import Command, Serving, Spawn
from tests.end_to_end.export_directory import ExportDirectory, check_left
from tests.end_to_end.records import SINCE, records
from tests.end_to_end.test_kills import OPTIONS, PATIENCE_SECONDS, Watch, live
from tests.toolkit.clouds import S3, AskedRequest, Cloud
from tests.toolkit.sizes import size_of, some_of

KILLS = size_of(4, 6, "EXPORTER_KILLS") // 3
SEED = int(os.environ.get("EXPORTER_KILLS_SEED", "0"))

MOMENT = timedelta(milliseconds=1)
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(SINCE + 5 * DAY))
SIZES = ("--part-size", "20kB", "--concurrency", "3", "--page-size", "20")


@dataclass(frozen=True)
class Place:
    """Names a place in an object store."""

    url: Url
    bucket: Bucket

    def __str__(self) -> str:
        return str(self.url)

    def mirror(self, directory: Path) -> Path:
        """Copies all objects below the place to files that are as private as a run would leave them."""
        root = directory / secrets.token_hex(4)
        for path in self.bucket.sizes(""):
            file = root / path
            for parent in reversed(file.relative_to(directory).parents):
                (directory / parent).mkdir(mode=0o700, exist_ok=True)
            self.bucket.download(path, file)
        # Only a disk has the first of these, and only a store the second.
        (root / "_exporter" / "staging").mkdir(mode=0o700, exist_ok=True, parents=True)
        (root / "_exporter" / "probe").unlink(missing_ok=True)
        return root


Placing: TypeAlias = Callable[[Cloud], Place]


@pytest.fixture
def placing(monkeypatch: pytest.MonkeyPatch) -> Placing:
    def place(cloud: Cloud) -> Place:
        name = f"end-to-end-{secrets.token_hex(4)}"
        cloud.make_bucket(name)
        for variable, value in cloud.environment.items():
            monkeypatch.setenv(variable, value)
        url = Url(cloud.scheme, name, "some/where")
        return Place(url, Bucket(url, open_bucket(url)))

    return place


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(150, SINCE, SINCE + 5 * DAY, seed=3, density="flat")


def test_a_wrong_bucket_is_2_whatever_is_asked_of_it(
    rows: list[Row], serving: Serving, command: Command, placing: Placing, s3: S3
) -> None:
    placing(s3)
    server = serving(rows)
    for words in ("status", "verify", "export", "sync", "audit", "reread", "compact", "vacuum --older-than 0s"):
        name, *options = words.split()
        done = command(name, "s3://no-such-bucket-here/some/where", *options, server=server)
        assert (done.status, done.out, len(done.complaint)) == (2, "", 1), (words, done)
        assert "s3://no-such-bucket-here: there is no such bucket or container (404 NoSuchBucket)" in done.err
    assert server.requests == []


def test_a_run_that_begins_nothing_leaves_nothing(
    rows: list[Row], serving: Serving, command: Command, placing: Placing, s3: S3
) -> None:
    place = placing(s3)
    assert command("export", str(place), *RANGE, server=serving(rows), token="ak_wrong").status == 4
    assert place.bucket.sizes("") == {}


def test_the_same_export_is_the_same_everywhere(
    rows: list[Row], serving: Serving, command: Command, placing: Placing, s3: S3, azure: Cloud, tmp_path: Path
) -> None:
    server = serving(rows)
    found: list[ExportDirectory] = []
    for place in (tmp_path / "disk", placing(s3), placing(azure)):
        done = command("export", str(place), *RANGE, *SIZES, "--json", server=server)
        assert done.status == 0, done.err
        assert json.loads(done.out)["manifest"] == f"{place}/_manifest.json"
        exported = ExportDirectory(place.mirror(tmp_path) if isinstance(place, Place) else place)
        exported.check(records(rows))
        found.append(exported)
    disk, *others = found
    for other in others:
        assert other.records() == disk.records()
        assert other.coverage == disk.coverage
        for key in ("state", "range", "request", "fields", "quarantine", "unproven"):
            assert other.manifest[key] == disk.manifest[key]
        assert other.manifest["tables"]["conversations"]["schema"] == disk.manifest["tables"]["conversations"]["schema"]


@pytest.mark.parametrize("name", some_of(["s3", "azure"], "s3"))
def test_every_command_works_there(
    name: str,
    rows: list[Row],
    request: pytest.FixtureRequest,
    serving: Serving,
    command: Command,
    placing: Placing,
    tmp_path: Path,
) -> None:
    place = placing(request.getfixturevalue(name))
    server = serving(rows)

    def succeeds(*arguments: str, **options: str | None) -> str:
        done = command(arguments[0], str(place), *arguments[1:], server=server, **options)
        assert done.status == 0, done.err
        assert str(place) in done.err + done.out or "--json" in arguments
        return done.out

    succeeds("export", *RANGE, *SIZES)
    assert "nothing to do" in command("export", str(place), server=server).out
    chance, now = random.Random(5), time.time_ns() // 1000
    for row in chance.sample(server.rows, 30):
        server.update(str(row.facts()["id"]), now, summary=f"changed {now}")
    synced = json.loads(succeeds("sync", *SIZES, "--json"))
    assert synced["updated"] > 0
    ExportDirectory(place.mirror(tmp_path)).check(records(server.rows))
    assert json.loads(succeeds("audit", "--json"))["same"]
    files = synced["files"]
    compacted = json.loads(succeeds("compact", "--json"))
    assert compacted["files"] < files
    ExportDirectory(place.mirror(tmp_path)).check(records(server.rows))
    verified = json.loads(succeeds("verify", "--json", token=None))
    assert (verified["sound"], verified["files_read"]) == (True, compacted["files"])
    status = json.loads(succeeds("status", "--json", token=None))
    assert (status["holder"], status["last_run"]["command"]) == (None, "compact")

    lost = sorted(path for path in place.bucket.sizes("conversations"))[0]
    place.bucket.put(lost, b"damaged", "overwrite")
    done = command("verify", str(place), "--json", token=None)
    assert done.status == 6
    assert [problem["file"] for problem in json.loads(done.out)["problems"]] == [lost]
    assert command("verify", str(place), "--repair", token=None).status == 1
    for row in chance.sample(server.rows, 30):
        server.update(str(row.facts()["id"]), row.updated_at, summary=f"changed silently {now}")
    read_again = json.loads(succeeds("reread", *SIZES, "--json"))
    assert (read_again["state"], read_again["updated"] > 0, read_again["kept"]) == ("complete", True, 0)
    ExportDirectory(place.mirror(tmp_path)).check(records(server.rows))
    server.update(str(server.rows[0].facts()["id"]), time.time_ns() // 1000, duration="a while")
    assert command("sync", str(place), *SIZES, server=server).status == 3
    accepted = json.loads(succeeds("accept", "--note", "known", "--json", token=None))
    assert (accepted["doubts"], accepted["accepted"][0]["note"]) == (1, "known")
    assert json.loads(succeeds("sync", *SIZES, "--json"))["state"] == "unproven"
    succeeds("status", "--check", "--json", token=None)


def test_a_store_that_goes_away_keeps_what_was_committed(
    rows: list[Row],
    serving: Serving,
    command: Command,
    placing: Placing,
    s3: S3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, server = placing(s3), serving(rows)
    seen: list[AskedRequest] = []

    def refuse(asked: AskedRequest) -> int | None:
        seen.append(asked)
        return 503 if len(seen) > 40 else None

    hasty = partial(open_bucket, retries={"max_retries": 1, "backoff": {"init_backoff": MOMENT}})
    monkeypatch.setattr("exporter.store.objects.clouds.open_bucket", hasty)
    monkeypatch.setattr(s3.gate, "refuses", refuse)
    done = command("export", str(place), *RANGE, *SIZES, server=server)
    assert (done.status, done.out, len(done.complaint)) == (1, "", 1), done.err
    assert done.complaint[0].startswith(f"exporter: {place}/")
    assert "the store keeps answering 503" in done.err
    assert LOCK not in done.err
    monkeypatch.undo()
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    committed = check_left(place.mirror(tmp_path), records(rows)).number
    assert committed > 0
    # Within one process the run seems to be still alive; a process that has ended holds nothing.
    assert command("export", str(place), server=server).status == 5
    place.bucket.put(LOCK, b"", "overwrite")
    assert command("export", str(place), *SIZES, server=server).status == 0
    ExportDirectory(place.mirror(tmp_path)).check(records(rows))


def test_killed_at_any_instant_an_export_to_s3_goes_on(
    serving: Serving, spawn: Spawn, placing: Placing, s3: S3, tmp_path: Path
) -> None:
    rows = make_conversations(120, SINCE, SINCE + 8 * DAY, seed=11, density="flat")
    server, expected = serving(rows, Behaviour(latency=0.002)), records(rows)
    life = live(server, spawn, "export", str(placing(s3)), *OPTIONS)
    chance = random.Random(SEED)
    kills, exports = 0, 0
    while kills < KILLS:
        place, killed = placing(s3), True
        exports += 1
        while killed:
            requests, seconds = life.choose(chance, late=0.3)
            watch = Watch(server)
            started = spawn("export", str(place), *OPTIONS, server=server)
            if kills < KILLS:
                watch.wait(started.process, requests, seconds)
                started.process.kill()
            done = started.wait(PATIENCE_SECONDS)
            killed = done.status == -signal.SIGKILL
            kills += killed
            try:
                assert killed or done.status == 0, done.err
                check_left(place.mirror(tmp_path), expected)
            except AssertionError as error:
                raise AssertionError(f"seed {SEED}, kill {kills}, {requests} requests, {seconds:.4f} s") from error
        ExportDirectory(place.mirror(tmp_path)).check(expected)
    print(f"\n{life}; {kills} kills in {exports} exports")


def test_what_has_expired_is_no_object_any_longer(
    rows: list[Row], serving: Serving, command: Command, placing: Placing, s3: S3, tmp_path: Path
) -> None:
    place, server = placing(s3), serving(rows)
    assert command("export", str(place), *RANGE, *SIZES, server=server).status == 0
    days = (time.time_ns() // 1000 - SINCE) // DAY - 2
    done = command("expire", str(place), f"conversations={days}d,summary={days - 1}d", "--json", token=None)
    assert done.status == 0, done.err
    found = json.loads(done.out)
    floor = parse_timestamp(found["expired_before"]["conversations"])
    left = [row for row in server.rows if row.created_at >= floor]
    assert 0 < len(left) == found["rows"] == len(rows) - found["conversations"]
    root = place.mirror(tmp_path)
    read = [pq.read_table(path, partitioning=None) for path in (root / "conversations").rglob("*.parquet")]
    assert sum(table.num_rows for table in read) == len(left)
    assert {name for table in read for name in table["id"].to_pylist()} == {str(row.facts()["id"]) for row in left}
    assert command("verify", str(place), token=None).status == 0
    again = json.loads(command("expire", str(place), "--json", token=None).out)
    assert not again["changed"]
