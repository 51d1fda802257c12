"""Tests the whole pipeline on a modelled server and a real disk: whatever ends a run, the next one makes it exact."""

import errno
import os
import random
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.contract import BEGINNING, DAY, HIDDEN_STATUS, HOUR, SECOND, parse_timestamp
from exporter.coverage import Interval
from exporter.errors import (
    AccessError,
    ContradictionError,
    ExporterError,
    InterruptedExportError,
    OvertakenError,
    StoreError,
    ThrottledError,
    TooLargeError,
    UnusableAnswerError,
)
from exporter.fetch.pace.retry import RetryPolicy
from exporter.fetch.wire.answer import Answer
from exporter.layout import commit_path
from exporter.log.commits import CommitLog
from exporter.log.state import Author, state_name
from exporter.model import Change, PageRequest
from exporter.parts import writer
from exporter.pipeline import attempts
from exporter.pipeline.memory import Shares
from exporter.pipeline.pipeline import Pipeline
from exporter.progress import Quiet, Snapshot
from exporter.store.base import Content
from exporter.store.disk import reporting
from exporter.store.local.store import LocalStore
from tests.fetch.walk.server_model import Behaviour, ServerModel, StoredRow
from tests.pipeline.harness import Clock, Destination, ModelSource, check_exact
from tests.toolkit.limiter import Bucket
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.usefixtures("hasty")

T0 = 1_770_000_000 * SECOND // DAY * DAY
RANGE = Interval(T0 - DAY, T0 + 3 * DAY)
#: Nothing here takes a second; code that waits forever by mistake should fail a test, not hang it.
PATIENCE_SECONDS = 120

some = settings(max_examples=size_of(4, 10), deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def servers(draw: st.DrawFn) -> ServerModel:
    """Draws rows in three days, in bursts and groups, on a server with some quirks."""
    behaviour = Behaviour(
        cursor=draw(st.sampled_from(["strict", "inclusive"])),
        precision=draw(st.sampled_from([1, 1000, SECOND])),
        rounding=draw(st.sampled_from(["cut", "half_up", "half_even"])),
        page_cap=draw(st.sampled_from([3, 7, 1000])),
        bytes_cap=draw(st.sampled_from([None, None, 1000])),
        hides=draw(st.sampled_from([None, None, HIDDEN_STATUS])),
    )
    rows: list[StoredRow] = []
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 6))):
        start, spread = chance.randrange(3 * DAY), chance.choice([0, 0, 1000, SECOND, HOUR, DAY])
        for _ in range(chance.choice([1, 2, 5, 9, 30])):
            at = T0 + start + (chance.randrange(spread) if spread else 0)
            updated_at = at + chance.choice([0, 5]) * len(rows)
            status = chance.choice(["completed", "completed", HIDDEN_STATUS])
            rows.append(StoredRow(f"c{len(rows)}", at, updated_at, chance.choice([60, 100]), status=status))
    return ServerModel(rows, behaviour, seed=draw(st.integers(0, 99)))


def shares_for(page: int, largest_page: int) -> Shares:
    """Returns room for just one page of the largest size."""
    shares = Shares(page, largest_page, 0, 1 << 24)
    return replace(shares, in_flight=shares.cost(1, largest_page))


