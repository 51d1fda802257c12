"""A conversation is in one place, as it was last read, whatever its times do at the source between two readings."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from exporter.contract import DAY, HOUR, MINUTE, Instant, format_instant
from exporter.errors import AccessError
from exporter.jobs.audit import audit
from exporter.jobs.audit_result import AuditResult
from exporter.jobs.export import export
from exporter.jobs.summary import Summary
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.verify import verify
from exporter.model import TABLES
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Row, ServedRequest
from exporter.settings import Credentials, Selection
from tests.end_to_end.export_directory import ExportDirectory
from tests.jobs.moving import T0, Source, check, fill, moving_source, run_sync, settings_for
from tests.toolkit.sizes import combinations

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

BOTH = Selection(tables=TABLES)


async def run_export(destination: Path, source: Source, asked: Selection | None = None, **settings: object) -> Summary:
    settings_ = settings_for(source, **settings)
    return await export(destination, asked or Selection(), RunContext(settings_, Credentials(TOKEN), Quiet()))


async def run_audit(destination: Path, source: Source, **options: object) -> AuditResult:
    return await audit(
        destination,
        Selection(),
        RunContext(settings_for(source), Credentials(TOKEN), Quiet()),
        now=source.now,
        **options,  # type: ignore[arg-type]
    )


def midnight(source: Source) -> Instant:
    return (source.now - DAY) // DAY * DAY


#: The times at which a row was created before and after its move.
MOVES: dict[str, Callable[[Source], tuple[Instant, Instant]]] = {
    "a microsecond over midnight": lambda source: (midnight(source) - 1, midnight(source)),
    "back over midnight": lambda source: (midnight(source), midnight(source) - 1),
    "within a part": lambda source: (midnight(source) + HOUR, midnight(source) + HOUR + MINUTE),
    "by a microsecond": lambda source: (midnight(source) + HOUR, midnight(source) + HOUR + 1),
    "into a day without rows": lambda source: (midnight(source) - HOUR, midnight(source) - 30 * DAY),
    "to the newest end": lambda source: (midnight(source) - HOUR, source.now + MINUTE),
}


@pytest.mark.parametrize(("move", "stands_still"), combinations([*MOVES], [False, True], one_in=2))
async def test_a_sync_takes_a_row_to_where_it_is(tmp_path: Path, move: str, stands_still: bool) -> None:
    async with moving_source(1) as source:
        fill(source)
        old, new = MOVES[move](source)
        identity = source.insert(old)
        await run_sync(tmp_path, source, BOTH)
        source.now += 5 * MINUTE
        if new > source.now - 10 * MINUTE:
            new = source.now
        at = source.rows[identity].updated_at if stands_still else None
        source.update(identity, at=at, created_at=new)
        synced = await run_sync(tmp_path, source)
        if stands_still and move != "to the newest end":
            # A sync cannot see it; an audit finds it, and mends it.
            assert ExportDirectory(tmp_path).records().keys() == source.rows.keys()
            found = await run_audit(tmp_path, source)
            assert found.findings.total("moved") == (move != "by a microsecond")
            assert (await run_audit(tmp_path, source, repair=True, delete=True)).same
        else:
            assert (synced.inserted, synced.updated, synced.removed) == (0, 1, 0)
        if not (stands_still and move == "by a microsecond"):
            check(tmp_path, source)
        assert (await verify(tmp_path, now=source.now)).sound
        assert (await run_audit(tmp_path, source)).same


async def test_a_row_that_moves_again_and_back_is_there_once(tmp_path: Path) -> None:
    async with moving_source(2) as source:
        fill(source)
        identity = source.insert(midnight(source) - HOUR)
        await run_sync(tmp_path, source, BOTH)
        for days in (5, 0, -1, 40, 0):
            source.now += HOUR
            source.update(identity, created_at=midnight(source) - HOUR - days * DAY)
            assert (await run_sync(tmp_path, source)).updated == 1
            check(tmp_path, source)


@pytest.mark.parametrize("changes", [False, True])
async def test_a_row_that_a_run_cut_short_has_left_twice_counts_once(tmp_path: Path, changes: bool) -> None:
    doubled = 0
    for requests in (8, 11, 14):
        async with moving_source(2) as source:
            ids, root = fill(source), tmp_path / str(requests)
            await run_sync(root, source)
            source.now += HOUR
            source.update(ids[3], created_at=source.now)
            source.sandbox.behaviour = Behaviour(revoked_after=requests)
            with pytest.raises(AccessError):
                await run_sync(root, source)
            twice = sum(part["rows"] for part in ExportDirectory(root).parts) == 61
            source.sandbox.behaviour = Behaviour()
            if changes:
                source.now += HOUR
                source.update(ids[3], summary="changed once more")
            synced = await run_sync(root, source)
            assert (synced.inserted, synced.updated, synced.removed) == (0, changes or not twice, 0)
            assert synced.summary.rows == 60
            doubled += twice
    assert doubled >= 2


async def test_a_row_that_leaves_the_range_stays_as_it_was(tmp_path: Path) -> None:
    async with moving_source(3) as source:
        ids = fill(source)
        await run_sync(tmp_path, source, Selection(since=source.now - 10 * DAY))
        source.now += HOUR
        source.update(ids[3], created_at=source.now - 20 * DAY)
        await run_sync(tmp_path, source)
        assert ExportDirectory(tmp_path).records().keys() == source.rows.keys()
        found = await run_audit(tmp_path, source, repair=True, delete=True)
        assert found.repaired is not None
        assert (found.repaired.removed, found.repaired.unlisted) == (0, 1)
        # Once the range is wider, the row is where the source has it.
        await run_sync(tmp_path, source, Selection(since=source.now - 30 * DAY))
        check(tmp_path, source)


async def test_an_id_that_comes_back_elsewhere_is_there_once(tmp_path: Path) -> None:
    async with moving_source(4) as source:
        ids = fill(source)
        await run_sync(tmp_path, source)
        source.delete(ids[3])
        source.now += HOUR
        await run_sync(tmp_path, source)
        source.rows[ids[3]] = source.gone.pop(ids[3])
        source.sandbox.insert(source.rows[ids[3]])
        source.update(ids[3], created_at=source.now - 10 * DAY, summary="another life")
        assert (await run_sync(tmp_path, source)).updated == 1
        check(tmp_path, source)


@pytest.mark.parametrize(("move", "delete"), combinations([*MOVES], [True, False], one_in=2))
async def test_an_audit_names_a_move_and_mends_it_as_one(tmp_path: Path, move: str, delete: bool) -> None:
    async with moving_source(5) as source:
        ids = fill(source)
        old, new = MOVES[move](source)
        identity = source.insert(min(old, source.now - 2 * HOUR))
        await run_sync(tmp_path, source, BOTH)
        if move == "to the newest end":
            new = source.now - 10 * MINUTE
        # It looks as if it had been so when it was read.
        source.update(identity, at=source.rows[identity].updated_at - 2 * HOUR, created_at=new)
        source.delete(ids[7])
        found = await run_audit(tmp_path, source)
        total = found.findings.total
        kind = "changed" if move == "by a microsecond" else "moved"
        assert {name: total(name) for name in ("missing", "changed", "moved", "deleted", "later")} == {
            **dict.fromkeys(("missing", "changed", "moved", "later"), 0),
            kind: 1,
            "deleted": 1,
        }
        assert found.findings.ids[kind] == [identity]  # type: ignore[index]
        assert found.findings.ids["deleted"] == [ids[7]]
        healed = await run_audit(tmp_path, source, repair=True, delete=delete)
        assert healed.same == delete
        assert healed.repaired is not None
        assert (healed.repaired.updated, healed.repaired.removed, healed.repaired.unlisted) == (
            1,
            delete,
            0 if delete else None,
        )
        check(tmp_path, source)


async def test_a_move_since_the_last_reading_is_later(tmp_path: Path) -> None:
    async with moving_source(6) as source:
        ids = fill(source)
        await run_sync(tmp_path, source)
        source.now += HOUR
        source.update(ids[3], created_at=source.now - 10 * DAY)
        found = await run_audit(tmp_path, source)
        assert (found.findings.total("later"), found.findings.total("deleted"), found.same) == (1, 0, True)


@pytest.mark.parametrize("stands_still", [False, True])
@pytest.mark.parametrize("days", [1, -1])
async def test_a_row_that_moves_between_the_windows_of_an_export_is_there_once(
    tmp_path: Path, days: int, stands_still: bool
) -> None:
    async with moving_source(7) as source:
        ids = fill(source, 300)
        moving = ids[30 if days > 0 else 270]
        there = source.rows[moving].created_at

        answer, shown = source.sandbox.body, set[str]()

        def body(query: Mapping[str, str], *arguments: Any) -> Any:
            text = answer(query, *arguments)
            if isinstance(text, bytes) and "fields" not in query:
                shown.update(name for name in ids if f'"{name}"'.encode() in text)
            return text

        source.sandbox.body = body  # type: ignore[method-assign,assignment]

        def move(seen: ServedRequest) -> None:
            # Once the walk has passed the row, the row moves to where the walk has not been yet.
            if moving in shown and seen.query.get("created_before", "~") < format_instant(there - DAY):
                source.sandbox.on_request = None
                at = source.rows[moving].updated_at if stands_still else None
                source.update(moving, at=at, created_at=there - 2 * DAY)

        if days > 0:
            source.sandbox.on_request = move
        else:
            source.sandbox.behaviour = Behaviour(revoked_after=30)
            with pytest.raises(AccessError):
                await run_export(tmp_path, source, BOTH, concurrency=1)
            source.sandbox.behaviour = Behaviour()
            moving = next(name for name in ExportDirectory(tmp_path).records())
            at = source.rows[moving].updated_at if stands_still else None
            source.update(moving, at=at, created_at=source.now - 3 * DAY)
        await run_export(tmp_path, source, BOTH, concurrency=1)
        assert source.sandbox.on_request is None
        check(tmp_path, source)
        assert ExportDirectory(tmp_path).state == "complete"


async def test_a_run_that_was_killed_before_it_had_looked_is_finished_by_the_next(tmp_path: Path) -> None:
    async with moving_source(8) as source:
        ids = fill(source, 60)
        await run_sync(tmp_path, source, BOTH)
        source.now += HOUR
        source.update(ids[3], created_at=source.now)
        source.now += 5 * MINUTE
        # The run reads what is new, and is refused when it asks for what has changed.
        source.sandbox.on_request = lambda seen: refuse(source, seen)
        with pytest.raises(AccessError):
            await run_sync(tmp_path, source)
        source.sandbox.on_request, source.sandbox.behaviour = None, Behaviour()
        assert ExportDirectory(tmp_path).state == "unproven"
        summary = await run_export(tmp_path, source)
        assert summary.state == "complete"
        assert ExportDirectory(tmp_path).records().keys() == source.rows.keys()
        assert (await verify(tmp_path, now=source.now)).sound


def refuse(source: Source, seen: ServedRequest) -> None:
    # Before it reads anything, a run tries whether the API heeds that parameter.
    if "updated_after" in seen.query and seen.query["limit"] != "100":
        source.sandbox.behaviour = Behaviour(revoked_after=0)


@pytest.mark.parametrize("corrected", [0, -MINUTE, -2 * DAY, None])
async def test_a_time_of_update_in_the_future_does_not_win_for_ever(tmp_path: Path, corrected: int | None) -> None:
    async with moving_source(9) as source:
        ids = fill(source)
        source.update(ids[3], at=T0 + 70 * 365 * DAY, summary="poisoned")
        await run_sync(tmp_path, source)
        source.now += HOUR
        if corrected is None:
            source.update(ids[3], at=T0 + 71 * 365 * DAY, summary="poisoned again")
        else:
            source.update(ids[3], at=source.now + corrected, summary="corrected")
        synced = await run_sync(tmp_path, source)
        if corrected == -2 * DAY:
            # It is older than what a sync asks for.
            assert synced.updated == 0
            assert (await run_audit(tmp_path, source)).findings.total("changed") == 1
            assert (await run_audit(tmp_path, source, repair=True)).same
        else:
            assert synced.updated == 1
        check(tmp_path, source)
        assert (await run_sync(tmp_path, source)).updated == 0


@pytest.mark.parametrize(
    ("precisions", "rounding", "by"),
    combinations(
        [("s", "us"), ("us", "s"), ("ms", "us"), ("us", "ms"), ("s", "ms")],
        ["cut", "half-up"],
        ["export", "earlier", "sync"],
        one_in=6,
    ),
)
async def test_times_that_are_served_finer_or_coarser_lose_no_row_where_runs_meet(
    tmp_path: Path,
    precisions: tuple[Literal["s", "ms", "us"], Literal["s", "ms", "us"]],
    rounding: Literal["cut", "half-up"],
    by: str,
) -> None:
    before, after = precisions
    async with moving_source(10, Behaviour(precision=before, rounding=rounding)) as source:
        seam = source.now - 2 * DAY + 123_456
        fill(source)
        for number in range(-12, 13):
            source.insert(seam + number * 90_001)
            source.insert(seam + number * 91)
        source.now += DAY
        first = Selection(since=seam) if by == "earlier" else Selection(until=seam)
        await run_export(tmp_path, source, first)
        source.sandbox.behaviour = Behaviour(precision=after, rounding=rounding)
        source.now += HOUR
        if by == "sync":
            await run_sync(tmp_path, source)
        else:
            wider = Selection(since=seam - 30 * DAY) if by == "earlier" else Selection(until=source.now - HOUR)
            await run_export(tmp_path, source, wider)
        exported = ExportDirectory(tmp_path)
        exported.check_sound()
        assert exported.records().keys() == source.rows.keys()
        assert exported.state == "complete"


async def test_an_export_that_goes_on_asks_little_more_where_it_was_cut(tmp_path: Path) -> None:
    async with moving_source(11) as source:
        fill(source, 3000)
        source.sandbox.behaviour = Behaviour(revoked_after=200)
        with pytest.raises(AccessError):
            await run_export(tmp_path, source, concurrency=8)
        source.sandbox.behaviour = Behaviour()
        source.sandbox.requests.clear()
        await run_export(tmp_path, source, concurrency=8)
        check(tmp_path, source)
        assert len(source.sandbox.requests) + 200 <= 1.15 * 3000 / 6


@pytest.mark.parametrize("by_audit", [False, True])
async def test_a_row_without_an_id_that_has_got_one_leaves_quarantine(tmp_path: Path, by_audit: bool) -> None:
    async with moving_source(12) as source:
        fill(source)
        odd = Row(source.now - 3 * HOUR, source.now - 3 * HOUR, {"id": "", "status": "completed"})
        other = Row(source.now - 5 * HOUR, source.now - 5 * HOUR, {"status": "failed"})
        for row in (odd, other):
            source.sandbox.insert(row)
        await run_sync(tmp_path, source)
        assert len(ExportDirectory(tmp_path).quarantined()) == 2
        source.now += HOUR
        source.sandbox.delete("")
        source.insert(odd.created_at, status="completed")
        if by_audit:
            await run_audit(tmp_path, source, repair=True)
        else:
            await run_sync(tmp_path, source)
        (line,) = ExportDirectory(tmp_path).quarantined()
        assert '"failed"' in line["row"]
        assert ExportDirectory(tmp_path).records().keys() == source.rows.keys()


async def test_nights_that_find_nothing_new_look_into_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with moving_source(13) as source:
        fill(source, 600)
        await run_sync(tmp_path, source)
        looked = [0]

        def counted(*_: object) -> None:
            looked[0] += 1

        monkeypatch.setattr("exporter.parts.ids.read_batches", counted)
        source.sandbox.requests.clear()
        synced: SyncResult = await run_sync(tmp_path, source)
        assert (looked, synced.inserted) == ([0], 0)
        assert len(source.sandbox.requests) <= 12
