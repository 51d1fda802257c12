"""Plans runs against the sandbox, and compares some with the runs themselves."""

import random
from math import inf
from pathlib import Path
from typing import Any, get_args

import pytest

from exporter.cli.plan_report import describe_plan
from exporter.clock import wall_clock
from exporter.contract import DAY, HOUR, MINUTE, to_datetime
from exporter.errors import AccessError, ContradictionError, DestinationError, UsageError
from exporter.jobs.export import export
from exporter.jobs.plan import MOST_QUESTIONS, plan
from exporter.jobs.plan_result import PlanResult
from exporter.jobs.sync import sync
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, TOKEN_NOSCOPE, Behaviour, Density, Row, Sandbox, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.jobs.made import SINCE, UNTIL

pytestmark = pytest.mark.anyio
ROWS = 1200
ALL = Selection(since=SINCE, until=UNTIL)
#: Nobody counts but the pages, of which each has at most so many rows.
PAGES_ALONE = Behaviour(usage="forbidden", page_cap=100)


def context(server: Sandbox, token: str = TOKEN, **how: Any) -> RunContext:
    return RunContext(RunSettings(base_url=server.url, **how), Credentials(token), Quiet())


def most(found: PlanResult) -> float:
    return inf if found.rows_high is None else found.rows_high


async def planned(server: Sandbox, at: Path, asked: Selection = ALL, **how: Any) -> PlanResult:
    server.requests.clear()
    found = await plan(at, asked, context(server, **how))
    assert found.questions == len(server.requests) <= MOST_QUESTIONS
    assert found.rows_low <= found.rows <= most(found)
    assert sum(each.rows for each in found.partitions) == pytest.approx(found.rows, abs=len(found.partitions))
    return found


