"""An export whose tasks an engine runs elsewhere equals a plain one, row for row, and no other run can tell them apart.

Here the engines run tasks in threads of this process, rightly or wrongly. Pieces are small, so that there are several.
"""

import dataclasses
import json
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest

from exporter import ExportSpec, blocking
from exporter.contract import DAY, format_instant
from exporter.coverage import Coverage
from exporter.errors import (
    AccessError,
    UsageError,
)
from exporter.keys import DATA_VARIABLE, PRIVACY_VARIABLE
from exporter.layout import STAGING
from exporter.log.commits import load_state
from exporter.progress import Quiet, Snapshot
from exporter.run import handover, worker
from exporter.run.distribution_beacon import Beacon
from exporter.sandbox import TOKEN, TOKEN_NOSENSITIVE, Behaviour, Row, Sandbox, make_conversations
from exporter.sandbox.clock import system_clock
from exporter.schedule import recall, shares
from exporter.store.local.store import LocalStore
from tests.end_to_end.conftest import Command, CommandResult, Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, UNTIL, conversation, records
from tests.end_to_end.test_object_stores import Placing, placing
from tests.toolkit import task_engines
from tests.toolkit.clouds import S3
from tests.toolkit.encrypted import data_key, opened_with, text_of
from tests.toolkit.policies import EVERYTHING, key_text, write_policy
from tests.toolkit.recordings import SMALL
from tests.toolkit.task_engines import ThreadEngine, distributed, small_pieces

__all__ = ["placing"]

pytestmark = pytest.mark.usefixtures("hasty", "several_tasks")

ROWS = make_conversations(300, SINCE, UNTIL, seed=21, transcripts=False)
ANN = "ann+canary@example.com"
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))
SIZES = ("--page-size", "20", "--concurrency", "2")
#: What differs between two exports of the same.
_OF_A_RUN = {"requests", "retries", "seconds", "manifest", "generation", "files", "bytes", "kept_files", "destination"}


@pytest.fixture
def several_tasks() -> Iterator[None]:
    with small_pieces(pages=3):
        yield


def spec_for(server: Sandbox, destination: Path | str, **options: Any) -> ExportSpec:
    spec = ExportSpec(destination=destination, base_url=server.url, since="2024-01-01", until="2024-03-01")
    return dataclasses.replace(spec, page_size=20, concurrency=2, **options)


def told(result: CommandResult) -> dict[str, Any]:
    """Returns what a command has said of the export, without what each run has of its own."""
    said = json.loads(result.out)
    return {name: value for name, value in said.items() if name not in _OF_A_RUN}


def left_behind(root: Path) -> list[str]:
    return [path.name for path in (root / STAGING).iterdir()]


#: A row whose status fits no column, and rows without some fields.
ODD = [
    conversation(SINCE + DAY, SINCE + DAY, "odd", duration="a while"),
    *(conversation(SINCE + number * DAY, SINCE + number * DAY, f"bare-{number}") for number in range(3)),
]


@pytest.mark.parametrize(
    ("options", "behaviour"),
    [
        (("--tables", "conversations,turns", "--partition-by", "month"), Behaviour()),
        (("--status", "failed,completed", "--direction", "inbound"), Behaviour(hides_token_created=True)),
        (("--fields", "status,agent_id", "--part-size", "20kB"), Behaviour(cursor="inclusive", precision="s")),
        (("--table-format", "delta"), Behaviour(hides_token_created=True)),
        ((), Behaviour(page_cap=7, list_omits=("summary",))),
    ],
    ids=["turns", "several values", "fields", "delta", "omitted"],
)
def test_it_equals_a_plain_one(
    options: tuple[str, ...],
    behaviour: Behaviour,
    serving: Serving,
    command: Command,
    tmp_path: Path,
) -> None:
    server = serving([*ROWS[: 40 if behaviour.list_omits else 160], *ODD], behaviour)
    asked = (*RANGE, *SIZES, *options, "--json")
    plain = command("export", tmp_path / "plain", *asked, server=server)
    out, engine = tmp_path / "out", ThreadEngine()
    with distributed(engine):
        done = command("export", out, *asked, server=server)
    assert (done.status, told(done)) == (plain.status, told(plain)), done.err
    exported, other = ExportDirectory(out), ExportDirectory(tmp_path / "plain")
    assert exported.records() == other.records()
    assert [row["reason"] for row in exported.quarantined()] == [row["reason"] for row in other.quarantined()]
    exported.check_sound()
    assert len(engine.tasks) >= 2
    assert all(outcome.failure is None for outcome in engine.outcomes)
    assert left_behind(out) == []
    assert command("verify", out).status == plain.status


