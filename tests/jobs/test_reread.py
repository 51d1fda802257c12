"""Rows that are read again replace the stored ones: as the source has them, in every table, by one commit."""

import json
import random
from pathlib import Path

import pytest

from exporter.contract import DAY, HOUR, MINUTE, Instant, to_datetime
from exporter.coverage import Interval
from exporter.errors import AccessError, ContradictionError, DestinationError, UsageError
from exporter.jobs.audit import audit
from exporter.jobs.export import export
from exporter.jobs.reread import RereadResult, reread
from exporter.jobs.status import status
from exporter.jobs.sync import sync
from exporter.jobs.verify import verify
from exporter.log.commits import load_commits, load_state
from exporter.model import TABLES
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import ORGANIZATION, TOKEN, Behaviour, Row, ServedRequest
from exporter.sandbox.gate import TOKEN_NOSENSITIVE
from exporter.settings import Credentials, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.export_directory import ExportDirectory, assert_same, snapshot
from tests.end_to_end.records import records
from tests.jobs.damage import flip
from tests.jobs.moving import Source, check, fill, moving_source, run_sync, settings_for
from tests.toolkit.instants import coverage_of
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.anyio

NARROW = Credentials(TOKEN_NOSENSITIVE)
BOTH = Selection(tables=TABLES)


async def run_reread(
    destination: Path,
    source: Source,
    since: Instant | None = None,
    until: Instant | None = None,
    *,
    token: str = TOKEN,
    **options: object,
) -> RereadResult:
    asked = Selection(since=since, until=until)
    return await reread(destination, asked, RunContext(settings_for(source), Credentials(token), Quiet()), **options)  # type: ignore[arg-type]


def counts(done: RereadResult) -> tuple[int, int, int, int]:
    return done.inserted, done.updated, done.removed, done.kept


def parts_of(root: Path) -> dict[str, tuple[bytes, int, int]]:
    return {path: kept for path, kept in snapshot(root).items() if path.endswith(".parquet")}


@pytest.mark.parametrize("seed", range(size_of(2, 4)))
async def test_whatever_has_happened_all_is_as_the_source_has_it(tmp_path: Path, seed: int) -> None:
    async with moving_source(seed) as source:
        for _ in range(60):
            source.move()
        await run_sync(tmp_path, source, BOTH)
        for _ in range(3):
            for _ in range(40):
                source.move(ahead=False)
            # It changes silently, which no sync would see.
            for identity in source.chance.sample(sorted(source.rows), 5):
                source.update(identity, at=source.rows[identity].updated_at - DAY, summary=f"{source.now}")
            done = await run_reread(tmp_path, source)
            assert (done.exit_status, done.kept) == (0, 0)
            exported = ExportDirectory(tmp_path)
            exported.check_sound()
            ((_, end),) = exported.coverage
            assert_same(exported.records(), source.expected(end))
            assert (await verify(tmp_path, now=source.now)).sound
            before = parts_of(tmp_path)
            again = await run_reread(tmp_path, source)
            assert (counts(again), parts_of(tmp_path)) == ((0, 0, 0, 0), before)


async def test_what_lies_outside_stays_as_it_is(tmp_path: Path) -> None:
    async with moving_source(1) as source:
        fill(source, 300)
        await run_sync(tmp_path, source, Selection(tables=TABLES, partition_by="none"))
        middle = source.now - 2 * DAY
        old = {name: row for name, row in source.rows.items() if row.created_at >= middle + 5 * HOUR}
        before = ExportDirectory(tmp_path).records()
        for identity in list(source.rows):
            source.update(identity, at=source.rows[identity].updated_at, summary="another")
        done = await run_reread(tmp_path, source, middle, middle + 5 * HOUR)
        found = ExportDirectory(tmp_path).records()
        inside = {name for name, row in source.rows.items() if middle <= row.created_at < middle + 5 * HOUR}
        assert counts(done) == (0, len(inside), 0, 0)
        assert 15 < len(inside) < 25
        assert {name for name, row in found.items() if row["summary"] == "another"} == inside
        assert {name: found[name] for name in old} == {name: before[name] for name in old}
        ExportDirectory(tmp_path).check_sound()
        ((_, last),) = await commits_of(tmp_path, "reread")
        assert last == (Interval(middle, middle + 5 * HOUR),)


