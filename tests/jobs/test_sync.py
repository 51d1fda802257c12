"""A sync leaves what the source has, whatever has happened there since the last one, and reads little else."""

import json
from pathlib import Path

import pytest

from exporter.contract import DAY, HOUR, MINUTE, SECOND
from exporter.errors import AccessError, UsageError
from exporter.jobs.export import export
from exporter.jobs.sync import sync
from exporter.jobs.verify import verify
from exporter.layout import SUCCESS
from exporter.log.commits import load_commits, load_state
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, ServedRequest, make_conversations, serve
from exporter.sandbox.gate import TOKEN_NOSENSITIVE
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.export_directory import ExportDirectory, snapshot
from tests.end_to_end.records import conversation
from tests.jobs.moving import T0, check, fill, moving_source, run_sync, settings_for
from tests.toolkit.sizes import combinations, size_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]


@pytest.mark.parametrize("seed", range(size_of(1, 12)))
async def test_many_syncs_of_a_moving_source(tmp_path: Path, seed: int) -> None:
    async with moving_source(seed) as source:
        for _night in range(8):
            for _ in range(source.chance.choice((0, 1, 10, 60))):
                source.move()
            await run_sync(tmp_path, source)
            check(tmp_path, source)


async def test_a_second_one_changes_no_file_and_reads_what_may_have_been_missed(tmp_path: Path) -> None:
    async with moving_source(1) as source:
        fill(source, 100)
        first = await run_sync(tmp_path, source)
        source.now += DAY
        for identity in ("c7", "c8"):
            source.update(identity, summary="new")
        second = await run_sync(tmp_path, source)
        parts = {path: kept for path, kept in snapshot(tmp_path).items() if path.endswith(".parquet")}
        third = await run_sync(tmp_path, source)
        check(tmp_path, source)
    assert (first.inserted, first.updated, first.updates_since_before) == (100, 0, None)
    assert (second.inserted, second.updated, second.unchanged, second.rewritten) == (0, 2, 0, 1)
    # They are served again, because they may have become visible after the pages of the second one were read.
    assert (third.inserted, third.updated, third.rewritten, third.summary.files) == (0, 0, 0, second.summary.files)
    assert {path: kept for path, kept in snapshot(tmp_path).items() if path.endswith(".parquet")} == parts
    assert second.updates_since is not None
    assert first.updates_since == second.updates_since_before
    assert first.updates_since is not None
    assert first.updates_since < second.updates_since


async def test_a_night_without_news_makes_two_commits_and_takes_nothing_away(tmp_path: Path) -> None:
    async with serve(make_conversations(100, T0, T0 + DAY, seed=1)) as sandbox:
        context = RunContext(RunSettings(base_url=sandbox.url), Credentials(TOKEN), Quiet())
        first = await sync(tmp_path, Selection(), context)
        known, success = first.summary.generation, (tmp_path / SUCCESS).stat().st_ino
        second = await sync(tmp_path, Selection(), context)
    commits, state = await load_commits(LocalStore(tmp_path), known), await load_state(LocalStore(tmp_path))
    assert [one.kind for one in commits] == ["widen", "sync"]
    assert commits[0].range is not None
    assert state.is_whole
    assert state.range == commits[0].range
    assert (tmp_path / SUCCESS).stat().st_ino == success
    assert first.updates_since is not None
    assert second.updates_since is not None
    # The new part of the range is known as of when the first page was read, and so is all else.
    assert first.updates_since < second.updates_since
    ((read_since, covered),) = state.reads
    assert covered == state.coverage
    assert commits[0].change.read_since is not None
    # A later answer may show that the server's clock is a little behind what the first one said.
    assert read_since <= commits[0].change.read_since