def everything_below(root: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("density", get_args(Density))
async def test_a_sample_is_near_or_says_how_far_off_it_may_be(density: Density, tmp_path: Path) -> None:
    rows = make_conversations(4000, SINCE, UNTIL, density=density, transcripts=False)
    async with serve(rows, PAGES_ALONE) as server:
        found = await planned(server, tmp_path / "new")
    assert found.rows_from == "sample"
    assert found.rows_low <= len(rows) <= most(found)
    assert abs(found.rows / len(rows) - 1) < 0.15 or most(found) > 1.15 * found.rows
    assert not [*tmp_path.iterdir()]


async def test_a_plan_foretells_its_export(tmp_path: Path) -> None:
    rows = make_conversations(ROWS, SINCE, UNTIL)
    async with serve(rows, Behaviour(usage="forbidden")) as server:
        found = await planned(server, tmp_path / "out", page_size=200)
        done = await export(tmp_path / "out", ALL, context(server, page_size=200))
    assert (found.command, found.rows_from, found.sizes_from) == ("export", "count", "sample")
    assert (found.rows_low, found.rows, found.rows_high) == (ROWS, ROWS, ROWS)
    assert found.files == done.files
    assert found.bytes == pytest.approx(done.bytes, rel=0.1)
    assert found.requests_low <= done.requests <= found.requests_high
    assert found.wire_bytes > 1000 * ROWS  # the sandbox packs nothing
    assert found.seconds > 0


async def test_the_summary_of_usage_counts_where_it_may_be_read(tmp_path: Path) -> None:
    rows = make_conversations(ROWS * 2, SINCE, UNTIL, transcripts=False)
    async with serve(rows, Behaviour(page_cap=100)) as server:
        found = await planned(server, tmp_path)
        filtered = await planned(server, tmp_path, Selection(since=SINCE, until=UNTIL, filters={"channel": "email"}))
    assert found.rows_from == "usage"
    assert found.rows == pytest.approx(len(rows), rel=0.05)
    assert found.rows_low <= len(rows) <= most(found)
    assert found.questions < 15
    assert filtered.rows_from != "usage"


async def test_any_of_several_values_is_a_share_of_the_list(tmp_path: Path) -> None:
    rows = make_conversations(ROWS, SINCE, UNTIL, transcripts=False)
    asked = Selection(since=SINCE, until=UNTIL, filters={"status": ("completed", "failed")})
    async with serve(rows, PAGES_ALONE) as server:
        found = await planned(server, tmp_path / "out", asked)
        done = await export(tmp_path / "out", asked, context(server))
    assert found.rows_low <= done.rows <= most(found)
    assert found.rows < 0.95 * ROWS


async def test_what_an_export_lacks_is_planned_and_nothing_is_touched(tmp_path: Path) -> None:
    rows = make_conversations(ROWS, SINCE, UNTIL, transcripts=False)
    async with serve(rows, Behaviour(usage="forbidden")) as server:
        half = Selection(since=SINCE, until=SINCE + 3 * DAY)
        done = await export(tmp_path / "out", half, context(server))
        before = everything_below(tmp_path)
        found = await planned(server, tmp_path / "out", Selection(until=UNTIL))
        assert everything_below(tmp_path) == before
    assert found.command == "export"
    assert [(each.start, each.end) for each in found.missing] == [(to_datetime(SINCE + 3 * DAY), to_datetime(UNTIL))]
    assert found.rows == found.rows_low == ROWS - done.rows
    assert (found.range_start, found.sizes_from) == (to_datetime(SINCE), "files" if done.rows >= 1000 else "sample")


async def test_a_whole_export_plans_its_sync(complete: Path) -> None:
    async with serve(make_conversations(300, SINCE, UNTIL, transcripts=False)) as server:
        idle = await planned(server, complete, Selection())
        for row in server.rows[:7]:
            server.update(str(row.facts()["id"]), wall_clock(), summary="changed")
        later = make_conversations(5, UNTIL + DAY, UNTIL + 2 * DAY, transcripts=False, seed=5)
        for row in later:
            server.insert(row)
        found = await planned(server, complete, Selection())
    assert (idle.command, idle.rows) == (found.command, 0) == ("sync", 0)
    assert (found.rows, found.changed, found.changed_is_least) == (5, idle.changed + 7, False)
    assert found.requests_low <= found.requests < found.requests_high
    assert found.seconds_low <= found.seconds <= found.seconds_high


@pytest.mark.parametrize("days", [31, None])
async def test_a_small_export_in_many_files_is_foretold(tmp_path: Path, days: int | None) -> None:
    now = wall_clock()
    asked = Selection(since=None if days is None else now - days * DAY)
    async with serve(make_conversations(60, now - 30 * DAY, now - 2 * MINUTE), Behaviour(usage="forbidden")) as server:
        found = await planned(server, tmp_path / "out", asked)
        done = await export(tmp_path / "out", asked, context(server))
        # With the same lag, there would be no time to read in the same second, and less to ask.
        again = await planned(server, tmp_path / "out", Selection(), lag_seconds=30)
        synced = await sync(tmp_path / "out", Selection(), context(server, lag_seconds=30))
    assert found.files == done.files > 20
    assert found.bytes == pytest.approx(done.bytes, rel=0.15)
    assert found.requests == pytest.approx(done.requests, rel=0.15)
    assert found.requests_low <= done.requests <= found.requests_high
    assert found.seconds > found.requests_low / found.requests_per_second
    assert (again.command, again.changed) == ("sync", 0)
    assert again.requests == pytest.approx(synced.summary.requests, rel=0.15)


async def test_how_often_a_sync_looks_for_what_changed_is_not_known(tmp_path: Path) -> None:
    async with serve(make_conversations(120, UNTIL - 30 * DAY, UNTIL)) as server:
        asked = Selection(until=UNTIL, partition_by="month")
        await export(tmp_path / "out", asked, context(server))
        for row in server.rows[:5]:
            server.update(str(row.facts()["id"]), wall_clock(), summary="changed")
        found = await planned(server, tmp_path / "out", Selection())
        synced = await sync(tmp_path / "out", Selection(), context(server))
    assert found.changed >= synced.updated == 5
    assert found.requests_low <= synced.summary.requests <= found.requests_high
    assert found.requests_high > 2 * found.requests


async def test_without_a_start_the_beginning_is_found(tmp_path: Path) -> None:
    async with serve(make_conversations(250, SINCE, UNTIL, transcripts=False), PAGES_ALONE) as server:
        found = await planned(server, tmp_path, Selection())
    assert (found.rows, found.rows_low, found.range_start) == (250, 250, None)


async def test_an_empty_list_plans_nothing(tmp_path: Path) -> None:
    async with serve([], PAGES_ALONE) as server:
        found = await planned(server, tmp_path, Selection())
    assert (found.rows, found.rows_high, found.bytes, found.files) == (0, 0, 0, 0)
    assert (found.partitions, found.sizes_from) == ((), "nothing")


async def test_recordings_are_counted_if_they_are_asked_for(tmp_path: Path) -> None:
    rows = make_conversations(200, SINCE, UNTIL)
    asked = Selection(since=SINCE, until=UNTIL, recordings=True)
    async with serve(rows, PAGES_ALONE) as server:
        found, without = await planned(server, tmp_path, asked), await planned(server, tmp_path)
    truth = sum(bool(row.content().get("recording_details")) for row in rows)
    assert 0 < truth < 200
    assert found.recordings == pytest.approx(truth, rel=0.1)
    assert (found.recording_bytes, without.recordings) == (None, None)


async def test_the_pace_is_the_ceiling_that_was_given(tmp_path: Path) -> None:
    async with serve(make_conversations(200, SINCE, UNTIL)) as server:
        found = await planned(server, tmp_path, max_rps=2)
        assert (await planned(server, tmp_path)).pace_from == "round trips"
    assert (found.pace_from, found.requests_per_second) == ("max-rps", 2)
    assert found.seconds == pytest.approx(found.requests / 2, abs=1)
    assert found.seconds_high - found.seconds_low == pytest.approx((found.requests_high - found.requests_low) / 2)


async def test_fields_that_only_ids_bring_cost_a_request_each(tmp_path: Path) -> None:
    rows = make_conversations(300, SINCE, UNTIL)
    async with serve(rows, Behaviour(list_omits=("conversation",), usage="forbidden")) as server:
        found = await planned(server, tmp_path)
    assert found.requests_by_id == found.rows == 300
    assert found.requests > 300


async def test_the_same_is_refused_as_by_a_run(complete: Path, tmp_path: Path) -> None:
    async with serve(make_conversations(20, SINCE, UNTIL)) as server:
        with pytest.raises(AccessError):
            await plan(tmp_path / "new", ALL, context(server, TOKEN_NOSCOPE))
        with pytest.raises(DestinationError, match="another export"):
            await plan(complete, Selection(filters={"channel": "email"}), context(server))
        with pytest.raises(UsageError, match="nothing to export"):
            await plan(tmp_path / "new", Selection(since=wall_clock() + DAY), context(server))


#: How an API may answer otherwise than expected, with few requests of its own.
BEHAVIOURS: tuple[dict[str, Any], ...] = (
    {"hides_token_created": True},
    {"empty_pages": 0.2},
    {"short_pages": 0.5},
    {"filters": "after-limit"},
    {"order": "oldest"},
    {"order": "unordered"},
    {"order": "shuffled"},
    {"equals": "shuffled"},
    {"precision": "ms"},
    {"precision": "s"},
    {"ignores": ("cursor",)},
    {"ignores": ("created_before",)},
    {"ignores": ("duration_above",)},
    {"odd_elements": 0.2},
)
FILTERS: tuple[dict[str, Any], ...] = ({}, {"channel": "email"}, {"channel": ("email", "text")})


def made(seed: int) -> list[Row]:
    """Makes a few hundred conversations, of which some may share an instant, and emails may come in one stretch."""
    chance = random.Random(seed)
    rows = make_conversations(chance.choice([1, 40, 250]), SINCE, UNTIL, seed=seed, transcripts=False)
    if seed % 3 == 0:
        rows = [Row(r.created_at // HOUR * HOUR, r.updated_at, r.facts()) for r in rows]
    if seed % 3 == 1:
        middle = (SINCE + UNTIL) // 2
        rows = [
            Row(r.created_at, r.updated_at, {**r.facts(), "channel": "email" if r.created_at < middle else "telephone"})
            for r in rows
        ]
    return rows


@pytest.mark.parametrize("how", BEHAVIOURS, ids=str)
async def test_what_is_counted_is_exact(how: dict[str, Any], tmp_path: Path) -> None:
    """Whatever an API does: a plan that says that it has counted has seen every row."""
    for seed in range(3):
        rows, filters = made(seed), FILTERS[seed % len(FILTERS)]
        asked = Selection(since=SINCE, until=UNTIL, filters=filters)
        wanted = filters.get("channel")
        truth = sum(SINCE <= r.created_at < UNTIL and (not wanted or r.facts()["channel"] in wanted) for r in rows)
        async with serve(rows, Behaviour(usage="forbidden", page_cap=50, seed=seed, **how)) as server:
            try:
                found = await planned(server, tmp_path, asked)
            except ContradictionError:
                continue  # as a run
        if found.rows_from == "count":
            assert (found.rows_low, found.rows, found.rows_high) == (truth, truth, truth), (seed, found)


async def test_conversations_of_a_hidden_status_count(tmp_path: Path) -> None:
    rows = [
        Row(r.created_at, r.updated_at, {**r.facts(), "status": ("token_created", "completed")[number % 2]})
        for number, r in enumerate(make_conversations(120, SINCE, UNTIL, transcripts=False))
    ]
    async with serve(rows, Behaviour(hides_token_created=True, usage="forbidden")) as server:
        found = await planned(server, tmp_path)
    assert 90 < found.rows < 180  # the list alone has 60
    assert found.rows_low <= 120 <= most(found)


async def test_a_usage_summary_that_the_pages_contradict_is_doubted(tmp_path: Path) -> None:
    rows = make_conversations(ROWS, SINCE, UNTIL, transcripts=False)
    async with serve(rows, Behaviour(page_cap=100, usage_off=50_000)) as server:
        found = await planned(server, tmp_path)
    assert found.rows_low <= ROWS <= most(found)
    assert any("contradict" in note for note in found.notes)


async def test_an_instant_that_fills_pages_has_no_upper_bound(tmp_path: Path) -> None:
    rows = make_conversations(300, SINCE, UNTIL, transcripts=False)
    rows = [Row(SINCE + DAY, SINCE + DAY, r.facts()) for r in rows]
    async with serve(rows, PAGES_ALONE) as server:
        found = await planned(server, tmp_path)
    assert (found.rows_high, found.rows_low <= 300) == (None, True)
    assert any("an instant has more rows" in note for note in found.notes)
    assert any("not known within a factor of ten" in line for line in describe_plan(found))