async def commits_of(root: Path, kind: str) -> list[tuple[int, tuple[Interval, ...]]]:
    commits = await load_commits(LocalStore(root))
    return [(commit.number, commit.change.proves) for commit in commits if commit.kind == kind]


@pytest.mark.parametrize("share", [0.4, 0.0])
async def test_a_token_that_gained_fields_fills_them_in(tmp_path: Path, share: float) -> None:
    async with moving_source(2) as source:
        rows = fill(source, 200, summary="said")
        first = int(200 * share)
        if first:
            await run_sync(tmp_path, source, Selection(since=source.rows[rows[first - 1]].created_at, tables=TABLES))
        await export(tmp_path, Selection(since=0, tables=TABLES), RunContext(settings_for(source), NARROW, Quiet()))
        state = await load_state(LocalStore(tmp_path))
        assert state.role_changed == (first > 0)
        with pytest.raises(AccessError, match="sees no sensitive fields"):
            await run_reread(tmp_path, source, token=TOKEN_NOSENSITIVE, withheld=True)
        source.sandbox.requests.clear()
        done = await run_reread(tmp_path, source, withheld=True)
        assert (counts(done), done.exit_status) == ((0, 200 - first, 0, 0), 0)
        check(tmp_path, source)
        manifest = ExportDirectory(tmp_path).manifest
        assert (manifest["state"], manifest["fields"]["partly_withheld"]) == ("complete", [])
        assert manifest["fields"] == {"withheld": [], "partly_withheld": [], "absent": {}}
        again = await run_reread(tmp_path, source, withheld=True)
        assert (again.intervals, counts(again), again.exit_status) == ((), (0, 0, 0, 0), 0)


async def test_rows_that_have_nothing_to_withhold_are_no_reason_for_doubt_for_ever(tmp_path: Path) -> None:
    """With nulls in all sensitive fields, a row that was read with the scope is the same as one that was not."""
    async with moving_source(3) as source:
        fill(source, 20, summary=None, conversation=None)
        await run_sync(tmp_path, source, credentials=NARROW)
        source.now += DAY
        source.insert(source.now - HOUR, summary="said")
        assert (await run_sync(tmp_path, source)).summary.state == "unproven"
        before = parts_of(tmp_path)
        done = await run_reread(tmp_path, source, withheld=True)
        assert (counts(done), done.unchanged, done.summary.state) == ((0, 0, 0, 0), 20, "complete")
        assert parts_of(tmp_path) == before
        check(tmp_path, source)


async def test_a_narrow_token_overwrites_nothing(tmp_path: Path) -> None:
    async with moving_source(4) as source:
        fill(source, 60)
        await run_sync(tmp_path, source)
        before = ExportDirectory(tmp_path).records()
        for options in ({}, {"withheld": True}):
            if options:
                assert not (await run_reread(tmp_path, source, token=TOKEN_NOSENSITIVE, **options)).intervals
                continue
            with pytest.raises(AccessError, match="read_sensitive"):
                await run_reread(tmp_path, source, token=TOKEN_NOSENSITIVE)
        assert ExportDirectory(tmp_path).records() == before
        check(tmp_path, source)


def group(source: Source, rows: int) -> None:
    """Inserts more rows of one time than a page has; only their statuses tell them apart, which proves nothing."""
    at = source.now - 2 * DAY
    for number in range(rows):
        source.update(source.insert(at), at=at, status=("completed", "failed", "cancelled")[number % 3])


async def doubtful(root: Path, source: Source) -> None:
    """Makes an export with a doubt about a time that the source shows whole by now."""
    fill(source, 30)
    group(source, 12)
    source.sandbox.behaviour = Behaviour(page_cap=9)
    assert (await run_sync(root, source)).summary.unproven == 1
    source.sandbox.behaviour = Behaviour()
    assert (await run_sync(root, source)).summary.state == "unproven"


async def test_a_doubt_leaves_with_a_whole_reading(tmp_path: Path) -> None:
    async with moving_source(5) as source:
        await doubtful(tmp_path, source)
        elsewhere = await run_reread(tmp_path, source, source.now - DAY)
        assert (elsewhere.summary.unproven, elsewhere.exit_status) == (1, 3)
        done = await run_reread(tmp_path, source)
        assert (done.summary.unproven, done.summary.state, done.exit_status) == (0, "complete", 0)
        assert (tmp_path / "_SUCCESS").exists()
        check(tmp_path, source)


