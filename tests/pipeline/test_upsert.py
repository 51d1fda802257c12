"""Tests merges of what was read again into an export: parts that change are replaced, and all others stay the same."""

import json
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import anyio
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.contract import ALWAYS_FIELDS, DAY, HOUR, Instant, format_instant
from exporter.coverage import Coverage, Interval
from exporter.encode.exact import NO_ID
from exporter.encode.rows import Misfit
from exporter.encode.tables import Tables
from exporter.errors import StoreError
from exporter.log.commits import CommitLog, load_commits
from exporter.log.state import Author, State
from exporter.model import Change, DataFile
from exporter.partitions import partition_of
from exporter.pipeline.committer import Committer
from exporter.pipeline.lookup import NOTHING_REPEATED, Copy, Repeated
from exporter.pipeline.part_sink import StagedWindow
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.role import Guard
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.table_parts import StagedPart
from exporter.pipeline.upsert import UpsertCounts, merge_spool
from exporter.progress import Quiet
from exporter.schedule.homes import Homes
from exporter.settings import Request
from exporter.store.local.store import LocalStore
from tests.toolkit.sizes import size_of
from tests.toolkit.told_changes import check_told, read_told, table_of

T0 = 20_000 * DAY
NOTHING = Coverage()
RANGE = Interval(T0, T0 + 4 * DAY)
FIELDS = (*ALWAYS_FIELDS, "summary")

#: `created_at`, `updated_at` and `summary` by id.
Rows = Mapping[str, tuple[Instant, Instant, str]]