def test_other_commands_go_on_with_it(serving: Serving, command: Command, tmp_path: Path) -> None:
    server, out = serving(ROWS[:300]), tmp_path / "out"
    half = ("--since", format_instant(SINCE), "--until", format_instant(SINCE + 30 * DAY))
    assert command("export", out, *half, *SIZES, server=server).status == 0
    with distributed(engine := ThreadEngine()):
        assert command("sync", out, *SIZES, server=server).status == 0
        assert engine.tasks
        identity = str(ROWS[7].facts()["id"])
        server.update(identity, system_clock(), summary="another")
        done = command("sync", out, *SIZES, "--json", server=server)
    assert (done.status, json.loads(done.out)["updated"]) == (0, 1)
    ExportDirectory(out).check(records(server.rows))
    assert command("audit", out, server=server).status == 0
    assert command("verify", out).status == 0


class Told(Quiet):
    """Keeps what a run tells."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.events: list[str] = []
        self.warnings: list[str] = []

    def progress(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def note(self, event: str, /, **details: object) -> None:
        self.events.append(event)

    def warn(self, event: str, /, **details: object) -> None:
        self.warnings.append(event)


def test_it_counts_and_shows_what_tasks_have_done(serving: Serving, tmp_path: Path) -> None:
    server, engine, seen = serving(ROWS), ThreadEngine(), Told()
    summary = blocking.export(spec_for(server, tmp_path), engine=engine, observer=seen)
    assert summary.requests == len(server.requests)
    assert sum(outcome.rows for outcome in engine.outcomes) == len(ROWS) == summary.rows == seen.snapshots[-1].rows
    assert [shot.share for shot in seen.snapshots] == sorted(shot.share for shot in seen.snapshots)
    assert len({shot.share for shot in seen.snapshots}) > 1
    assert seen.snapshots[-1].windows >= sum(outcome.counters.windows for outcome in engine.outcomes)
    assert "committed" in seen.events
    assert len(engine.tasks) > 3
    counted = anyio.run(load_state, LocalStore(tmp_path)).counters
    assert (counted.requests, counted.windows) == (summary.requests, seen.snapshots[-1].windows)


def test_tasks_go_on_with_what_a_plain_run_began(
    serving: Serving, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How much is left is known by what is stored.
    monkeypatch.setattr(shares, "_LEAST_PAGES", 2)
    server = serving(ROWS, Behaviour(revoked_after=14))
    assert command("export", tmp_path, *RANGE, *SIZES, server=server).status == 4
    server.behaviour, engine = Behaviour(), ThreadEngine()
    found = ExportDirectory(tmp_path).coverage
    summary = blocking.export(spec_for(server, tmp_path), engine=engine)
    assert (summary.state, summary.resumed) == ("complete", True)
    ExportDirectory(tmp_path).check(records(ROWS))
    asked = [window for share in engine.shares for window in share.scan.windows]
    assert found and asked
    assert not any(start < window.end and window.start < end for start, end in found for window in asked)


def test_a_policy_encryption_and_an_erasure_hold_for_tasks(
    serving: Serving, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRIVACY_VARIABLE, key_text())
    monkeypatch.setenv(DATA_VARIABLE, text_of(data_key("data")))
    hers = [conversation(SINCE + n * DAY + 1, SINCE + n * DAY + 1, f"hers-{n}", user_id=ANN) for n in range(4)]
    server = serving([*make_conversations(100, SINCE, SINCE + 4 * DAY, seed=5), *hers, *ODD])
    policy = write_policy(
        tmp_path / "policy", EVERYTHING + '\n[encryption]\nkey = { env = "EXPORTER_DATA_KEY", name = "data" }\n'
    )
    (tmp_path / "who").write_text(ANN)
    first = ("--since", format_instant(SINCE + 2 * DAY), "--until", format_instant(SINCE + 4 * DAY))
    summaries, found = [], []
    for out, engine in ((tmp_path / "plain", None), (tmp_path / "out", ThreadEngine())):
        begun = command("export", out, *first, *SIZES, "--policy", policy, server=server)
        assert begun.status == 0, begun.err
        erased = command("erase", out, "--by", "user_id", "--values-from", tmp_path / "who", "--future")
        assert erased.status == 0, erased.err
        with distributed(engine) if engine else nullcontext():
            done = command("export", out, "--since", format_instant(SINCE), *SIZES, "--json", server=server)
        summaries.append((done.status, told(done)))
        found.append(ExportDirectory(out, opened_with(data_key("data"))).records())
    assert summaries[0] == summaries[1]
    assert summaries[0][1]["erased"] == 2
    assert summaries[0][1]["protection"]["changed"]
    assert found[0] == found[1]
    assert engine is not None
    secrets = (key_text(), text_of(data_key("data")), TOKEN, ANN)
    assert engine.tasks
    assert not any(secret.encode() in said for secret in secrets for said in (*engine.tasks, *engine.answers))


def test_fields_that_are_null_are_told_from_those_that_are_withheld(
    serving: Serving, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the oldest rows, which one task reads, none has a sensitive field.
    bare = [Row(SINCE + n, SINCE + n, {"id": f"bare-{n}", "organization_id": "org_sandbox"}) for n in range(60)]
    server = serving([*ROWS[:100], *bare])
    assert blocking.export(spec_for(server, tmp_path / "sees"), engine=ThreadEngine()).partly_withheld == 0
    monkeypatch.setenv("ANYREACH_TOKEN", TOKEN_NOSENSITIVE)
    blind = blocking.export(spec_for(server, tmp_path / "blind"), engine=ThreadEngine())
    assert (blind.exit_status, "summary" in blind.withheld) == (0, True)
    half = spec_for(server, tmp_path / "half", since="2024-02-10")
    with_token = dataclasses.replace(half, token=TOKEN)
    assert blocking.export(with_token).exit_status == 0
    engine = ThreadEngine()
    with pytest.raises(AccessError, match="withholds the sensitive fields"):
        blocking.sync(dataclasses.replace(half, since="2024-01-01", until=None), engine=engine)
    assert {outcome.failure.kind for outcome in engine.outcomes if outcome.failure} == {"AccessError"}
    changed_role = blocking.export(dataclasses.replace(half, since="2024-01-01", until=None), engine=ThreadEngine())
    assert (changed_role.exit_status, changed_role.partly_withheld > 0) == (3, True)


def test_recordings_are_kept_after_the_tasks(serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving(make_conversations(20, SINCE, UNTIL, seed=9, transcripts=False), media=SMALL)
    kept = ("--recordings", "--allow-network", "127.0.0.0/8", "--json")
    plain = command("export", tmp_path / "plain", *RANGE, *SIZES, *kept, server=server)
    with distributed() as engine:
        done = command("export", tmp_path / "out", *RANGE, *SIZES, *kept, server=server)
    assert isinstance(engine, ThreadEngine)
    assert engine.tasks
    rows = [
        {name: (row["status"], row["sha256"]) for name, row in ExportDirectory(root).recording_rows().items()}
        for root in (tmp_path / "plain", tmp_path / "out")
    ]
    assert (done.status, rows[1]) == (plain.status, rows[0])
    assert rows[0]


def test_the_tasks_that_run_share_the_rate(serving: Serving, tmp_path: Path) -> None:
    server, engine = serving(ROWS), ThreadEngine(3)
    blocking.export(spec_for(server, tmp_path, max_rps=1000), engine=engine)
    given = [share.settings.max_rps for share in engine.shares]
    assert all(rate is not None and rate > 0 for rate in given)
    assert sum(rate or 0 for rate in given[:3]) == pytest.approx(1000)


def test_what_is_few_is_read_without_a_task(serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_LEAST_PAGES", 64)
    server, engine = serving(ROWS), ThreadEngine()
    assert blocking.export(spec_for(server, tmp_path), engine=engine).state == "complete"
    assert engine.tasks == []
    ExportDirectory(tmp_path).check(records(ROWS))


def test_what_only_looks_like_few_is_handed_over_in_the_middle(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a list ends, it says nothing of a burst further down."""
    monkeypatch.setattr(shares, "_LEAST_PAGES", 16)
    for name in ("_ALONE_SECONDS", "_LOOK_SECONDS"):
        monkeypatch.setattr(handover, name, 0.01)
    burst = make_conversations(1500, SINCE + 20 * DAY, SINCE + 21 * DAY, seed=22)
    few = make_conversations(100, SINCE + 22 * DAY, UNTIL, seed=23)
    rows = [*few, *burst]
    server, engine = serving(rows, Behaviour(latency=0.01)), ThreadEngine()
    assert blocking.export(spec_for(server, tmp_path), engine=engine).state == "complete"
    # A worker is there before anything is handed over to it.
    assert engine.tasks[0] == b""
    assert any(engine.tasks)
    ExportDirectory(tmp_path).check(records(rows))