async def test_a_doubt_that_is_still_there_stays(tmp_path: Path) -> None:
    async with moving_source(6) as source:
        await doubtful(tmp_path, source)
        source.sandbox.behaviour = Behaviour(page_cap=9)
        done = await run_reread(tmp_path, source)
        # The window that ends at that time is in doubt as well.
        assert (done.summary.unproven > 0, done.exit_status) == (True, 3)
        check(tmp_path, source)


@pytest.mark.parametrize("missing", [False, True])
async def test_an_audit_that_lists_the_same_says_so_and_its_repair_lifts_the_doubt(
    tmp_path: Path, missing: bool
) -> None:
    async with moving_source(7) as source:
        await doubtful(tmp_path, source)
        if missing:
            source.insert(source.now - 3 * DAY)
            source.now += HOUR
        settings = settings_for(source)

        async def run_audit(*, repair: bool = False) -> tuple[int, int, str]:
            found = await audit(
                tmp_path, Selection(), RunContext(settings, Credentials(TOKEN), Quiet()), now=source.now, repair=repair
            )
            return found.exit_status, found.lifted, found.state

        before = snapshot(tmp_path)
        assert await run_audit() == (0, 1, "unproven")
        assert snapshot(tmp_path) == before
        assert await run_audit(repair=True) == (0, 1, "complete")
        check(tmp_path, source)
        assert (tmp_path / "_SUCCESS").exists()
        assert await run_audit(repair=True) == (0, 0, "complete")


async def test_an_audit_that_doubts_the_same_lifts_nothing(tmp_path: Path) -> None:
    async with moving_source(8) as source:
        await doubtful(tmp_path, source)
        source.sandbox.behaviour = Behaviour(page_cap=9)
        context = RunContext(settings_for(source), Credentials(TOKEN), Quiet())
        found = await audit(tmp_path, Selection(), context, now=source.now, repair=True)
        assert (found.exit_status, found.lifted, found.state) == (3, 0, "unproven")


async def test_what_a_repair_has_dropped_is_read(tmp_path: Path) -> None:
    async with moving_source(9) as source:
        fill(source, 200)
        await run_sync(tmp_path, source, BOTH)
        for file in ExportDirectory(tmp_path).files[1:3]:
            flip(tmp_path, file["path"])
        mended = await verify(tmp_path, now=source.now, repair=True)
        lost = coverage_of(mended.uncovered)
        assert lost
        source.update("c5", summary="new")
        source.now += HOUR
        partly = await run_reread(tmp_path, source, source.now - 3 * HOUR)
        assert partly.summary.state == "incomplete"
        done = await run_reread(tmp_path, source)
        assert (done.summary.state, done.summary.rows, done.updated) == ("complete", 200, 1)
        check(tmp_path, source)


async def test_quarantine_is_as_the_source_has_it(tmp_path: Path) -> None:
    async with moving_source(10) as source:
        fill(source, 30)
        for number in range(3):
            source.insert(source.now - DAY - number, duration="a while")
        at = source.now - 2 * DAY
        nameless = [Row(at - number, at, {"status": f"{number}", "organization_id": "org"}) for number in range(2)]
        for row in nameless:
            source.sandbox.insert(row)
        assert (await run_sync(tmp_path, source)).summary.quarantined_rows == 5
        source.update("c30", duration=5)
        source.update("c31", duration="longer")
        source.delete("c32")
        take_out(source, nameless[0])
        assert (await run_reread(tmp_path, source)).summary.quarantined_rows == 2
        assert sorted(json.loads(line["row"]).get("id", "") for line in ExportDirectory(tmp_path).quarantined()) == [
            "",
            "c31",
        ]
        before = snapshot(tmp_path)
        assert (await run_reread(tmp_path, source)).summary.quarantined_rows == 2
        assert {path for path in snapshot(tmp_path) if "quarantine" in path} == {
            path for path in before if "quarantine" in path
        }
        take_out(source, nameless[1])
        source.update("c31", duration=5)
        assert (await run_reread(tmp_path, source)).exit_status == 0
        check(tmp_path, source)


