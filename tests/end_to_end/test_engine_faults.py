"""Whatever becomes of tasks, of their engine or of their run: what is committed is right, and stays."""

import asyncio
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import anyio
import msgspec
import pytest

import exporter
from exporter import blocking
from exporter.contract import parse_timestamp
from exporter.engines.work import work
from exporter.errors import (
    AccessError,
    ContradictionError,
    DestinationError,
    EngineClosedError,
    EngineError,
    ExporterError,
    RequestRefusedError,
    StoreError,
    UsageError,
)
from exporter.model import Change
from exporter.pipeline.committer import Committer
from exporter.run import distribution_call
from exporter.run.share import Failure, Outcome, Share, decode_share, encode
from exporter.sandbox import Behaviour
from exporter.store.local.store import LocalStore
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory, check_left
from tests.end_to_end.records import records
from tests.end_to_end.test_engines import RANGE, ROWS, SIZES, Told, left_behind, several_tasks, spec_for
from tests.toolkit import task_engines
from tests.toolkit.task_engines import Misbehaviour, ThreadEngine, changed, distributed, small_pieces

__all__ = ["several_tasks"]

pytestmark = pytest.mark.usefixtures("hasty", "several_tasks")


RUN_TWICE = (task_engines.twice_at_once, task_engines.again_after_staging, task_engines.late)


LOST = (
    task_engines.lost,
    task_engines.lost_after_staging,
    task_engines.with_the_answer_of_another,
    task_engines.with_garbage,
    task_engines.with_an_error_of_its_own,
    task_engines.without_an_answer,
    changed(task_engines.with_cut_files),
    changed(task_engines.without_files),
)


@pytest.mark.parametrize(("faults", "slots"), [(RUN_TWICE, 2), (LOST, 1)], ids=["run twice", "lost"])
def test_whatever_becomes_of_tasks_each_row_is_there_once(
    faults: Sequence[Misbehaviour], slots: int, serving: Serving, tmp_path: Path
) -> None:
    # What is lost is read again by the next task, which is right.
    engine = ThreadEngine(slots, faults={2 * number + 1: fault for number, fault in enumerate(faults)})
    with small_pieces(pages=1):
        summary = blocking.export(spec_for(serving(ROWS), tmp_path), engine=engine)
    assert len(engine.tasks) > 2 * len(faults)
    assert (summary.state, summary.exit_status) == ("complete", 0)
    ExportDirectory(tmp_path).check(records(ROWS))
    assert left_behind(tmp_path) == []


def test_three_losses_end_the_run_and_a_plain_one_goes_on(serving: Serving, command: Command, tmp_path: Path) -> None:
    server, lost = serving(ROWS), task_engines.lost
    engine = ThreadEngine(1, faults={1: lost, 2: lost, 3: lost})
    with pytest.raises(EngineError, match=r"three tasks failed that read .*the machine is gone") as raised:
        blocking.export(spec_for(server, tmp_path), engine=engine)
    assert "run the same command again to resume" in str(raised.value)
    assert len(engine.tasks) == 4
    assert len({share.task for share in engine.shares}) == 4
    assert len({share.scan.windows[-1].end for share in engine.shares[1:]}) == 1
    kept = engine.outcomes[0].change
    assert kept is not None
    before = len(server.requests)
    assert command("export", tmp_path, *RANGE, *SIZES, server=server).status == 0
    ExportDirectory(tmp_path).check(records(ROWS))
    assert {file.path for file in kept.adds} <= {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")
    }
    newest = max(interval.start for interval in kept.covers)
    again = [seen.query for seen in server.requests[before:] if "fields" not in seen.query]
    assert all(parse_timestamp(query["created_after"]) < newest for query in again)


def test_a_refused_token_ends_the_run_with_what_has_come(serving: Serving, tmp_path: Path) -> None:
    server, engine = serving(ROWS, Behaviour(revoked_after=30)), ThreadEngine()
    with pytest.raises(AccessError, match="a task on threads: "):
        blocking.export(spec_for(server, tmp_path), engine=engine)
    assert {outcome.failure.kind for outcome in engine.outcomes if outcome.failure} == {"AccessError"}
    brought = sum(file.rows for each in engine.outcomes if each.change for file in each.change.adds)
    found = ExportDirectory(tmp_path)
    assert (found.manifest["state"], len(found.records())) == ("incomplete", brought)
    assert left_behind(tmp_path) == []
    server.behaviour = Behaviour()
    assert blocking.export(spec_for(server, tmp_path), engine=engine).state == "complete"
    ExportDirectory(tmp_path).check(records(ROWS))


def told_otherwise(**members: object) -> Misbehaviour:
    return changed(lambda _share, outcome: msgspec.structs.replace(outcome, **members))