@contextmanager
def workspace() -> Iterator[Path]:
    """Yields a directory of an example's own."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "export"


async def finish(destination: Destination, server: ServerModel) -> None:
    """Runs to the end, and checks that the export has what the server has."""
    destination.make_store = LocalStore
    with anyio.fail_after(PATIENCE_SECONDS):
        await destination.run(ModelSource(server))
    state = await destination.load()
    assert not state.left
    check_exact(destination, server)
    on_disk = {path.relative_to(destination.root).as_posix() for path in destination.root.rglob("*.parquet")}
    assert on_disk == set(state.files)
    assert not list((destination.root / "_exporter/staging").iterdir())


async def run_into(destination: Destination, source: ModelSource, *kinds: type[ExporterError]) -> bool:
    """Runs, and returns whether that ended with an error of these kinds."""
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            await destination.run(source)
    except kinds:
        return True
    return False


def destination_of(root: Path, server: ServerModel, options: dict[str, Any]) -> Destination:
    """Draws what a run believes: it knows of a status that the server hides, and may suspect one that it does not."""
    if server.behaviour.hides:
        options = {**options, "hidden_status": server.behaviour.hides}
    return Destination(root, RANGE, **options)


@st.composite
def destinations(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "hidden_status": draw(st.sampled_from([None, None, HIDDEN_STATUS])),
        "partition_by": draw(st.sampled_from(["day", "hour", "none"])),
        "page_size": draw(st.sampled_from([2, 5, 1000])),
        "concurrency": draw(st.sampled_from([1, 3, 8])),
        "target_part_bytes": draw(st.sampled_from([1, 4_000, 1 << 30])),
        "together_seconds": draw(st.sampled_from([0.0, 0.05, inf])),
        # A dozen rows a page, or as many as there are. With fewer, nothing is proven without thousands of requests.
        "shares": draw(st.sampled_from([shares_for(4_000, 6_000), Shares.of(1 << 29, 8)])),
    }


@some
@given(servers(), destinations())
def test_every_row_is_committed_once(server: ServerModel, options: dict[str, Any]) -> None:
    with workspace() as root:
        anyio.run(finish, destination_of(root, server, options), server)


@some
@given(servers(), destinations(), st.lists(st.integers(1, 25), max_size=4))
def test_a_run_that_is_stopped_at_any_page_is_resumed_exactly(
    server: ServerModel, options: dict[str, Any], stops: list[int]
) -> None:
    async def main(root: Path) -> None:
        destination = destination_of(root, server, options)
        for stop in stops:
            pipelines: list[Pipeline] = []

            def interrupt(number: int, stop: int = stop, pipelines: list[Pipeline] = pipelines) -> None:
                if number == stop:
                    pipelines[0].stop(InterruptedExportError("interrupted"))

            with anyio.fail_after(PATIENCE_SECONDS):
                try:
                    await destination.run(ModelSource(server, interrupt), pipelines.append)
                except InterruptedExportError:
                    assert pipelines[0].spent.requests >= stop
            await destination.load()
            check_exact(destination, server)
        await finish(destination, server)

    with workspace() as root:
        anyio.run(main, root)


@some
@given(servers(), destinations(), st.lists(st.integers(1, 25), min_size=1, max_size=4))
def test_runs_that_are_finished_early_get_on_and_read_everything_together(
    server: ServerModel, options: dict[str, Any], finishes: list[int]
) -> None:
    async def main(root: Path) -> None:
        destination = destination_of(root, server, options)
        for early in [*finishes, *[1] * 2000]:
            pipelines: list[Pipeline] = []

            def finish_early(number: int, early: int = early, pipelines: list[Pipeline] = pipelines) -> None:
                if number == early:
                    pipelines[0].finish()

            left = (await destination.load()).left.length
            with anyio.fail_after(PATIENCE_SECONDS):
                await destination.run(ModelSource(server, finish_early), pipelines.append)
            state = await destination.load()
            check_exact(destination, server)
            if not state.left:
                return
            # The first run has no range yet to be left.
            assert not left or state.left.length < left
        raise AssertionError("never done")

    with workspace() as root:
        anyio.run(main, root)


@some
@given(servers(), destinations(), st.lists(st.integers(1, 25), max_size=3))
def test_a_source_that_fails_for_good_leaves_what_can_be_resumed(
    server: ServerModel, options: dict[str, Any], failures: list[int]
) -> None:
    async def main(root: Path) -> None:
        destination = destination_of(root, server, options)
        for failure in failures:

            def refuse(number: int, failure: int = failure) -> None:
                if number >= failure:
                    raise AccessError("the token was revoked")

            if await run_into(destination, ModelSource(server, refuse), AccessError):
                assert state_name(await destination.load()) == "incomplete"
                check_exact(destination, server)
        await finish(destination, server)

    with workspace() as root:
        anyio.run(main, root)


class Disk:
    """Is a disk with room for `writes` writes; then it is full, either before or after a write is done."""

    def __init__(self, writes: int, *, after: bool) -> None:
        self.left = writes
        self.after = after

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullStore(LocalStore):
    """Returns a store on such a disk."""

    def __init__(self, root: Path, disk: Disk) -> None:
        super().__init__(root)
        self.disk = disk

    async def create(self, path: str, data: bytes) -> bool:
        with reporting(self.root / path), self.disk.writing():
            return await super().create(path, data)
        raise AssertionError

    async def replace(self, path: str, data: Content) -> None:
        with reporting(self.root / path), self.disk.writing():
            await super().replace(path, data)

    async def publish(self, staged: Path, path: str) -> None:
        with reporting(self.root / path), self.disk.writing():
            await super().publish(staged, path)


@some
@given(servers(), destinations(), st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=3))
def test_a_disk_that_is_full_at_any_write_leaves_what_can_be_resumed(
    server: ServerModel, options: dict[str, Any], disks: list[tuple[int, bool]]
) -> None:
    write = writer.HashingFile.write

    async def main(root: Path) -> None:
        destination = destination_of(root, server, options)
        for writes, after in disks:
            disk = Disk(writes, after=after)

            def write_to_disk(self: Any, data: Any, disk: Disk = disk) -> int:
                with disk.writing():
                    return write(self, data)
                raise AssertionError

            destination.make_store = lambda root, disk=disk: FullStore(root, disk)  # type: ignore[misc]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(writer.HashingFile, "write", write_to_disk)
                await run_into(destination, ModelSource(server), StoreError)
            await destination.load()
            check_exact(destination, server)
        await finish(destination, server)

    with workspace() as root:
        anyio.run(main, root)


# One case at a time.


def rows_over_three_days(count: int) -> list[StoredRow]:
    return [StoredRow(f"c{number}", T0 + number * 3 * DAY // count, T0) for number in range(count)]


@pytest.mark.anyio
async def test_a_walk_that_waits_for_room_is_also_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page takes all the room; when the run is stopped, the other walks still wait for it."""
    server = ServerModel(rows_over_three_days(200), Behaviour())
    destination = Destination(
        tmp_path / "export", RANGE, page_size=10, concurrency=8, shares=shares_for(27_000, 27_000)
    )
    pipelines: list[Pipeline] = []
    source = ModelSource(server)
    answer = source.get_page

    async def get_page(request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        if len(source.requests) >= 12:
            await anyio.wait_all_tasks_blocked()
            pipelines[0].stop(InterruptedExportError("interrupted"))
        return await answer(request, fits)

    monkeypatch.setattr(source, "get_page", get_page)
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(InterruptedExportError):
        await destination.run(source, pipelines.append)
    await finish(destination, server)


@pytest.mark.anyio
async def test_a_run_that_is_finished_uses_what_it_has_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ServerModel(rows_over_three_days(400), Behaviour())
    destination = Destination(tmp_path / "export", RANGE, page_size=10, concurrency=4)
    pipelines: list[Pipeline] = []
    source = ModelSource(server)
    answer, come = source.get_page, anyio.Event()

    async def get_page(request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        got = await answer(request, fits)
        if len(source.requests) == 20:
            # All workers have asked, or wait.
            await anyio.wait_all_tasks_blocked()
            pipelines[0].finish()
            come.set()
        elif len(source.requests) > 16:
            await come.wait()
        return got

    monkeypatch.setattr(source, "get_page", get_page)
    with anyio.fail_after(PATIENCE_SECONDS):
        await destination.run(source, pipelines.append)
    counted = pipelines[0].spent
    assert counted.pages == counted.requests == len(source.requests)
    assert (await destination.load()).left
    await finish(destination, server)


@pytest.mark.anyio
async def test_a_run_says_where_it_stands_though_nothing_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ServerModel(rows_over_three_days(50), Behaviour())
    source, seen, enough = ModelSource(server), list[Snapshot](), anyio.Event()
    answer = source.get_page

    class Watcher(Quiet):
        def progress(self, snapshot: Snapshot) -> None:
            if len(source.requests) == 4 and snapshot.in_flight:
                seen.append(snapshot)
                if len(seen) == 3:
                    enough.set()

    async def get_page(request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        answered = await answer(request, fits)
        if len(source.requests) == 4:
            await enough.wait()
        return answered

    monkeypatch.setattr(source, "get_page", get_page)
    destination = Destination(
        tmp_path / "export", RANGE, page_size=5, concurrency=1, observer=Watcher(), report_seconds=0.001
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        await destination.run(source)
    assert [snapshot.rows for snapshot in seen[:3]] == [seen[0].rows] * 3
    assert seen[0].seconds < seen[1].seconds < seen[2].seconds


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_at_the_page_it_is_at(tmp_path: Path, number: signal.Signals) -> None:
    server = ServerModel(rows_over_three_days(100), Behaviour())
    destination = Destination(tmp_path / "export", RANGE, page_size=5)

    async def main() -> None:
        source = ModelSource(server, lambda count: os.kill(os.getpid(), number) if count == 8 else None)
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(InterruptedExportError, match="resume"):
            await destination.run(source)
        state = await destination.load()
        assert state_name(state) == "incomplete"
        assert state.files
        await finish(destination, server)

    anyio.run(main)


@pytest.mark.anyio
async def test_a_server_that_contradicts_itself_ends_the_run_and_says_where(tmp_path: Path) -> None:
    server = ServerModel(rows_over_three_days(50), Behaviour())
    destination = Destination(tmp_path / "export", RANGE, page_size=5, concurrency=2)

    def confuse(number: int) -> None:
        if number == 6:
            server.behaviour = Behaviour(ignores=frozenset({"cursor", "created_before"}))

    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(ContradictionError) as raised:
        await destination.run(ModelSource(server, confuse))
    assert "ignores cursor and created_before" in str(raised.value)
    assert "(reading 2026-02-0" in str(raised.value)
    assert "another run will end here too" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2
    server.behaviour = Behaviour()
    await finish(destination, server)


@pytest.mark.anyio
@pytest.mark.parametrize("hours", [-1, 0, 23, 24, 25])
@pytest.mark.parametrize("range_", [Interval(T0, T0 + DAY), Interval(BEGINNING, T0 + DAY)])
async def test_a_row_that_is_too_large_lies_where_the_error_says(tmp_path: Path, hours: int, range_: Interval) -> None:
    huge = T0 + hours * HOUR
    server = ServerModel([StoredRow("huge", huge, size=20_000), StoredRow("small", T0 + 12 * HOUR)], Behaviour())
    destination = Destination(tmp_path, range_, shares=shares_for(4000, 8000), concurrency=2)
    if huge in range_:
        with pytest.raises(TooLargeError, match="reading"):
            await destination.run(ModelSource(server))
    try:
        await destination.run(ModelSource(server))
    except TooLargeError as error:
        named = re.search(r"\(reading (.+) to (.+)\)", str(error))
        assert named is not None
        since = BEGINNING if named[1] == "the beginning" else parse_timestamp(named[1])
        assert since <= huge < parse_timestamp(named[2])


@pytest.mark.anyio
async def test_another_run_that_commits_in_between_ends_this_one(tmp_path: Path) -> None:
    server = ServerModel(rows_over_three_days(100), Behaviour())
    destination = Destination(tmp_path / "export", RANGE, page_size=5)
    covered = Interval(RANGE.start, T0)

    class Overtaken(LocalStore):
        async def create(self, path: str, data: bytes) -> bool:
            if path == commit_path(2):
                other = CommitLog(LocalStore(self.root), Author(run="other", host="host", pid=2))
                await other.load()
                await other.append(committed_at=1, change=Change(covers=(covered,)))
            return await super().create(path, data)

    destination.make_store = Overtaken
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(OvertakenError):
        await destination.run(ModelSource(server))
    state = await destination.load()
    assert (state.number, list(state.coverage), dict(state.files)) == (2, [covered], {})
    await finish(destination, server)


@pytest.mark.anyio
async def test_rows_that_fit_nowhere_are_quarantined_once(tmp_path: Path) -> None:
    server = ServerModel(rows_over_three_days(60), Behaviour(page_cap=7))
    destination = Destination(tmp_path / "export", RANGE, page_size=5, partition_by="hour")
    source = ModelSource(server)
    source.odd = frozenset(f"c{number}" for number in (0, 1, 2, 17, 30, 31, 59))
    with anyio.fail_after(PATIENCE_SECONDS):
        await destination.run(source)
    state = await destination.load()
    assert state_name(state) == "unproven"
    assert sorted(destination.quarantined()) == sorted(source.odd)
    assert sorted(row for row, _ in destination.rows()) == sorted({row.id for row in server.rows} - source.odd)


@pytest.mark.anyio
async def test_every_page_is_reported_and_the_last_report_is_all(tmp_path: Path) -> None:
    class Watcher(Quiet):
        def __init__(self) -> None:
            self.snapshots: list[Snapshot] = []

        def progress(self, snapshot: Snapshot) -> None:
            self.snapshots.append(snapshot)

    server = ServerModel(rows_over_three_days(100), Behaviour())
    observer = Watcher()
    destination = Destination(
        tmp_path / "export", RANGE, page_size=5, observer=observer, report_seconds=PATIENCE_SECONDS
    )
    pipeline = await destination.run(ModelSource(server))
    state = await destination.load()
    shares = [snapshot.share for snapshot in observer.snapshots]
    assert shares == sorted(shares)
    assert (shares[-1], observer.snapshots[-1].rows) == (1.0, 100)
    assert len(shares) == pipeline.spent.pages == state.counters.pages
    assert pipeline.spent.windows == state.counters.windows


@pytest.mark.anyio
async def test_a_mistake_in_the_code_does_not_hang_the_run(tmp_path: Path) -> None:
    def mistake(number: int) -> None:
        if number == 9:
            raise ZeroDivisionError

    server = ServerModel(rows_over_three_days(100), Behaviour())
    destination = Destination(tmp_path / "export", RANGE, page_size=5)
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(BaseExceptionGroup):
        await destination.run(ModelSource(server, mistake))
    await finish(destination, server)


@pytest.mark.anyio
async def test_faults_in_between_are_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "RetryPolicy", lambda: RetryPolicy(base_seconds=0.0))

    def fail(number: int) -> None:
        if number % 3 == 2:
            raise UnusableAnswerError("cut short")

    server = ServerModel(rows_over_three_days(60), Behaviour())
    destination = Destination(tmp_path / "export", RANGE, page_size=5)
    pipeline = await destination.run(ModelSource(server, fail))
    assert pipeline.spent.retries > 10
    await destination.load()
    check_exact(destination, server)


class TimedSource(ModelSource):
    """Is a source on a clock of its own: each answer takes 10 ms, and some are refusals."""

    def __init__(self, server: ServerModel, clock: Clock, limit: Bucket | None) -> None:
        super().__init__(server)
        self.clock, self.limit = clock, limit

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        self.clock.now += 0.01
        if self.limit is not None and not self.limit.take(self.clock.now):
            raise ThrottledError("429", self.limit.hint(self.clock.now))
        return await super().get_page(request, fits)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("max_rps", "learned_rps", "fewest", "most"), [(2.0, None, 1, 1), (None, 2, 1, 16), (None, None, 24, 100)]
)
async def test_a_slow_source_is_read_in_few_windows_and_a_fast_one_in_many(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    max_rps: float | None,
    learned_rps: int | None,
    fewest: int,
    most: int,
) -> None:
    clock = Clock()
    clock.take_over(monkeypatch)
    server = ServerModel(rows_over_three_days(600), Behaviour())
    destination = Destination(
        tmp_path / "export",
        RANGE,
        partition_by="none",
        page_size=5,
        concurrency=32,
        max_rps=max_rps,
        reader_clock=clock,
    )
    limit = None if learned_rps is None else Bucket(lambda _: learned_rps, 5, "whole")
    pipeline = await destination.run(TimedSource(server, clock, limit))
    assert fewest <= pipeline.spent.windows <= most
    await destination.load()
    assert fewest <= len(destination.state.files) <= most
    check_exact(destination, server)


@pytest.mark.anyio
async def test_what_a_list_hides_is_read_beside_it(tmp_path: Path) -> None:
    """This also holds when such runs are stopped in between."""
    visible = [StoredRow(f"c{number}", T0 + number * HOUR, T0) for number in range(60)]
    hidden = [StoredRow(f"h{number}", T0 + number * HOUR + 7, T0, status=HIDDEN_STATUS) for number in range(40)]
    server = ServerModel(visible + hidden, Behaviour(hides=HIDDEN_STATUS))
    destination = Destination(tmp_path / "export", RANGE, page_size=5, hidden_status=HIDDEN_STATUS)
    for stop in (5, 13, 20):

        def refuse(number: int, stop: int = stop) -> None:
            if number >= stop:
                raise AccessError("the token was revoked")

        assert await run_into(destination, ModelSource(server, refuse), AccessError)
        await destination.load()
        check_exact(destination, server)
    await finish(destination, server)