def take_out(source: Source, nameless: Row) -> None:
    """Takes a row without an id out of what is served."""
    source.sandbox._listings[ORGANIZATION]._rows.remove(nameless)


async def test_a_nameless_row_that_was_mended_leaves_quarantine_with_a_repair(tmp_path: Path) -> None:
    async with moving_source(11) as source:
        fill(source, 30)
        at = source.now - 2 * DAY
        source.sandbox.insert(nameless := Row(at, at, {"status": "completed", "organization_id": "org"}))
        assert (await run_sync(tmp_path, source)).summary.quarantined_rows == 1

        async def repair() -> str:
            context = RunContext(settings_for(source), Credentials(TOKEN), Quiet())
            found = await audit(tmp_path, Selection(), context, now=source.now, repair=True)
            assert found.same
            return found.state

        assert await repair() == "unproven"
        take_out(source, nameless)
        source.insert(at)
        assert await repair() == "complete"
        check(tmp_path, source)


async def test_what_was_deleted_leaves_and_what_the_list_leaves_out_stays(tmp_path: Path) -> None:
    async with moving_source(12) as source:
        ids = fill(source, 60)
        await run_sync(tmp_path, source, BOTH)
        for identity in ids[:5]:
            source.delete(identity)
        hide(source, ids[10])
        source.now += DAY
        done = await run_reread(tmp_path, source)
        assert (counts(done), done.exit_status) == ((0, 0, 5, 1), 3)
        assert ExportDirectory(tmp_path).records().keys() == source.rows.keys()
        # Its present state is still unknown.
        state = await load_state(LocalStore(tmp_path))
        assert state.read_since is not None
        assert state.read_since < source.now - HOUR
        assert sum(read.length for since, read in state.reads if since > source.now - HOUR) > 0


def hide(source: Source, *identities: str) -> None:
    """Leaves these rows out of the list, while the API answers to their ids."""
    page = source.sandbox._listings[ORGANIZATION].page

    def without(*arguments: object) -> list[Row]:
        return [row for row in page(*arguments) if row.facts().get("id") not in identities]  # type: ignore[arg-type]

    source.sandbox._listings[ORGANIZATION].page = without  # type: ignore[method-assign,assignment]


async def test_a_list_that_has_lost_most_of_them_is_not_believed(tmp_path: Path) -> None:
    async with moving_source(13) as source:
        ids = fill(source, 60)
        await run_sync(tmp_path, source)
        before = parts_of(tmp_path)
        hide(source, *ids[5:])
        with pytest.raises(ContradictionError, match="fewer than half"):
            await run_reread(tmp_path, source)
        hide(source, *ids)
        with pytest.raises(AccessError, match="no conversation at all"):
            await run_reread(tmp_path, source)
        assert parts_of(tmp_path) == before
        check(tmp_path, source)


async def test_one_that_finds_none_of_the_rows_has_ended_and_says_how(tmp_path: Path) -> None:
    async with moving_source(16) as source:
        ids = fill(source, 8)
        await run_sync(tmp_path, source)
        for identity in ids:
            source.delete(identity)
        source.now += DAY
        fill(source, 1)
        with pytest.raises(DestinationError, match="lists none of the stored conversations"):
            await run_reread(tmp_path, source)
    found = await status(tmp_path)
    assert (found.unended_run, found.last_run and (found.last_run.command, found.last_run.exit_status)) == (
        None,
        ("reread", 2),
    )


async def test_an_api_that_knows_no_ids_deletes_nothing(tmp_path: Path) -> None:
    async with moving_source(14) as source:
        ids = fill(source, 60)
        await run_sync(tmp_path, source)
        there = ExportDirectory(tmp_path).records().keys()
        source.delete(ids[3])
        source.sandbox._listings[ORGANIZATION].get = lambda *_: None  # type: ignore[method-assign]
        done = await run_reread(tmp_path, source)
        assert (counts(done), done.exit_status) == ((0, 0, 0, 1), 3)
        assert ExportDirectory(tmp_path).records().keys() == there