def of_organization(name: str) -> Misbehaviour:
    def rename(_share: Share, outcome: Outcome) -> Outcome:
        assert outcome.change is not None
        return msgspec.structs.replace(outcome, change=msgspec.structs.replace(outcome.change, organization=name))

    return changed(rename)


def where_no_beacon_is(_engine: ThreadEngine, task: bytes) -> bytes:
    """Runs the task where the destination's path leads to another directory."""
    share = decode_share(task)
    return work(encode(msgspec.structs.replace(share, destination=f"{share.destination}-elsewhere")))


def after_a_sweep(_engine: ThreadEngine, task: bytes) -> bytes:
    """Runs the task when another run has swept the beacon."""
    share = decode_share(task)
    (Path(share.destination) / share.beacon).unlink()
    return work(task)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (told_otherwise(version="0.0.1"), UsageError, "a worker has exporter 0.0.1"),
        (where_no_beacon_is, DestinationError, "not the destination that the driver writes to"),
        (after_a_sweep, StoreError, "deleted by somebody else"),
        (of_organization("another"), ContradictionError, "'another'"),
        (told_otherwise(failure=Failure(kind="RequestRefusedError", message="400")), RequestRefusedError, "400"),
    ],
    ids=["version", "destination", "sweep", "organization", "refused"],
)
def test_what_no_other_task_would_mend_ends_the_run_at_once(
    fault: Misbehaviour, kind: type[ExporterError], words: str, serving: Serving, tmp_path: Path
) -> None:
    server, engine = serving(ROWS), ThreadEngine(1, faults={1: fault})
    out = tmp_path / "out"
    with pytest.raises(kind, match=words):
        blocking.export(spec_for(server, out), engine=engine)
    assert len(engine.tasks) == 2
    assert left_behind(out) == []
    check_left(out, records(ROWS))
    assert not (tmp_path / "out-elsewhere").exists()


def test_a_failure_that_may_pass_is_tried_again(serving: Serving, tmp_path: Path) -> None:
    fault = told_otherwise(failure=Failure(kind="ServerFailedError", message="500"))
    server, engine, seen = serving(ROWS), ThreadEngine(faults={0: fault, 1: fault}), Told()
    assert blocking.export(spec_for(server, tmp_path), engine=engine, observer=seen).state == "complete"
    ExportDirectory(tmp_path).check(records(ROWS))
    assert seen.events.count("task failed") == 2
    assert seen.warnings == ["what a task has not read is read again: a task on threads: 500"]


class Interrupting(ThreadEngine):
    """Interrupts the run so many times while its second task is under way, which ends by itself after the first."""

    def __init__(self, times: int) -> None:
        super().__init__(1)
        self.closing = threading.Event()
        self._times = times

    def call(self, task: bytes) -> bytes:
        share, is_second = decode_share(task), len(self.tasks) == 1
        if is_second:
            signal.raise_signal(signal.SIGINT)
            while (Path(share.destination) / share.beacon).exists():
                self.closing.wait(0.01)
        if is_second and self._times > 1:
            signal.raise_signal(signal.SIGINT)
            self.closing.wait(60)
            raise EngineError("the engine was closed")
        return super().call(task)


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_tasks_and_a_second_one_waits_for_none(
    times: int, serving: Serving, command: Command, tmp_path: Path
) -> None:
    server, engine = serving(ROWS), Interrupting(times)
    with distributed(engine):
        done = command("export", tmp_path, *RANGE, *SIZES, server=server)
    engine.closing.set()
    assert done.status == 130
    assert len(engine.tasks) == (2 if times == 1 else 1)
    assert left_behind(tmp_path) == []
    found = ExportDirectory(tmp_path)
    assert len(found.records()) <= sum(outcome.rows for outcome in engine.outcomes)
    assert times > 1 or len(found.records()) > 60
    assert command("export", tmp_path, *RANGE, *SIZES, server=server).status == 0
    ExportDirectory(tmp_path).check(records(ROWS))


def closed(_engine: ThreadEngine, _task: bytes) -> bytes:
    raise EngineClosedError("the engine was closed while there were tasks to run")


def test_an_engine_that_is_closed_is_tried_no_more(serving: Serving, tmp_path: Path) -> None:
    server, engine = serving(ROWS), ThreadEngine(1, faults=dict.fromkeys(range(1, 9), closed))
    with pytest.raises(EngineClosedError, match="the engine was closed while there were tasks to run"):
        blocking.export(spec_for(server, tmp_path), engine=engine)
    assert len(engine.tasks) == 2
    assert blocking.export(spec_for(server, tmp_path)).state == "complete"
    ExportDirectory(tmp_path).check(records(ROWS))