class Destination:
    """Holds an export of a few columns, and does to it what a run does."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root)
        self.log = CommitLog(self.store, Author(run="run", host="host", pid=1))
        tables = Tables.of(Request(fields=FIELDS))
        self.stage = PartStage(self.store, tables, "run", target_part_bytes=1 << 20, row_group_bytes=1 << 20)
        self.committer = Committer(self.store, self.log, tables.schemas, Quiet())
        self.spool = self.new_spool()

    @classmethod
    async def make(cls, root: Path, *parts: tuple[Interval, Rows]) -> Self:
        """Covers all of the range. `parts` are rows of one day each, and the windows of their parts."""
        self = cls(root)
        await self.store.prepare()
        await self.log.append(committed_at=10, kind="begin", request=Request(fields=FIELDS), range=RANGE)
        adds: list[DataFile] = []
        for window, rows in parts:
            adds += await self.stage.publish(self.write(rows, window))
        change = Change(covers=(RANGE,), adds=tuple(adds), read_since=5)
        await self.committer.commit(change)
        self.spool = self.new_spool()
        await self.committer.write_manifest()
        return self

    @property
    def state(self) -> State:
        return self.log.state

    def write(self, rows: Rows, window: Interval) -> list[StagedPart]:
        """Stages a part."""
        writer = self.stage.new_part()
        ordered = sorted(rows.items(), key=lambda item: -item[1][0])
        columns: dict[str, Any] = {
            "id": [identity for identity, _ in ordered],
            "status": ["completed"] * len(ordered),
            "created_at": [row[0] for _, row in ordered],
            "updated_at": [row[1] for _, row in ordered],
            "summary": [row[2] for _, row in ordered],
            "extra": [None] * len(ordered),
        }
        schema = self.stage.tables.encoder.schema
        writer.write(pa.record_batch({field.name: columns[field.name] for field in schema}, schema=schema))
        partition, _ = partition_of(ordered[0][1][0], "day")
        return writer.close().closed(partition, window, {}, 0)

    async def read_again(self, rows: Rows, reading: int = 1) -> None:
        """Puts rows aside, a part for each home."""
        homes, into = self.spool.every, SpoolSink(self.stage, self.spool, reading=reading)
        for home in {homes.of(row[0]).interval: homes.of(row[0]) for row in rows.values()}.values():
            inside = {identity: row for identity, row in rows.items() if row[0] in home.interval}
            await into.hand_over(StagedWindow(home.interval, self.write(inside, home.interval), [], (), 9))

    async def meet(self, *misfits: Misfit) -> None:
        # Each is a run of its own, because it names its files.
        reading = 10 * self.state.number + len(self.spool.misfits)
        into = SpoolSink(self.stage, self.spool, reading=reading)
        await into.hand_over(StagedWindow(RANGE, [], list(misfits), (), 9))

    def new_spool(self) -> Spool:
        return Spool(Homes(self.state.files.values(), Coverage([RANGE]), self.stage.tables.place), Guard())

    async def publish(self, gone: Collection[str] = (), whole: Coverage = NOTHING) -> tuple[Change, UpsertCounts]:
        change, outcome = await merge_spool(
            self.spool,
            self.state,
            self.stage,
            self.committer,
            gone=dict.fromkeys(self.spool.homes, gone),
            whole=whole,
        )
        return msgspec.structs.replace(change, refreshes=self.state.coverage.intervals), outcome

    async def merge(self, gone: Collection[str] = (), whole: Coverage = NOTHING) -> UpsertCounts:
        before = table_of(self.store.root, self.state)
        change, outcome = await self.publish(gone, whole)
        await self.committer.commit(change, kind="sync")
        await self.committer.sweep()
        after = table_of(self.store.root, self.state)
        check_told(self.store.root, before, after, (await load_commits(self.store))[-1:])
        # Nothing is told but what has changed.
        told = read_told(self.store.root, change.changed)
        for name in {name for name, _, _ in told}:
            was, now = before.rows.get(name, Counter()), after.rows.get(name, Counter())
            assert was != now
            assert sorted(at for at, _ in was.elements()) == sorted(at for one, at, _ in told if one == name and at)
            assert sorted(at for at, _ in now.elements()) == sorted(at for one, _, at in told if one == name and at)
        return outcome

    def rows(self) -> dict[str, tuple[Instant, Instant, str]]:
        found: dict[str, tuple[Instant, Instant, str]] = {}
        for file in self.state.files.values():
            table = pq.ParquetFile(self.store.root / file.path).read()
            times = [table.column(name).cast(pa.int64()).to_pylist() for name in ("created_at", "updated_at")]
            for identity, *row in zip(
                table.column("id").to_pylist(), *times, table.column("summary").to_pylist(), strict=True
            ):
                assert identity not in found
                found[identity] = (row[0], row[1], row[2])
            assert partition_of(file.created_at_min, "day")[0] == file.partition
            assert partition_of(file.created_at_max, "day")[0] == file.partition
        return found

    def windows(self) -> list[Interval]:
        return sorted(file.window for file in self.state.files.values())


def at(hours: float, summary: str = "", updated_at: Instant = 5) -> tuple[Instant, Instant, str]:
    return T0 + round(hours * HOUR), updated_at, summary


def span(start: float, end: float) -> Interval:
    """Returns hours of the range."""
    return Interval(T0 + round(start * HOUR), T0 + round(end * HOUR))


@pytest.mark.anyio
async def test_only_parts_with_changed_rows_are_rewritten(tmp_path: Path) -> None:
    there = await Destination.make(
        tmp_path, (span(0, 24), {"a": at(1), "b": at(2)}), (span(24, 48), {"c": at(25)}), (span(48, 96), {"d": at(50)})
    )
    before = dict(there.state.files)
    await there.read_again({"a": at(1, "new", 6), "b": at(2), "c": at(25)})
    outcome = await there.merge()
    assert there.rows() == {"a": at(1, "new", 6), "b": at(2), "c": at(25), "d": at(50)}
    assert outcome == UpsertCounts(updated=1, unchanged=2, rewritten=1)
    assert len(before.keys() & there.state.files.keys()) == 2
    assert there.windows() == [span(0, 24), span(24, 48), span(48, 96)]
    assert there.state.read_since == 9
    parts = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")}
    assert parts == there.state.files.keys()


@pytest.mark.anyio
async def test_nothing_new_leaves_the_mark_and_the_files_alone(tmp_path: Path) -> None:
    there = await Destination.make(tmp_path, (span(0, 96), {"a": at(1)}))
    mark = (tmp_path / "_SUCCESS").stat().st_ino
    files = there.state.files
    await there.read_again({"a": at(1)})
    assert await there.merge() == UpsertCounts(unchanged=1)
    assert (there.state.files, (tmp_path / "_SUCCESS").stat().st_ino) == (files, mark)


@pytest.mark.anyio
async def test_while_rows_lie_there_twice_nothing_says_that_all_is_well(tmp_path: Path) -> None:
    there = await Destination.make(tmp_path, (span(0, 96), {"a": at(1)}))
    await there.read_again({"a": at(1, "new", 6)})
    await there.publish()
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert not (tmp_path / "_SUCCESS").exists()


@pytest.mark.anyio
async def test_a_row_in_a_gap_gets_a_part_and_the_windows_around_it_make_room(tmp_path: Path) -> None:
    wide = span(0, 96)
    there = await Destination.make(tmp_path, (wide, {"a": at(30)}))
    (path,) = there.state.files
    await there.read_again({"late": at(5), "later": at(80)})
    assert await there.merge() == UpsertCounts(inserted=2)
    assert there.windows() == [span(0, 24), span(24, 48), span(72, 96)]
    # It was not written again, and covers less.
    assert there.state.files[path].window == span(24, 48)
    there.spool = there.new_spool()
    await there.read_again({"latest": at(60)})
    await there.merge()
    assert there.windows() == [span(0, 24), span(24, 48), span(48, 72), span(72, 96)]
    assert there.rows().keys() == {"a", "late", "later", "latest"}


@pytest.mark.anyio
async def test_a_part_that_changes_and_makes_room_does_both(tmp_path: Path) -> None:
    there = await Destination.make(tmp_path, (span(0, 96), {"a": at(30)}))
    await there.read_again({"late": at(5), "a": at(30, "new", 6)})
    assert await there.merge() == UpsertCounts(inserted=1, updated=1, rewritten=1)
    assert there.windows() == [span(0, 24), span(24, 48)]


@pytest.mark.anyio
async def test_a_part_of_which_no_row_is_left_goes(tmp_path: Path) -> None:
    there = await Destination.make(tmp_path, (span(0, 24), {"a": at(1)}), (span(24, 96), {"b": at(25)}))
    await there.read_again({"a": at(1, "other", 6)})
    there.spool.parts.clear()
    assert await there.merge(gone={"a"}) == UpsertCounts(removed=1, rewritten=1)
    assert there.rows().keys() == {"b"}
    assert there.windows() == [span(24, 96)]


@pytest.mark.anyio
async def test_rows_that_no_longer_fit_change_places_with_those_that_do(tmp_path: Path) -> None:
    def misfit(identity: str, text: bytes) -> Misfit:
        return Misfit(identity, at(1)[0], "duration", text)

    there = await Destination.make(tmp_path, (span(0, 96), {"a": at(1), "b": at(2)}))
    await there.meet(misfit("a", b"{}"), misfit("q", b"{}"))
    assert await there.merge() == UpsertCounts(removed=1, rewritten=1, quarantined=2)
    assert there.state.quarantined_rows == 2
    assert there.rows().keys() == {"b"}
    known = there.state.quarantine
    # They are the same.
    there.spool = there.new_spool()
    await there.meet(misfit("a", b"{}"), misfit("q", b"{}"))
    assert await there.merge() == UpsertCounts()
    assert there.state.quarantine == known
    assert [path.name for path in (tmp_path / "_exporter/quarantine").iterdir()] == [Path(next(iter(known))).name]
    # One is another now, and one fits.
    there.spool = there.new_spool()
    await there.meet(misfit("q", b"[]"))
    await there.read_again({"a": at(1, "well", 6)})
    assert await there.merge() == UpsertCounts(inserted=1, rewritten=1, quarantined=1)
    (line,) = [
        msgspec.json.decode(line)
        for path in there.state.quarantine
        for line in (tmp_path / path).read_bytes().splitlines()
    ]
    assert (line["id"], line["row"]) == ("q", "[]")
    assert there.rows().keys() == {"a", "b"}


@pytest.mark.anyio
async def test_a_row_that_two_readings_met_is_quarantined_once_as_it_was_last(tmp_path: Path) -> None:
    there = await Destination.make(tmp_path, (span(0, 96), {"a": at(1)}))
    moment = at(1)[0]
    await there.meet(Misfit("q", moment, "duration", b'{"v":1}'), Misfit("r", moment, "duration", b"{}"))
    await there.meet(Misfit("q", moment, "duration", b'{"v":2}'))
    await there.meet(Misfit("q", moment, "duration", b'{"v":3}'), Misfit("s", moment, "duration", b"{}"))
    assert (await there.merge()).quarantined == 3
    lines = [line for path in there.state.quarantine for line in (tmp_path / path).read_bytes().splitlines()]
    found = {(line["id"], line["row"]) for line in map(json.loads, lines)}
    assert len(lines) == there.state.quarantined_rows == 3
    assert found == {("q", '{"v":3}'), ("r", "{}"), ("s", "{}")}


@pytest.mark.anyio
async def test_a_row_that_moves_is_stored_once_and_counts_as_updated(tmp_path: Path) -> None:
    there = await Destination.make(
        tmp_path, (span(0, 24), {"a": at(1), "b": at(2)}), (span(24, 48), {"c": at(25)}), (span(48, 72), {"d": at(50)})
    )
    # Into another part, into a gap, and within a part; one was shown where it was, and then where it is.
    await there.read_again({"a": at(2, "shown", 6)}, 1)
    await there.read_again({"a": at(26, "moved", 7), "d": at(80, "moved", 5)}, 1)
    await there.read_again({"b": at(3, "moved", 5)}, 2)
    outcome = await there.merge()
    assert there.rows() == {
        "a": at(26, "moved", 7),
        "b": at(3, "moved", 5),
        "c": at(25),
        "d": at(80, "moved", 5),
    }
    assert outcome == UpsertCounts(updated=3, rewritten=3)


@pytest.mark.anyio
async def test_a_row_that_no_longer_fits_where_it_moves_to_leaves_the_table(tmp_path: Path) -> None:
    there = await Destination.make(tmp_path, (span(0, 24), {"a": at(1), "b": at(2)}), (span(24, 96), {"c": at(25)}))
    await there.meet(Misfit("a", at(30)[0], "duration", b"{}"))
    assert await there.merge() == UpsertCounts(removed=1, rewritten=1, quarantined=1)
    assert there.rows().keys() == {"b", "c"}
    # It moves again, and fits again.
    there.spool = there.new_spool()
    await there.read_again({"a": at(50, "well", 6)})
    await there.merge()
    assert there.rows().keys() == {"a", "b", "c"}
    assert not there.state.quarantine


@pytest.mark.anyio
async def test_a_row_without_an_id_leaves_quarantine_where_everything_was_read_again(tmp_path: Path) -> None:
    def nameless(hours: float, time: Instant | None) -> Misfit:
        text = b"{}" if time is None else f'{{"created_at":"{format_instant(time)}"}}'.encode()
        return Misfit(f"{NO_ID}{hours}", at(hours)[0], "id", text)

    there = await Destination.make(tmp_path, (span(0, 96), {"a": at(1)}))
    await there.meet(nameless(2, at(2)[0]), nameless(3, at(3)[0]), nameless(4, None), nameless(50, at(50)[0]))
    await there.merge()
    there.spool = there.new_spool()
    await there.meet(nameless(3, at(3)[0]))
    await there.read_again({"b": at(2, "mended", 6)})
    await there.merge(whole=Coverage([span(0, 24)]))
    lines = [line for path in there.state.quarantine for line in (tmp_path / path).read_bytes().splitlines()]
    # One may be anywhere, since it does not tell its time, and of one the time was not read again.
    assert {json.loads(line)["id"] for line in lines} == {f"{NO_ID}3", f"{NO_ID}4", f"{NO_ID}50"}


@pytest.mark.anyio
async def test_a_quarantine_file_that_is_gone_ends_it_before_anything_is_committed(tmp_path: Path) -> None:
    there = await Destination.make(tmp_path, (span(0, 96), {"a": at(1)}))
    await there.meet(Misfit("q", at(1)[0], "duration", b"{}"))
    await there.merge()
    (path,) = there.state.quarantine
    (tmp_path / path).unlink()
    number = there.state.number
    there.spool = there.new_spool()
    await there.read_again({"a": at(1, "new", 6)})
    with pytest.raises(StoreError, match="--repair"):
        await there.merge()
    assert there.state.number == number


@pytest.mark.anyio
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "read again"])
async def test_a_row_that_goes_from_one_of_its_places_is_told_with_the_one_that_stays(
    is_known: bool, tmp_path: Path
) -> None:
    there = await Destination.make(
        tmp_path, (span(0, 24), {"a": at(1), "b": at(2)}), (span(24, 96), {"a": at(25, "same"), "c": at(26)})
    )
    before, home = table_of(tmp_path, there.state), there.spool.every.of(at(1)[0])
    there.spool.homes[home.interval] = home
    copies = [Copy(True, at(hour)[0], 5) for hour in (1, 25)]
    if not is_known:
        await there.read_again({"a": at(25, "same")})
    change, _ = await merge_spool(
        there.spool,
        there.state,
        there.stage,
        there.committer,
        gone={home.interval: {"a"}},
        repeated=Repeated({"a": copies}, {"a": 1}) if is_known else NOTHING_REPEATED,
    )
    await there.committer.commit(change, kind="sync")
    assert there.rows() == {"a": at(25, "same"), "b": at(2), "c": at(26)}
    told = read_told(tmp_path, change.changed)
    assert set(told) == {("a", at(1)[0], None), ("a", at(25)[0], at(25)[0])}
    commits = await load_commits(there.store)
    check_told(tmp_path, before, table_of(tmp_path, there.state), commits[-1:])


hours = st.integers(0, 95)
histories = st.dictionaries(st.integers(0, 20).map(str), hours, max_size=12)


@settings(max_examples=size_of(20, 40), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    there=histories,
    cuts=st.sets(hours.filter(bool), max_size=4),
    again=st.lists(
        st.dictionaries(st.integers(0, 20).map(str), st.tuples(st.integers(0, 9), st.none() | hours), max_size=8),
        max_size=3,
    ),
    late=hours,
    gone=st.sets(st.integers(0, 20).map(str), max_size=2),
)
def test_any_merge_leaves_what_a_dictionary_would_and_windows_that_are_disjoint(
    there: Mapping[str, int],
    cuts: set[int],
    again: list[Mapping[str, tuple[int, int | None]]],
    late: int,
    gone: set[str],
) -> None:
    # An id keeps its time, or moves to that of the second number; what the part does not have comes late.
    hour_of = {str(number): there.get(str(number), (late + 7 * number) % 96) for number in range(21)}
    model = {identity: at(hour) for identity, hour in there.items()}

    async def run(root: Path) -> None:
        destination = await Destination.make(root, *parts_of(model, cuts))
        latest: dict[str, Any] = {}
        spooled = set[Interval]()
        for number, readings in enumerate(again):
            rows = {
                identity: at(hour_of[identity] if hour is None else hour, f"v{change}", change)
                for identity, (change, hour) in readings.items()
            }
            await destination.read_again(rows, number)
            latest |= rows
            spooled |= {destination.spool.every.of(row[0]).interval for row in rows.values()}
        assert destination.spool.homes.keys() == spooled
        await destination.merge(gone)
        # Homes of which nothing was read lose nothing.
        model_now = {
            identity: row
            for identity, row in model.items()
            if identity not in gone or not any(row[0] in interval for interval in spooled)
        }
        model_now |= {identity: row for identity, row in latest.items() if identity not in gone}
        assert destination.rows() == model_now
        windows = destination.windows()
        assert Coverage(windows).length == sum(window.end - window.start for window in windows)
        assert not Coverage(windows) - Coverage([RANGE])

    with tempfile.TemporaryDirectory() as name:
        anyio.run(run, Path(name))


def parts_of(rows: Rows, cuts: Collection[int]) -> list[tuple[Interval, Rows]]:
    """Draws parts as exports leave them: one a day in each window, which reaches down over days without rows."""
    parts: list[tuple[Interval, Rows]] = []
    edges = [0, *sorted(cuts), 96]
    for start, end in pairwise(edges):
        inside = sorted(((row[0], name) for name, row in rows.items() if row[0] in span(start, end)), reverse=True)
        days = sorted({(instant - T0) // DAY for instant, _ in inside}, reverse=True)
        top = end
        for day in days:
            bottom = max(start, 24 * day) if day != days[-1] else start
            names = {name for instant, name in inside if (instant - T0) // DAY == day}
            parts.append((span(bottom, top), {name: rows[name] for name in names}))
            top = bottom
    return parts