async def test_rows_that_filters_no_longer_match_are_left_to_a_sync_that_drops_them(tmp_path: Path) -> None:
    asked = Selection(filters={"status": "in_progress"})
    async with moving_source(15) as source:
        fill(source, 40, status="in_progress")
        await run_sync(tmp_path, source, asked, refilter=True)
        source.now += DAY
        source.update("c3", status="completed")
        source.update("c4", summary="new")
        done = await run_reread(tmp_path, source)
        assert counts(done) == (0, 1, 0, 1)
        synced = await run_sync(tmp_path, source, refilter=True)
        assert synced.removed == 1
        assert ExportDirectory(tmp_path).records().keys() == source.rows.keys() - {"c3"}


async def test_a_row_that_moves_within_what_is_read_is_there_once(tmp_path: Path) -> None:
    async with moving_source(16) as source:
        ids = fill(source, 60)
        await run_sync(tmp_path, source, BOTH)
        for identity, duration in ((ids[3], 5), (ids[4], "does not fit")):
            old = source.rows[identity]
            source.sandbox.delete(identity)
            fields = {**old.fields, "duration": duration}
            source.rows[identity] = Row(old.created_at - DAY, old.updated_at, fields)
            source.sandbox.insert(source.rows[identity])
        done = await run_reread(tmp_path, source)
        assert (done.kept, done.summary.rows, done.summary.quarantined_rows) == (0, 59, 1)
        exported = ExportDirectory(tmp_path)
        exported.check_sound()
        expected = records([row for name, row in source.rows.items() if name != ids[4]])
        assert_same(exported.records(), expected)


async def test_what_there_is_nothing_of_cannot_be_read_again(tmp_path: Path) -> None:
    async with moving_source(17) as source:
        with pytest.raises(DestinationError, match="no export here"):
            await run_reread(tmp_path / "nothing", source)
        assert not (tmp_path / "nothing").exists()
        fill(source, 10)
        await run_sync(tmp_path, source)
        with pytest.raises(UsageError, match=f"nothing to read again: {tmp_path} (begins|ends) at "):
            await run_reread(tmp_path, source, source.now + DAY, source.now + 2 * DAY)
        with pytest.raises(DestinationError, match="another export"):
            await reread(
                tmp_path,
                Selection(fields=("id",)),
                RunContext(settings_for(source), Credentials(TOKEN), Quiet()),
                withheld=True,
            )


@pytest.mark.usefixtures("hasty")
async def test_one_that_is_cut_short_has_changed_nothing_and_the_next_begins_anew(tmp_path: Path) -> None:
    async with moving_source(18) as source:
        ids = fill(source, 200)
        await run_sync(tmp_path, source, BOTH)
        for identity in ids:
            source.update(identity, at=source.rows[identity].updated_at, summary="another")
        before = ExportDirectory(tmp_path)
        for requests in (3, 10, 25):
            source.sandbox.behaviour = Behaviour(revoked_after=requests)
            with pytest.raises(AccessError):
                await run_reread(tmp_path, source)
            after = ExportDirectory(tmp_path)
            assert (after.files, after.turns) == (before.files, before.turns)
        source.sandbox.behaviour = Behaviour()
        assert (await run_reread(tmp_path, source)).updated == 200
        check(tmp_path, source)


async def test_rows_that_change_while_they_are_read_are_there_as_they_were_or_are(tmp_path: Path) -> None:
    async with moving_source(19) as source:
        fill(source, 120)
        await run_sync(tmp_path, source)
        chance = random.Random(0)

        def move(seen: ServedRequest) -> None:
            if seen.number % 5 == 0:
                source.update(chance.choice(sorted(source.rows)), summary=f"{seen.number}")

        source.sandbox.on_request = move
        await run_reread(tmp_path, source)
        source.sandbox.on_request = None
        await run_sync(tmp_path, source)
        check(tmp_path, source)


async def test_a_sync_after_it_reads_what_has_changed_since(tmp_path: Path) -> None:
    async with moving_source(20) as source:
        fill(source, 120)
        await run_sync(tmp_path, source)
        source.now += DAY
        assert (await run_reread(tmp_path, source)).exit_status == 0
        source.sandbox.requests.clear()
        source.update("c7", summary="new")
        synced = await sync(tmp_path, Selection(), RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
        assert synced.updates_since_before is not None
        assert synced.updates_since_before > to_datetime(source.now - MINUTE)
        assert (synced.updated, len(source.sandbox.requests) < 25) == (1, True)
