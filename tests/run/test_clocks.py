"""No clock and no single answer decides what a run takes for read: the future is read once it has come."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.contract import DAY, HOUR, MINUTE, SECOND, to_datetime
from exporter.errors import UsageError
from exporter.model import TABLES
from exporter.settings import PartitionBy, Selection
from tests.jobs.moving import transcript
from tests.toolkit.clocks import World, world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def source(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(monkeypatch) as made:
        made.create(60, MINUTE)
        yield made


async def test_clocks_that_agree_are_not_spoken_of(tmp_path: Path, source: World) -> None:
    await source.export(tmp_path)
    assert not source.warnings
    assert source.now - 62 * SECOND <= source.range_end(tmp_path) <= source.now - 60 * SECOND
    assert source.now - 5 * SECOND <= source.updates_since(tmp_path) <= source.now


@pytest.mark.parametrize("ahead", [3 * HOUR, -3 * HOUR, 80 * 365 * DAY, -56 * 365 * DAY])
async def test_a_date_that_is_hours_off_is_refused_until_somebody_says_which_clock_is_right(
    tmp_path: Path, source: World, ahead: int
) -> None:
    source.date = ahead
    for job in (source.export, source.sync):
        with pytest.raises(
            UsageError, match=r"the API.s clock .* this machine.s .*--trust-clock server, or local"
        ) as told:
            await job(tmp_path)
        assert ("ahead of" in str(told.value)) is (ahead > 0)
    assert not list(tmp_path.iterdir())
    await source.sync(tmp_path, trust_clock="local")
    assert "The machine's is believed" in source.warnings
    assert source.range_end(tmp_path) <= source.now - 60 * SECOND
    assert source.updates_since(tmp_path) <= source.now
    await source.live(3 * HOUR, MINUTE)
    assert await source.has_all(tmp_path)


async def test_a_machine_whose_clock_is_wrong_may_believe_the_servers(tmp_path: Path, source: World) -> None:
    source.machine = 3 * HOUR
    with pytest.raises(UsageError, match="behind this machine"):
        await source.export(tmp_path)
    await source.export(tmp_path, trust_clock="server")
    assert "The API's is believed" in source.warnings
    assert source.range_end(tmp_path) <= source.now - 60 * SECOND
    await source.live(3 * HOUR, MINUTE)
    assert await source.has_all(tmp_path)


@pytest.mark.parametrize("ahead", [20 * MINUTE, -20 * MINUTE])
@pytest.mark.parametrize("whose", ["date", "machine"])
async def test_of_clocks_that_differ_by_minutes_the_earlier_one_is_believed_with_a_warning(
    tmp_path: Path, source: World, whose: str, ahead: int
) -> None:
    setattr(source, whose, ahead)
    await source.export(tmp_path)
    assert "The earlier one is believed" in source.warnings
    earlier = source.now + min(ahead, 0)
    assert earlier - 63 * SECOND <= source.range_end(tmp_path) <= earlier - 60 * SECOND
    assert earlier - 5 * SECOND <= source.updates_since(tmp_path) <= earlier
    await source.live(HOUR, MINUTE)
    assert await source.has_all(tmp_path)


@pytest.mark.parametrize("ahead", [3 * HOUR, -3 * HOUR, 73 * 365 * DAY])
async def test_the_first_answer_alone_decides_nothing(tmp_path: Path, source: World, ahead: int) -> None:
    source.header = lambda number: source.http_date(ahead if number == 1 else 0)
    await source.export(tmp_path)
    assert not source.warnings
    assert source.now - 63 * SECOND <= source.range_end(tmp_path) <= source.now - 60 * SECOND
    assert source.updates_since(tmp_path) <= source.now
    await source.live(3 * HOUR, MINUTE)
    assert await source.has_all(tmp_path)


@pytest.mark.parametrize("text", [None, "soon", "", "Tue, 10 Feb 2026", "10/02/2026 12:00"])
async def test_without_a_date_this_machines_clock_is_not_believed_alone(
    tmp_path: Path, source: World, text: str | None
) -> None:
    source.header, source.machine = lambda _: text, 3 * HOUR
    await source.export(tmp_path)
    assert "no usable Date header" in source.warnings
    assert "--trust-clock local" in source.warnings
    assert source.range_end(tmp_path) == source.now + 1
    assert source.updates_since(tmp_path) <= source.now + SECOND
    assert source.held(tmp_path) == source.ids
    await source.live(2 * HOUR, MINUTE)
    assert await source.has_all(tmp_path)


async def test_without_a_date_a_clock_is_believed_that_somebody_vouches_for(tmp_path: Path, source: World) -> None:
    source.header = lambda _: None
    with pytest.raises(UsageError, match="no usable Date"):
        await source.export(tmp_path, trust_clock="server")
    await source.export(tmp_path, trust_clock="local")
    assert source.now - 61 * SECOND <= source.range_end(tmp_path) <= source.now - 60 * SECOND


async def test_without_a_date_or_a_recent_row_the_last_day_is_left_for_later(tmp_path: Path, source: World) -> None:
    source.now += 10 * DAY
    source.header, source.machine = lambda _: None, 3 * HOUR
    await source.sync(tmp_path)
    assert source.range_end(tmp_path) <= source.now - DAY + 3 * HOUR + 1
    await source.live(2 * HOUR, MINUTE)
    assert await source.has_all(tmp_path)


async def test_a_date_in_another_zone_is_the_time_that_it_names(tmp_path: Path, source: World) -> None:
    source.header = lambda _: source.http_date(3 * HOUR).replace("GMT", "+0300")
    await source.export(tmp_path)
    assert not source.warnings


async def test_the_age_of_an_answer_from_a_cache_is_counted(tmp_path: Path, source: World) -> None:
    source.header, source.age = lambda _: source.http_date(-2 * HOUR), 2 * 3600
    await source.export(tmp_path)
    assert not source.warnings
    assert source.now - 62 * SECOND <= source.range_end(tmp_path)
    # Its rows are as old as the answer itself.
    assert source.updates_since(tmp_path) <= source.now - 2 * HOUR


@pytest.mark.parametrize("ahead", [3 * HOUR, -3 * HOUR, -50 * 365 * DAY])
async def test_a_date_that_jumps_during_the_run_moves_updates_since_into_no_future_and_no_distant_past(
    tmp_path: Path, source: World, ahead: int
) -> None:
    source.header = lambda number: source.http_date(ahead if number > 2 else 0)
    await source.export(tmp_path)
    assert source.now - DAY - 5 * SECOND <= source.updates_since(tmp_path) <= source.now
    source.sandbox.update("c30", source.now + MINUTE, summary="changed")
    source.header = lambda _: source.http_date()
    source.now += HOUR
    assert (await source.sync(tmp_path)).updated == 1


async def test_a_date_that_stands_still_is_early(tmp_path: Path, source: World) -> None:
    stuck = source.http_date()
    source.header = lambda _: stuck
    await source.export(tmp_path)
    await source.live(40 * MINUTE, MINUTE)
    await source.sync(tmp_path)
    assert "behind this machine" in source.warnings
    await source.live(40 * MINUTE, MINUTE)
    with pytest.raises(UsageError, match="behind this machine"):
        await source.sync(tmp_path)
    assert await source.has_all(tmp_path)


@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR])
async def test_a_machine_whose_clock_is_set_during_the_run(tmp_path: Path, source: World, step: int) -> None:
    def header(number: int) -> str:
        if number == 3:
            source.machine = step
        return source.http_date()

    source.header = header
    await source.export(tmp_path)
    assert not source.warnings
    assert source.now - 62 * SECOND <= source.range_end(tmp_path) <= source.now - 60 * SECOND
    assert source.updates_since(tmp_path) <= source.now
    await source.live(3 * HOUR, MINUTE)
    assert await source.has_all(tmp_path)


async def test_rows_of_a_distant_future_say_nothing_of_the_time(tmp_path: Path, source: World) -> None:
    now = source.now
    for ahead, count in ((73 * 365 * DAY, 30), (HOUR, 30)):
        source.stamps = ahead
        for _ in range(count):
            source.create(1, MINUTE)
    for row in source.sandbox.rows:
        if row.created_at > now:
            source.sandbox.update(str(row.fields["id"]), now)
    source.stamps = 0
    source.header, source.machine = lambda _: None, 3 * HOUR
    await source.export(tmp_path)
    assert source.range_end(tmp_path) == now + 1


@pytest.mark.parametrize("with_date", [True, False])
async def test_rows_whose_clock_is_behind_are_read_when_they_come(
    tmp_path: Path, source: World, with_date: bool
) -> None:
    source.now += 30 * MINUTE
    source.stamps = -30 * MINUTE
    if not with_date:
        source.header = lambda _: None
    await source.export(tmp_path)
    assert source.range_end(tmp_path) == source.now - 30 * MINUTE + 1
    assert source.updates_since(tmp_path) <= source.now - 30 * MINUTE + SECOND
    await source.live(30 * MINUTE, MINUTE)
    await source.export(tmp_path, Selection(until=source.now))
    assert source.held(tmp_path) == source.ids


async def test_a_silence_like_others_before_is_no_sign(tmp_path: Path, source: World) -> None:
    source.now += 10 * HOUR
    source.create(60, MINUTE)
    source.now += 8 * HOUR
    await source.export(tmp_path)
    assert not source.warnings
    assert source.range_end(tmp_path) >= source.now - 62 * SECOND


async def test_an_end_that_is_asked_for_is_not_moved_by_rows(tmp_path: Path, source: World) -> None:
    source.now += HOUR
    await source.export(tmp_path, Selection(until=source.now - 10 * MINUTE))
    assert not source.warnings
    assert source.range_end(tmp_path) == source.now - 10 * MINUTE


async def test_an_end_in_the_future_is_cut_to_the_earlier_clock(tmp_path: Path, source: World) -> None:
    source.machine = 30 * MINUTE
    await source.export(tmp_path, Selection(until=source.now + DAY))
    assert source.range_end(tmp_path) <= source.now - 60 * SECOND


async def go_wrong(source: World, root: Path, how: str, asked: Selection | None = None) -> None:
    """Makes an export whose end lies in the future, as earlier versions did."""
    if how == "date":
        source.date = 3 * HOUR
        await source.export(root, asked, trust_clock="server")
    else:
        source.machine = 3 * HOUR
        await source.export(root, asked, trust_clock="local")
    assert source.range_end(root) > source.now + 2 * HOUR
    source.date = source.machine = 0


@pytest.mark.parametrize("how", ["date", "machine"])
@pytest.mark.parametrize("later", [10 * SECOND, 20 * MINUTE, 2 * HOUR])
async def test_what_was_held_for_read_before_it_came_is_taken_back(
    tmp_path: Path, source: World, how: str, later: int
) -> None:
    await go_wrong(source, tmp_path, how)
    source.sandbox.update("c30", source.now + SECOND, summary="changed")
    await source.live(later, max(later // 10, SECOND))
    synced = await source.sync(tmp_path)
    assert "the clock that an earlier run went by was ahead" in source.warnings
    assert synced.updated == 1
    assert source.range_end(tmp_path) <= source.now + 1
    assert source.updates_since(tmp_path) <= source.now
    source.held(tmp_path)
    assert await source.is_sound(tmp_path)
    assert synced.exit_status == 0
    await source.live(HOUR, MINUTE)
    await source.sync(tmp_path)
    assert not source.warnings
    source.now += 2 * MINUTE
    await source.sync(tmp_path)
    assert source.held(tmp_path) == source.ids


@pytest.mark.parametrize("partition_by", ["hour", "day", "none"])
async def test_rows_and_turns_that_lie_in_the_future_come_again_when_it_is_their_time(
    tmp_path: Path, source: World, partition_by: PartitionBy
) -> None:
    """By the hour, they have a file of their own, which goes; otherwise the file stays, and the range ends after it."""
    for number, ahead in enumerate((0, HOUR, 2 * HOUR)):
        source.stamps = ahead
        source.create(1, MINUTE, conversation=transcript(2), summary=f"{number}")
    source.stamps = 0
    await go_wrong(source, tmp_path, "date", Selection(tables=TABLES, partition_by=partition_by))
    await source.live(10 * MINUTE, MINUTE)
    await source.sync(tmp_path)
    assert "an earlier run went by was ahead" in source.warnings
    source.held(tmp_path)
    assert await source.is_sound(tmp_path)
    assert (source.range_end(tmp_path) <= source.now + 1) is (partition_by == "hour")
    await source.live(HOUR, MINUTE)
    await source.sync(tmp_path)
    assert await source.has_all(tmp_path)
    assert await source.is_sound(tmp_path)


@pytest.mark.parametrize("how", ["date", "machine"])
async def test_an_export_takes_it_back_too(tmp_path: Path, source: World, how: str) -> None:
    await go_wrong(source, tmp_path, how)
    await source.live(20 * MINUTE, MINUTE)
    summary = await source.export(tmp_path)
    assert "an earlier run went by was ahead" in source.warnings
    assert summary.state == "complete"
    assert source.range_end(tmp_path) <= source.now
    await source.export(tmp_path, Selection(until=source.now))
    source.now += 2 * MINUTE
    await source.export(tmp_path, Selection(until=source.now))
    assert source.held(tmp_path) == source.ids


@pytest.mark.parametrize("how", ["date", "machine"])
async def test_a_reread_takes_it_back_too(tmp_path: Path, source: World, how: str) -> None:
    await go_wrong(source, tmp_path, how)
    source.sandbox.update("c30", source.now, summary="changed")
    await source.live(20 * MINUTE, MINUTE)
    done = await source.reread(tmp_path)
    assert "an earlier run went by was ahead" in source.warnings
    assert (done.exit_status, done.updated, done.removed) == (0, 1, 0)
    assert [period.end for period in done.intervals] == [to_datetime(source.range_end(tmp_path))]
    assert source.range_end(tmp_path) <= source.now + 1
    assert await source.is_sound(tmp_path)
    assert await source.has_all(tmp_path)


async def test_a_gap_that_an_earlier_date_has_left_is_closed_though_its_time_has_come(
    tmp_path: Path, source: World
) -> None:
    await go_wrong(source, tmp_path, "date")
    assert source.updates_since(tmp_path) <= source.now
    await source.live(5 * HOUR, MINUTE)
    assert await source.has_all(tmp_path)


async def test_an_updates_since_that_is_years_ahead_is_worth_nothing(tmp_path: Path, source: World) -> None:
    source.machine = 1000 * DAY
    await source.export(tmp_path, trust_clock="local")
    source.machine = 0
    source.sandbox.update("c30", source.now + SECOND, summary="changed")
    await source.live(30 * MINUTE, MINUTE)
    assert (await source.sync(tmp_path)).updated == 1
    assert "Every row is read again" in source.warnings
    assert source.updates_since(tmp_path) <= source.now
    assert await source.has_all(tmp_path)


async def test_an_audit_reports_nothing_that_is_yet_to_come_or_came_since(tmp_path: Path, source: World) -> None:
    await go_wrong(source, tmp_path, "machine")
    source.now += 5 * MINUTE
    source.sandbox.update("c30", source.now, summary="changed")
    source.create(1, MINUTE)
    source.now += MINUTE
    for repair in (False, True):
        found = await source.audit(tmp_path, repair=repair)
        kinds = {kind: found.findings.total(kind) for kind in ("missing", "changed", "deleted", "later")}
        assert kinds == {"missing": 0, "changed": 0, "deleted": 0, "later": 2}
        assert found.audited.end <= to_datetime(source.now)
    source.date = 3 * HOUR
    with pytest.raises(UsageError, match="--trust-clock"):
        await source.audit(tmp_path)
