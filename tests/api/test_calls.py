"""Exports and syncs are calls inside the caller's loop: these tests say what they leave, and what they leave alone."""

import asyncio
import dataclasses
import signal
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import exporter
from exporter import ExportSpec
from exporter.errors import AccessError, DamagedLogError, UsageError
from exporter.progress import Snapshot
from exporter.sandbox import TOKEN, Behaviour, Row, make_conversations
from exporter.sandbox.clock import system_clock
from tests.api.conftest import Serving, only_this_task
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, UNTIL, records

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

ROWS = make_conversations(400, SINCE, UNTIL, transcripts=False)


def spec_for(url: str, destination: Path, **options: object) -> ExportSpec:
    spec = ExportSpec(
        destination=destination, base_url=url, token=TOKEN, since="2024-01-01", until="2024-03-01", page_size=50
    )
    return dataclasses.replace(spec, page_size=50, **options)  # type: ignore[arg-type]


class Watcher(exporter.Quiet):
    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.events: list[str] = []

    def progress(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def note(self, event: str, /, **details: object) -> None:
        self.events.append(event)


async def test_an_export_and_syncs_after_it(serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS)
    spec = spec_for(server.url, tmp_path / "out")
    watching = Watcher()
    summary = await exporter.export(spec, observer=watching)
    assert (summary.state, summary.rows, summary.exit_status) == ("complete", 400, 0)
    ExportDirectory(tmp_path / "out").check(records(ROWS))
    assert watching.snapshots[-1].rows == 400
    assert watching.snapshots == sorted(watching.snapshots, key=lambda snapshot: snapshot.rows)
    assert "committed" in watching.events

    again = await exporter.export(spec)
    assert (again.changed, again.requests) == (False, 0)

    silently = str(ROWS[9].facts()["id"])
    server.update(silently, ROWS[9].updated_at, summary="another")
    reread = await exporter.reread(spec)
    assert (reread.updated, reread.unchanged, reread.exit_status) == (1, 399, 0)
    ExportDirectory(tmp_path / "out").check(records(server.rows))
    assert (await exporter.reread(spec, withheld=True)).intervals == ()

    identity = str(ROWS[7].facts()["id"])
    server.update(identity, system_clock(), summary="another one")
    synced = await exporter.sync(dataclasses.replace(spec, until=None), keep_generations=1)
    assert (synced.updated, synced.inserted, synced.summary.kept_files) == (1, 0, 1)
    assert ExportDirectory(tmp_path / "out").records()[identity]["summary"] == "another one"


async def test_what_has_no_place_in_a_call_is_refused(tmp_path: Path) -> None:
    for spec, complaint in (
        (ExportSpec(token=TOKEN), "no destination"),
        (ExportSpec(token=TOKEN, destination=tmp_path, until="2024-03-01"), "leave until"),
    ):
        with pytest.raises(UsageError, match=complaint):
            await exporter.sync(spec)
    with pytest.raises(UsageError, match="keep_generations -1"):
        await exporter.sync(ExportSpec(token=TOKEN, destination=tmp_path), keep_generations=-1)
    with pytest.raises(UsageError, match="keep_generations: must be a whole number, not str"):
        await exporter.sync(ExportSpec(token=TOKEN, destination=tmp_path), keep_generations="2")  # type: ignore[arg-type]
    spec = ExportSpec(token=TOKEN, destination=tmp_path)
    untyped: Any = exporter
    wrong: tuple[tuple[Any, str], ...] = (
        (partial(untyped.sync, spec, refilter="yes"), "refilter: must be True or False, not str"),
        (partial(untyped.audit, spec, sample=10), "sample: must be a text, not int"),
        (partial(untyped.verify, None), "destination: must be a text or a path, not NoneType"),
        (partial(untyped.schema, 7), "of: must be ExportSpec, a text or a path, not int"),
        (partial(untyped.vacuum, tmp_path, older_than=1.5), "older_than: must be a text, a whole number or"),
        (partial(untyped.accept, tmp_path, note=7), "note: must be a text, not int"),
        (partial(untyped.status, tmp_path, check="yes"), "check: must be True or False, not str"),
        (partial(untyped.status, tmp_path, max_age=1.5), "max_age: must be a text, a whole number or"),
        (partial(exporter.status, tmp_path, max_age="yesterday"), "max_age 'yesterday': must be an age, such as 36h"),
    )
    for call, complaint in wrong:
        with pytest.raises(UsageError, match=f"^{complaint}"):
            await call()
    observers: tuple[Any, ...] = (print, Watcher, object())
    for observer in observers:
        with pytest.raises(UsageError, match="observer: must be an object with the methods progress, note, warn"):
            await exporter.export(spec, observer=observer)
        with pytest.raises(UsageError, match="observer: must be an object"):
            exporter.stream(spec, observer=observer)
    calls: tuple[Any, ...] = (exporter.export, exporter.sync, exporter.reread, exporter.stream)
    for call in calls:
        with pytest.raises(UsageError, match="spec: must be ExportSpec, not str"):
            await call(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


async def test_a_status_has_the_exit_status_of_a_check(serving: Serving, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await exporter.export(spec_for(serving(ROWS).url, out))
    for age in (None, "36500d", 3_000_000_000, timedelta(days=36_500)):
        for check in (False, True):
            found = await exporter.status(out, check=check, max_age=age)
            assert (found.exit_status, found.reason) == (0, "")
    for age in ("0s", 0, timedelta(0)):
        late = await exporter.status(out, max_age=age)
        assert late.exit_status == 1
        assert late.reason.startswith("too old: it may lack what has changed since ")
    (last,) = (out / "_exporter/commits").glob(f"{ExportDirectory(out).manifest['generation']:08}.json")
    last.unlink()
    assert (await exporter.status(out)).exit_status == 1
    for options in ({"check": True}, {"max_age": "36500d"}):
        with pytest.raises(DamagedLogError, match="missing: the manifest rests on"):
            await exporter.status(out, **options)


async def test_what_is_wrong_with_an_export_is_told_by_keywords(serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS)
    spec = spec_for(server.url, tmp_path / "out", status="completed")
    await exporter.export(spec)
    changing = dataclasses.replace(spec, until=None)
    wrong: tuple[tuple[Any, str], ...] = (
        (partial(exporter.sync, changing), "Give refilter to drop what the filters no longer match"),
        (partial(exporter.reread, dataclasses.replace(spec, since="2030", until="2031")), "again: .* ends at "),
        (partial(exporter.accept, tmp_path / "out", note="two\nlines"), "note: must be one line"),
    )
    for call, complaint in wrong:
        with pytest.raises(UsageError, match=complaint) as raised:
            await call()
        assert "--" not in str(raised.value)
    undated = serving(ROWS, Behaviour(date="absent")).url
    stream = exporter.stream(dataclasses.replace(spec, trust_clock="server", base_url=undated))
    with pytest.raises(UsageError, match=r"^trust_clock server: the API's answers have no usable Date header"):
        await anext(stream)


async def test_what_is_in_doubt_is_accepted(serving: Serving, tmp_path: Path) -> None:
    odd = Row(SINCE, raw='{"id":"odd","created_at":"2024-01-01T00:00:00Z","duration":1.5}')
    spec = spec_for(serving([*ROWS, odd]).url, tmp_path)
    assert (await exporter.export(spec)).exit_status == 3
    would = await exporter.accept(tmp_path, dry_run=True)
    (doubt,) = would.doubts
    assert (would.number, doubt.kind, doubt.rows, would.accepted) == (1, "quarantine", 1, ())
    before = datetime.now(UTC)
    done = await exporter.accept(tmp_path, note="seen")
    (accepted,) = done.accepted
    assert before <= accepted.at <= datetime.now(UTC)
    assert (accepted.note, accepted.doubts) == ("seen", done.doubts)
    assert (await exporter.status(tmp_path, check=True)).acceptances == done.accepted
    assert (await exporter.export(spec)).exit_status == 0


async def test_errors_are_those_of_the_command_line(serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS, Behaviour(revoked_after=6))
    with pytest.raises(AccessError) as raised:
        await exporter.export(spec_for(server.url, tmp_path / "out"))
    assert isinstance(raised.value, exporter.ExporterError)
    assert "run again with a token that is let in to resume" in str(raised.value)
    assert TOKEN not in str(raised.value)


async def test_what_an_observer_raises_ends_the_call_and_what_was_committed_stays(
    serving: Serving, tmp_path: Path
) -> None:
    class Impatient(exporter.Quiet):
        def progress(self, snapshot: Snapshot) -> None:
            if snapshot.rows > 100:
                raise LookupError("enough")

    server = serving(ROWS)
    spec = spec_for(server.url, tmp_path / "out")
    with pytest.raises(LookupError, match="enough"):
        await exporter.export(spec, observer=Impatient())
    assert only_this_task()
    # It was told during the export, and not only at the end.
    assert not (tmp_path / "out/_SUCCESS").exists()
    summary = await exporter.export(spec)
    assert (summary.state, summary.resumed) == ("complete", True)
    ExportDirectory(tmp_path / "out").check(records(ROWS))


@pytest.mark.parametrize("by_scope", [True, False])
async def test_a_call_can_be_cancelled_and_gone_on_with(by_scope: bool, serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS, Behaviour(latency=0.01))
    spec = spec_for(server.url, tmp_path / "out", concurrency=2)
    under_way = anyio.Event()

    class Signalling(exporter.Quiet):
        def progress(self, snapshot: Snapshot) -> None:
            if snapshot.files > 2:
                under_way.set()

    if by_scope:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: exporter.export(spec, observer=Signalling()))
            await under_way.wait()
            group.cancel_scope.cancel()
    else:
        task = asyncio.create_task(exporter.export(spec, observer=Signalling()))
        await under_way.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert only_this_task()
    server.behaviour = Behaviour()
    # The lock is free at once, in this very process.
    summary = await exporter.export(spec)
    assert (summary.state, summary.resumed) == ("complete", True)
    ExportDirectory(tmp_path / "out").check(records(ROWS))


async def test_two_calls_at_once_leave_signals_alone(serving: Serving, tmp_path: Path) -> None:
    assert threading.current_thread() is threading.main_thread()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = serving(ROWS)
    during: set[object] = set()

    class Looking(exporter.Quiet):
        def progress(self, snapshot: Snapshot) -> None:
            during.update(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))

    specs = [spec_for(server.url, tmp_path / name) for name in ("one", "other")]
    summaries = await asyncio.gather(*(exporter.export(spec, observer=Looking()) for spec in specs))
    assert [summary.rows for summary in summaries] == [400, 400]
    assert during == set(before)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_one_destination_takes_one_call_at_a_time(serving: Serving, tmp_path: Path) -> None:
    spec = spec_for(serving(ROWS).url, tmp_path / "out")
    results = await asyncio.gather(*(exporter.export(spec) for _ in range(2)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["DestinationLockedError", "Summary"]