async def test_a_night_with_news_on_two_days_commits_them_at_once(tmp_path: Path) -> None:
    rows = make_conversations(400, T0, T0 + 2 * DAY, seed=1)
    async with serve(rows) as sandbox:
        context = RunContext(RunSettings(base_url=sandbox.url), Credentials(TOKEN), Quiet())
        first = await export(tmp_path, Selection(until=T0 + DAY // 2), context)
        night = await sync(tmp_path, Selection(), context)
    commits = await load_commits(LocalStore(tmp_path), first.generation)
    assert [one.kind for one in commits if one.kind != "compact"] == ["widen", "export", "sync"]
    assert len({file.partition["created_date"] for file in commits[1].change.adds}) == 2
    assert night.summary.rows == 400


@pytest.mark.parametrize(
    ("reading", "named"),
    combinations(
        ["+3h", "+90m", "-5h", "up-s", "up-minute", "up-hour", "up-day", "half-up-hour", "in-Asia/Kolkata"],
        ["updated_after:", ""],
        one_in=4,
    ),
)
async def test_however_updated_after_is_read_what_has_changed_is_found(
    tmp_path: Path, reading: str, named: str
) -> None:
    async with moving_source(18, Behaviour(reads=(named + reading,))) as source:
        names = fill(source, 60)
        await run_sync(tmp_path, source)
        for _ in range(40):
            source.now += 4 * MINUTE + 7 * SECOND
            source.update(names.pop(), summary=f"{source.now}")
            source.insert(source.now - 2 * SECOND)
        source.now += 5 * SECOND
        await run_sync(tmp_path, source)
        check(tmp_path, source)


async def test_an_api_that_shows_nothing_by_updated_after_is_read_as_a_whole(tmp_path: Path) -> None:
    async with moving_source(18) as source:
        names = fill(source, 60)
        await run_sync(tmp_path, source)
        source.now += HOUR
        source.update(names[7], summary="new")

        def cut(seen: ServedRequest) -> None:
            # This is later than any time that exists.
            reads = ("updated_after:+876000h",) if "updated_after" in seen.query else ()
            source.sandbox.behaviour = Behaviour(reads=reads)

        source.sandbox.on_request = cut
        synced = await run_sync(tmp_path, source)
        check(tmp_path, source)
    assert (synced.updated, synced.unchanged) == (1, 59)


async def test_what_becomes_visible_only_a_while_after_its_update_is_found(tmp_path: Path) -> None:
    async with moving_source(15) as source:
        fill(source, 20)
        late = conversation(source.now - HOUR, source.now + MINUTE + 30 * SECOND, "late", organization_id="org")
        late.visible_from = source.now + 3 * MINUTE
        source.sandbox.insert(late)
        assert (await run_sync(tmp_path, source)).inserted == 20
        assert (await run_sync(tmp_path, source)).inserted == 1
        assert "late" in ExportDirectory(tmp_path).records()


async def test_a_lag_longer_than_the_range_is_no_reason_not_to_look_again(tmp_path: Path) -> None:
    async with moving_source(17) as source:
        source.insert(source.now - HOUR, status="in_progress")
        await run_sync(tmp_path, source, Selection(since=source.now - 2 * HOUR))
        source.update("c0", status="completed")
        settings = settings_for(source, lag_seconds=10 * 3600)
        synced = await sync(tmp_path, Selection(), RunContext(settings, Credentials(source.sandbox.token), Quiet()))
        assert synced.updated == 1
        check(tmp_path, source)


async def test_what_is_read_follows_what_has_changed(tmp_path: Path) -> None:
    async with moving_source(2) as source:
        fill(source, 3000)
        await run_sync(tmp_path, source)
        source.now += DAY
        for number in range(0, 3000, 100):
            source.update(f"c{number}", summary="new")
        source.sandbox.requests.clear()
        synced = await run_sync(tmp_path, source)
        check(tmp_path, source)
    assert synced.updated == 30
    pages = -(-30 // 7)
    assert len(source.sandbox.requests) <= 4 * pages + 20


async def test_open_conversations_are_asked_for_again_though_their_time_of_update_stands_still(tmp_path: Path) -> None:
    async with moving_source(3) as source:
        fill(source, 60)
        young = source.insert(source.now - 3 * HOUR, status="in_progress")
        old = source.insert(source.now - 60 * HOUR, status="in_progress")
        assert (await run_sync(tmp_path, source)).open_rows == 2
        for identity in (young, old):
            source.update(identity, at=source.rows[identity].updated_at, status="completed", duration=5)
        source.now += HOUR
        synced = await run_sync(tmp_path, source)
    found = ExportDirectory(tmp_path).records()
    assert (found[young]["status"], found[old]["status"]) == ("completed", "in_progress")
    assert (synced.updated, synced.open_rows) == (1, 1)


@pytest.mark.parametrize("rows_for_each", [60, 600])
async def test_asking_again_costs_no_more_than_reading_all_that_is_young(tmp_path: Path, rows_for_each: int) -> None:
    async with moving_source(16) as source:
        for number in range(6000):
            is_open = number % rows_for_each == 0
            source.insert(source.now - HOUR - number * 10 * SECOND, status="in_progress" if is_open else "completed")
        source.now += HOUR
        settings = settings_for(source, page_size=1000)
        await sync(tmp_path, Selection(), RunContext(settings, Credentials(source.sandbox.token), Quiet()))
        source.now += HOUR
        synced = await sync(tmp_path, Selection(), RunContext(settings, Credentials(source.sandbox.token), Quiet()))
        assert synced.unchanged >= 6000 // rows_for_each
        assert synced.summary.requests <= 60


async def test_a_new_signature_is_no_change(tmp_path: Path) -> None:
    async with moving_source(4) as source:
        url = "https://recordings.invalid/c0.wav?signature="
        source.insert(source.now - HOUR, status="in_progress", recording_details={"recording_url": url + "one"})
        await run_sync(tmp_path, source)
        source.sandbox.delete("c0")
        row = source.rows["c0"]
        for address, updated in ((url + "two", 0), (url.replace("c0", "c1"), 1)):
            changed = type(row)(
                row.created_at, row.updated_at, {**row.fields, "recording_details": {"recording_url": address}}
            )
            source.sandbox.insert(changed)
            synced = await run_sync(tmp_path, source)
            assert (synced.updated, synced.unchanged) == (updated, 1 - updated), address
            source.sandbox.delete("c0")


async def test_rows_come_into_partitions_that_were_empty(tmp_path: Path) -> None:
    async with moving_source(5) as source:
        for day in (0, 6):
            for number in range(5):
                source.insert(T0 + day * DAY + number * HOUR)
        await run_sync(tmp_path, source)
        for day in (3, 1, 7):
            source.insert(T0 + day * DAY + HOUR)
        synced = await run_sync(tmp_path, source)
        check(tmp_path, source)
        assert (synced.inserted, synced.rewritten) == (3, 0)
        assert (await verify(tmp_path, now=source.now)).sound


async def test_a_row_that_fits_no_more_goes_to_quarantine_and_comes_back(tmp_path: Path) -> None:
    async with moving_source(6) as source:
        fill(source, 20)
        await run_sync(tmp_path, source)
        source.now += HOUR
        for duration, quarantined in ((1.5, 1), (2.5, 1), (60, 0)):
            source.update("c3", duration=duration)
            synced = await run_sync(tmp_path, source)
            exported = ExportDirectory(tmp_path)
            exported.check_sound()
            assert synced.summary.quarantined_rows == quarantined
            assert ("c3" in exported.records()) == (not quarantined)
            assert [json.loads(line["row"])["duration"] for line in exported.quarantined()] == [duration] * quarantined
            # When it is read again, it is not new.
            again = await run_sync(tmp_path, source)
            assert again.summary.quarantined_rows == quarantined
            assert again.summary.changed
            source.now += HOUR
        check(tmp_path, source)


async def test_rows_that_the_filters_no_longer_match_are_dropped_when_that_is_asked_for(tmp_path: Path) -> None:
    asked = Selection(filters={"status": "completed"})
    async with moving_source(7) as source:
        fill(source, 50)
        with pytest.raises(UsageError, match="filtered by status"):
            await run_sync(tmp_path, source, asked)
        assert not any(tmp_path.iterdir())
        await run_sync(tmp_path, source, asked, refilter=True)
        source.now += DAY
        source.update("c1", status="failed")
        source.update("c2", summary="new")
        source.update(source.insert(source.now - HOUR, status="failed"), status="completed")
        synced = await run_sync(tmp_path, source, refilter=True)
        found = ExportDirectory(tmp_path).records()
        with pytest.raises(UsageError, match="--refilter"):
            await run_sync(tmp_path, source)
    assert (synced.inserted, synced.updated, synced.removed) == (1, 1, 1)
    matching = {identity for identity, row in source.rows.items() if row.fields["status"] == "completed"}
    assert found.keys() == matching
    assert found["c2"]["summary"] == "new"


async def test_rows_that_change_between_two_lists_are_dropped_by_the_next(tmp_path: Path) -> None:
    asked = Selection(filters={"status": "completed"})
    async with moving_source(13) as source:
        fill(source, 20)
        source.update("c1", at=source.now - 5 * DAY)
        await run_sync(tmp_path, source, asked, refilter=True)
        source.now += DAY

        def change(seen: ServedRequest) -> None:
            if "updated_after" in seen.query and "status" in seen.query:
                source.sandbox.on_request = None
                source.now += MINUTE
                source.update("c1", status="failed")
                source.now += HOUR

        source.sandbox.on_request = change
        # The range keeps its end, so that nothing is read before the two lists.
        late = settings_for(source, lag_seconds=2 * 86_400)
        await sync(tmp_path, asked, RunContext(late, Credentials(source.sandbox.token), Quiet()), refilter=True)
        await run_sync(tmp_path, source, refilter=True)
        assert "c1" not in ExportDirectory(tmp_path).records()


async def test_open_rows_that_the_filters_no_longer_match_are_dropped_without_a_new_time_of_update(
    tmp_path: Path,
) -> None:
    asked = Selection(filters={"status": "in_progress"})
    async with moving_source(14) as source:
        fill(source, 20, status="in_progress")
        await run_sync(tmp_path, source, asked, refilter=True)
        source.update("c1", at=source.rows["c1"].updated_at, status="completed")
        source.now += HOUR
        source.sandbox.requests.clear()
        synced = await run_sync(tmp_path, source, refilter=True)
        assert synced.removed == 1
        assert ExportDirectory(tmp_path).records().keys() == source.rows.keys() - {"c1"}
        # The requests for the other list count as well.
        assert synced.summary.requests == len(source.sandbox.requests)


async def test_a_token_that_sees_less_than_is_there_changes_nothing(tmp_path: Path) -> None:
    async with moving_source(8) as source:
        fill(source, 30)
        await run_sync(tmp_path, source)
        source.now += DAY
        source.update("c4", summary="new")
        before = ExportDirectory(tmp_path)
        with pytest.raises(AccessError, match="read_sensitive"):
            await run_sync(tmp_path, source, credentials=Credentials(TOKEN_NOSENSITIVE))
        after = ExportDirectory(tmp_path)
        assert (after.records(), after.files) == (before.records(), before.files)
        await run_sync(tmp_path, source)
        check(tmp_path, source)


async def test_a_narrow_token_may_go_on_with_what_it_has_read_itself(tmp_path: Path) -> None:
    async with moving_source(9) as source:
        fill(source, 30)
        narrow = Credentials(TOKEN_NOSENSITIVE)
        await run_sync(tmp_path, source, credentials=narrow)
        source.now += DAY
        source.update("c4", status="failed")
        synced = await run_sync(tmp_path, source, credentials=narrow)
        manifest = ExportDirectory(tmp_path).manifest
    assert synced.updated == 1
    assert "summary" in manifest["fields"]["withheld"]
    assert manifest["state"] == "complete"


async def test_files_are_kept_for_readers_of_older_manifests_as_long_as_was_said(tmp_path: Path) -> None:
    async with moving_source(10) as source:
        fill(source, 30)
        shown = []
        for keep in (2, None, None, None, 0):
            source.now += DAY
            source.update("c4", summary=f"{source.now}")
            await run_sync(tmp_path, source, keep_generations=keep)
            shown.append(ExportDirectory(tmp_path))
            assert (await verify(tmp_path, now=source.now)).sound
            readable = [all((tmp_path / file["path"]).exists() for file in older.files) for older in shown]
            assert readable == [
                len(shown) - 1 - number <= (2 if keep is None else keep) for number in range(len(shown))
            ]
        check(tmp_path, source)


async def test_an_api_that_ignores_the_bound_costs_more_and_loses_nothing(tmp_path: Path) -> None:
    async with moving_source(11, Behaviour(ignores=("updated_after",))) as source:
        fill(source, 200)
        await run_sync(tmp_path, source)
        source.now += DAY
        source.update("c4", summary="new")
        synced = await run_sync(tmp_path, source)
        check(tmp_path, source)
    assert (synced.updated, synced.unchanged, synced.rewritten) == (1, 0, 1)


async def test_an_export_that_was_not_finished_is(tmp_path: Path) -> None:
    async with moving_source(12) as source:
        fill(source, 300)
        source.sandbox.behaviour = Behaviour(revoked_after=30)
        with pytest.raises(AccessError):
            context = RunContext(settings_for(source), Credentials(source.sandbox.token), Quiet())
            await export(tmp_path, Selection(), context)
        source.sandbox.behaviour = Behaviour()
        source.now += DAY
        for number in range(0, 300, 20):
            source.update(f"c{number}", summary="new")
        source.now += 30 * SECOND + MINUTE
        await run_sync(tmp_path, source)
        check(tmp_path, source)
