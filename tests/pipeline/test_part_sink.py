"""Tests how a window's rows become parts: what is closed can be committed, and no row is lost or stored twice."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, HOUR, SECOND, Instant, format_instant
from exporter.coverage import Coverage, Interval
from exporter.encode.decode import Decoder
from exporter.encode.rows import EncodeRow
from exporter.encode.tables import Tables
from exporter.errors import ContradictionError, StoreError
from exporter.fetch.walk.window import Settled
from exporter.log.commits import CommitLog
from exporter.log.state import Author
from exporter.model import Change, Rows, Unproven
from exporter.parts.writer import PartWriter
from exporter.pipeline.part_sink import PartSink, WindowWriter
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.role import Guard
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import MISFIT_BYTES
from exporter.settings import PartitionBy, Request
from exporter.store.local.store import LocalStore
from tests.pipeline.harness import SERVED_AT, Clock, Destination
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.anyio

T0 = 1_770_000_000 * SECOND // DAY * DAY


def rows_at(times: Sequence[Instant], misfits: Sequence[bool] = (), prefix: str = "c") -> Rows[EncodeRow]:
    odd = list(misfits) or [False] * len(times)
    documents = [
        {
            "id": f"{prefix}{number}",
            "created_at": format_instant(time),
            "status": 7 if odd[number] else "completed",
            "summary": "x" * 50,
        }
        for number, time in enumerate(times)
    ]
    return Decoder(None).decode(json.dumps(documents).encode()).page.rows


def sink_at(
    root: Path,
    clock: Clock,
    *,
    partition_by: PartitionBy = "day",
    target_part_bytes: int = 1 << 30,
    misfit_bytes: int = MISFIT_BYTES,
) -> PartSink:
    stage = PartStage(
        LocalStore(root),
        Tables.of(Request(partition_by=partition_by)),
        "r1",
        target_part_bytes=target_part_bytes,
        row_group_bytes=1 << 24,
        clock=clock,
    )
    return PartSink(stage, Guard(), misfit_bytes=misfit_bytes)


def window(sink: PartSink, end: Instant) -> WindowWriter:
    return sink.open_window(end, Scan(range=Interval(BEGINNING, end)))


@pytest.fixture
async def root(tmp_path: Path) -> Path:
    await LocalStore(tmp_path).prepare()
    return tmp_path


@dataclass(frozen=True)
class Step:
    """Is what one page settles: rows at `times`, which descend; the walk is then at `settled_from`."""

    times: list[Instant]
    misfits: list[bool]
    settled_from: Instant
    doubted: bool
    seconds: float


@st.composite
def streams(draw: st.DrawFn) -> tuple[Interval, list[Step]]:
    """Draws a window, and pages that settle it down to anywhere."""
    edge = st.sampled_from([0, 1, HOUR - 1, HOUR, DAY - 1, DAY, DAY + 1, 2 * DAY, 31 * DAY])
    instants = st.one_of(st.integers(0, 3 * DAY), edge).map(lambda offset: T0 + offset)
    cuts = sorted(draw(st.lists(instants, min_size=2, max_size=8, unique=True)), reverse=True)
    steps = []
    for top, bottom in pairwise(cuts):
        inside = st.one_of(st.integers(bottom, top - 1), st.sampled_from([bottom, top - 1]))
        times = sorted(draw(st.lists(inside, max_size=6)), reverse=True)
        misfits = draw(st.lists(st.integers(0, 4).map(lambda one: one == 0), min_size=len(times), max_size=len(times)))
        seconds = draw(st.sampled_from([0.0, 1.0, 59.0, 61.0]))
        steps.append(Step(times, misfits, bottom, bool(times) and draw(st.booleans()), seconds))
    open_below = draw(st.booleans())
    return Interval(BEGINNING if open_below else cuts[-1], cuts[0]), steps


@settings(max_examples=size_of(15, 30), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    streams(),
    st.sampled_from(["day", "hour", "month", "none"]),
    st.sampled_from([1, 9_000, 1 << 30]),
    st.sampled_from([1, 500, 1 << 30]),
)
# The doubt lies below the part that is closed first, and is committed with it.
@example((Interval(T0, T0 + DAY + 1), [Step([T0 + DAY, T0], [False, True], T0, True, 0.0)]), "day", 1, 1)
def test_whatever_a_window_settles_is_committed_once_in_its_place(
    stream: tuple[Interval, list[Step]], partition_by: PartitionBy, target: int, misfit_bytes: int
) -> None:
    whole, steps = stream

    async def main(root: Path) -> None:
        destination = Destination(root, whole, partition_by=partition_by)
        await LocalStore(root).prepare()
        log = CommitLog(LocalStore(root), Author(run="r1", host="host", pid=1))
        await log.append(committed_at=SERVED_AT, kind="begin", request=Request(partition_by=partition_by), range=whole)
        clock = Clock()
        sink = sink_at(root, clock, partition_by=partition_by, target_part_bytes=target, misfit_bytes=misfit_bytes)
        writer = window(sink, whole.end)
        fitting: list[tuple[str, Instant]] = []
        odd: list[tuple[str, Instant]] = []
        doubts: list[Unproven] = []
        reads: list[Instant] = []
        settled_from = whole.end

        async def commit(change: Change) -> None:
            # Only doubts go before the part that covers them.
            assert len(change.covers) == 1 or (not change.covers and not change.files and change.unproven)
            for covered in change.covers:
                assert covered.end == log.state.left.intervals[-1].end
            before = destination.quarantined_times()
            await log.append(committed_at=SERVED_AT, change=change)
            await destination.load()
            assert sorted(log.state.unproven, key=str) == sorted(doubts, key=str)
            fresh = destination.quarantined_times() - before
            assert all(any(time in covered for covered in change.covers) for time in fresh)

        for number, step in enumerate(steps):
            clock.now += step.seconds
            rows = rows_at(step.times, step.misfits, f"s{number}-")
            doubt = (Unproven(step.times[-1], 1, str(number)),) if step.doubted else ()
            doubts += doubt
            for row, time, misfit in zip(rows.rows, step.times, step.misfits, strict=True):
                (odd if misfit else fitting).append((row.id, time))
            settled_from = step.settled_from
            reads.append(SERVED_AT + (number * 7) % 5)
            change = await writer.add(Settled(rows, doubt), settled_from, reads[-1])
            if change is not None:
                assert all(covered.start >= settled_from for covered in change.covers)
                # Rows that were held back may have come on an earlier page.
                assert change.read_since == min(reads)
                await commit(change)
        change = await writer.finish(settled_from)
        if change is not None:
            await commit(change)
        writer.abort()
        state = await destination.load()
        assert state.coverage == Coverage([Interval(settled_from, whole.end)] if settled_from < whole.end else [])
        assert sorted(destination.rows()) == sorted(fitting)
        assert sorted(destination.quarantined()) == sorted(name for name, _ in odd)
        assert sorted(state.unproven, key=str) == sorted(doubts, key=str)
        assert not list((root / "_exporter/staging").iterdir())

    with tempfile.TemporaryDirectory() as directory:
        anyio.run(main, Path(directory))


async def test_a_part_is_closed_a_minute_after_it_was_opened(root: Path) -> None:
    clock = Clock()
    writer = window(sink_at(root, clock), T0 + DAY)
    hours = [T0 + hour * HOUR for hour in (20, 16, 12, 8)]
    assert writer.seconds_left == inf
    assert await writer.add(Settled(rows_at(hours[:1])), hours[0], SERVED_AT) is None
    clock.now = 59.0
    assert await writer.add(Settled(rows_at(hours[1:3])), hours[2], SERVED_AT) is None
    assert writer.seconds_left == 1
    clock.now = 61.0
    assert writer.seconds_left == 0
    change = await writer.finish(hours[2])
    assert change is not None
    assert writer.seconds_left == inf
    assert change.covers == (Interval(hours[2], T0 + DAY),)
    assert [file.rows for file in change.adds] == [3]
    # The next part has a minute of its own.
    assert await writer.add(Settled(rows_at(hours[3:])), hours[3], SERVED_AT) is None
    assert writer.seconds_left == 60
    writer.abort()


async def test_a_part_is_closed_at_its_size(root: Path) -> None:
    writer = window(sink_at(root, Clock(), target_part_bytes=20_000), T0 + DAY)
    changes = []
    for hour in range(23, 0, -1):
        rows = rows_at([T0 + hour * HOUR + second * SECOND for second in range(40, 0, -1)], prefix=f"h{hour}-")
        changes.append(await writer.add(Settled(rows), T0 + hour * HOUR, SERVED_AT))
    assert changes[0] is None
    made = [change for change in changes if change is not None]
    assert len(made) >= 2
    assert all(len(change.adds) == 1 and change.adds[0].rows >= 80 for change in made)
    writer.abort()


async def test_a_part_is_closed_when_the_walk_has_left_its_partition(root: Path) -> None:
    writer = window(sink_at(root, Clock()), T0 + 2 * DAY)
    change = await writer.add(Settled(rows_at([T0 + DAY + HOUR])), T0 + DAY + HOUR, SERVED_AT)
    assert change is None
    change = await writer.add(Settled(rows_at([T0 + DAY])), T0 + DAY, SERVED_AT)
    assert change is not None
    assert change.covers == (Interval(T0 + DAY, T0 + 2 * DAY),)


async def test_a_page_over_three_partitions_closes_two(root: Path) -> None:
    writer = window(sink_at(root, Clock(), partition_by="hour"), T0 + DAY)
    times = [T0 + 9 * HOUR, T0 + 8 * HOUR + 5, T0 + 3 * HOUR + 7]
    change = await writer.add(Settled(rows_at(times)), times[-1], SERVED_AT)
    assert change is not None
    assert [file.partition["created_hour"][-2:] for file in change.adds] == ["09", "08"]
    assert [file.window for file in change.adds] == [
        Interval(T0 + 9 * HOUR, T0 + DAY),
        Interval(T0 + 8 * HOUR, T0 + 9 * HOUR),
    ]
    # The third reaches up to where the second ended, over the hours without rows.
    change = await writer.finish(T0)
    assert change is not None
    assert [file.window for file in change.adds] == [Interval(T0, T0 + 8 * HOUR)]


async def test_a_window_without_rows_is_covered_without_files(root: Path) -> None:
    writer = window(sink_at(root, Clock()), T0 + DAY)
    assert await writer.add(Settled(Rows()), T0, SERVED_AT) is None
    change = await writer.finish(T0)
    assert change == Change(covers=(Interval(T0, T0 + DAY),), read_since=SERVED_AT)
    assert await writer.finish(T0) is None


async def test_misfits_are_written_out_though_no_part_is_open(root: Path) -> None:
    writer = window(sink_at(root, Clock(), misfit_bytes=500), T0 + DAY)
    changes = []
    for hour in range(20, 0, -1):
        rows = rows_at([T0 + hour * HOUR], [True])
        changes.append(await writer.add(Settled(rows), T0 + hour * HOUR, SERVED_AT))
    made = [change for change in changes if change is not None]
    assert len(made) > 3
    assert all(not change.adds and change.quarantines for change in made)
    assert [change.covers[0].end for change in made[1:]] == [change.covers[0].start for change in made[:-1]]
    # A row that fits, after misfits that were written out: its part begins where they end.
    await writer.add(Settled(rows_at([T0 + 1])), T0 + 1, SERVED_AT)
    change = await writer.finish(T0)
    assert change is not None
    assert [file.window for file in change.adds] == list(change.covers)


async def test_misfits_wait_for_a_minute_at_most(root: Path) -> None:
    clock = Clock()
    writer = window(sink_at(root, clock), T0 + DAY)
    clock.now = 5.0
    await writer.add(Settled(rows_at([T0 + 20 * HOUR], misfits=[True])), T0 + 20 * HOUR, SERVED_AT)
    clock.now = 25.0
    await writer.add(Settled(rows_at([T0 + 18 * HOUR], misfits=[True])), T0 + 18 * HOUR, SERVED_AT)
    assert writer.seconds_left == 40
    change = await writer.finish(T0 + 18 * HOUR)
    assert change is not None
    assert [file.rows for file in change.quarantines] == [2]
    assert writer.seconds_left == inf


async def test_a_misfit_below_what_is_closed_waits_for_its_own_commit(root: Path) -> None:
    writer = window(sink_at(root, Clock()), T0 + 2 * DAY)
    rows = rows_at([T0 + DAY + 1, T0 + DAY, T0 + DAY - 1], [False, True, True])
    change = await writer.add(Settled(rows), T0 + DAY - 1, SERVED_AT)
    assert change is not None
    assert [file.rows for file in change.quarantines] == [1]
    change = await writer.finish(T0)
    assert change is not None
    assert [file.rows for file in change.quarantines] == [1]


async def test_what_cannot_be_closed_is_aborted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def close(self: PartWriter) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(PartWriter, "close", close)
    writer = window(sink_at(root, Clock()), T0 + DAY)
    await writer.add(Settled(rows_at([T0 + HOUR])), T0 + HOUR, SERVED_AT)
    with pytest.raises(StoreError, match="full"):
        await writer.finish(T0 + HOUR)
    writer.abort()
    assert not list((root / "_exporter/staging").iterdir())


async def test_rows_of_another_organization_are_refused(root: Path) -> None:
    sink = sink_at(root, Clock())
    for text, is_refused in (("org-a", False), ("org-a", False), ("org-b", True)):
        writer = window(sink, T0 + DAY)
        document = {"id": "c1", "created_at": format_instant(T0), "organization_id": text}
        rows = Decoder(None).decode(json.dumps([document]).encode()).page.rows
        if is_refused:
            with pytest.raises(ContradictionError, match="org-b"):
                await writer.add(Settled(rows), T0, SERVED_AT)
        else:
            await writer.add(Settled(rows), T0, SERVED_AT)
        writer.abort()


async def test_a_doubt_about_what_was_committed_before_waits_for_nothing(root: Path) -> None:
    writer = window(sink_at(root, Clock()), T0 + DAY)
    elsewhere = Unproven(T0 + 2 * DAY, 1, "elsewhere")
    change = await writer.add(Settled(rows_at([T0 + 20 * HOUR]), (elsewhere,)), T0 + 20 * HOUR, SERVED_AT)
    assert change is not None
    assert (change.covers, change.files, change.unproven) == ((), (), (elsewhere,))
    # The window was not read down to this time: another may have been.
    below = Unproven(T0 + HOUR, 1, "below")
    change = await writer.add(Settled(rows_at([]), (below,)), T0 + 20 * HOUR, SERVED_AT)
    assert change is not None
    assert (change.covers, change.unproven) == ((), (below,))
    writer.abort()


async def test_a_doubt_about_what_a_kill_would_have_read_again_waits_for_its_commit(root: Path) -> None:
    writer = window(sink_at(root, Clock()), T0 + DAY)
    own = Unproven(T0 + 20 * HOUR, 1, "own")
    assert await writer.add(Settled(rows_at([T0 + 20 * HOUR]), (own,)), T0 + 20 * HOUR, SERVED_AT) is None
    change = await writer.finish(T0 + 20 * HOUR)
    assert change is not None
    assert (change.covers, change.unproven) == ((Interval(T0 + 20 * HOUR, T0 + DAY),), (own,))