def test_a_call_that_is_cancelled_lets_its_tasks_end(serving: Serving, tmp_path: Path) -> None:
    server, ended = serving(ROWS), threading.Event()

    async def cancel() -> None:
        loop, scope = asyncio.get_running_loop(), anyio.CancelScope()

        def when_under_way(_engine: ThreadEngine, task: bytes) -> bytes:
            share = decode_share(task)
            loop.call_soon_threadsafe(scope.cancel)
            while (Path(share.destination) / share.beacon).exists():
                ended.wait(0.01)
            ended.set()
            return work(task)

        with scope:
            await exporter.export(spec_for(server, tmp_path), engine=ThreadEngine(1, faults={1: when_under_way}))
        assert scope.cancelled_caught

    asyncio.run(cancel())
    assert ended.wait(60)
    assert blocking.export(spec_for(server, tmp_path)).state == "complete"
    ExportDirectory(tmp_path).check(records(ROWS))


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt()], ids=repr)
def test_whatever_an_engine_raises_loses_one_task(error: BaseException, serving: Serving, tmp_path: Path) -> None:
    def fail(_engine: ThreadEngine, _task: bytes) -> bytes:
        raise error

    engine, seen = ThreadEngine(1, faults={1: fail}), Told()
    summary = blocking.export(spec_for(serving(ROWS[:150]), tmp_path), engine=engine, observer=seen)
    assert (summary.state, summary.rows) == ("complete", 150)
    assert [type(error).__name__ in text for text in seen.warnings] == [True]


def test_what_a_task_says_commands_no_terminal(serving: Serving, tmp_path: Path) -> None:
    said = tuple(f"\x1b[2J{number}" for number in range(100))
    seen, engine = Told(), ThreadEngine(1, faults={0: told_otherwise(warnings=said)})
    blocking.export(spec_for(serving(ROWS[:60]), tmp_path), engine=engine, observer=seen)
    assert 0 < len(seen.warnings) <= 20
    assert all(text.isprintable() for text in seen.warnings)


class Silent(ThreadEngine):
    """Never says how many slots it has, as a cluster that is cut off."""

    def __init__(self) -> None:
        super().__init__(1)
        self.ends = threading.Event()

    @property
    def slots(self) -> int:
        self.ends.wait(60)
        return 1

    @slots.setter
    def slots(self, slots: int) -> None:
        pass


def test_a_run_does_not_wait_for_an_engine_that_never_says_its_slots(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution_call, "_SLOTS_SECONDS", 0.01)
    engine = Silent()
    try:
        assert blocking.export(spec_for(serving(ROWS[:150]), tmp_path), engine=engine).state == "complete"
        assert not engine.ends.is_set()
        assert len(engine.tasks) > 1
    finally:
        engine.ends.set()


class Unknown(ThreadEngine):
    """Loses the cluster that knows how many slots there are."""

    @property
    def slots(self) -> int:
        assert threading.current_thread() is not threading.main_thread()
        raise RuntimeError("no cluster")

    @slots.setter
    def slots(self, slots: int) -> None:
        pass


def test_an_engine_that_does_not_say_how_many_slots_it_has_gets_one_task_at_a_time(
    serving: Serving, tmp_path: Path
) -> None:
    engine = Unknown()
    assert blocking.export(spec_for(serving(ROWS[:150]), tmp_path), engine=engine).state == "complete"
    assert len(engine.tasks) > 1


def test_nothing_is_adopted_once_a_commit_has_failed(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted: list[str] = []
    adopt = LocalStore.adopt

    async def note(store: LocalStore, staged: str, path: str) -> None:
        adopted.append(path)
        await adopt(store, staged, path)

    async def fail(_committer: Committer, change: Change, *_: object, **__: object) -> None:
        if change.adds:
            raise StoreError("the disk is full")

    monkeypatch.setattr(LocalStore, "adopt", note)
    monkeypatch.setattr(Committer, "commit", fail)

    def after_the_failure(_engine: ThreadEngine, task: bytes) -> bytes:
        answer, share = work(task), decode_share(task)
        while (Path(share.destination) / share.beacon).exists():
            threading.Event().wait(0.01)
        return answer

    engine = ThreadEngine(faults={0: after_the_failure})
    with pytest.raises(StoreError, match="the disk is full"):
        blocking.export(spec_for(serving(ROWS), tmp_path), engine=engine)
    last = next(outcome for outcome in engine.outcomes if outcome.task == engine.shares[0].task)
    assert last.staged
    assert adopted
    assert not last.staged.keys() & {*adopted}
    assert not list(tmp_path.rglob("*.parquet"))