def export_burst(serving: Serving, destination: Path, engine: ThreadEngine, patch: pytest.MonkeyPatch) -> None:
    """Exports a day of many conversations, of which tasks soon give a part back while slots have nothing to do."""
    patch.setattr(recall, "_LEAST_SECONDS", 0.1)
    patch.setattr(worker, "_LOOK_SECONDS", 0.01)
    burst = make_conversations(1500, SINCE + 20 * DAY, SINCE + 21 * DAY, seed=22)
    server = serving(burst, Behaviour(latency=0.02))
    with small_pieces(pages=1000):
        assert blocking.export(spec_for(server, destination), engine=engine).state == "complete"
    ExportDirectory(destination).check(records(burst))


def test_a_slot_with_nothing_to_do_gets_a_part_of_what_another_one_reads(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ThreadEngine()
    export_burst(serving, tmp_path, engine, monkeypatch)
    read = {outcome.task: outcome.change for outcome in engine.outcomes if outcome.change is not None}
    assert any(Coverage(share.scan.windows) - Coverage(read[share.task].covers) for share in engine.shares)


def test_a_task_that_ends_while_it_is_recalled_ends_the_run(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, recalls, ended = ThreadEngine(), list[Collection[str]](), list[str]()
    recall_now, end = Beacon.recall, recall.Recalls.ended

    async def recall_late(beacon: Beacon, tasks: Collection[str]) -> None:
        recalls.append(tasks)
        await recall_now(beacon, tasks)
        while not {*tasks} <= {*ended}:  # noqa: ASYNC110
            await anyio.sleep(0.01)

    def note_end(recalls: recall.Recalls, task: str) -> None:
        end(recalls, task)
        ended.append(task)

    monkeypatch.setattr(Beacon, "recall", recall_late)
    monkeypatch.setattr(recall.Recalls, "ended", note_end)
    export_burst(serving, tmp_path, engine, monkeypatch)
    assert recalls


def test_what_no_task_can_do_is_refused_before_anything_is_asked(serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS)
    with pytest.raises(UsageError, match="a task never carries it"):
        blocking.export(spec_for(server, tmp_path, token="ak_of_this_program"), engine=ThreadEngine())
    with pytest.raises(UsageError, match="engine: must be an object with name, slots, call and close"):
        blocking.export(spec_for(server, tmp_path), engine=ThreadEngine)  # type: ignore[arg-type]
    assert server.requests == []


def test_it_is_the_same_in_an_object_store(serving: Serving, placing: Placing, s3: S3, tmp_path: Path) -> None:
    options = {"tables": "conversations,turns", "partition_by": "none"}
    place, server = placing(s3), serving([*ROWS[:40], *ODD])
    engine = ThreadEngine(faults={1: task_engines.lost_after_staging, 2: task_engines.twice_at_once})
    with small_pieces(pages=0.5):
        summary = blocking.export(spec_for(server, str(place), **options), engine=engine)
    assert summary.quarantined_rows == 1
    root = place.mirror(tmp_path)
    exported = ExportDirectory(root)
    exported.check_sound()
    blocking.export(spec_for(server, tmp_path / "plain", **options))
    assert exported.records() == ExportDirectory(tmp_path / "plain").records()
    assert left_behind(root) == []
